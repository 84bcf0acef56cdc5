"""The number type of the LLM of stage 2, where that is left to the machine."""

import pytest
import torch

from ssr_plugin.training.finetune_stage import resolve_llm_dtype


@pytest.mark.parametrize(
    "others, device, expected",
    [
        ({}, "cuda:0", "bfloat16"),
        ({"tuning": "none"}, "cuda", "bfloat16"),
        ({"tuning": "full"}, "cuda", "float32"),
        ({"precision": "fp32"}, "cuda", "float32"),
        ({}, "cpu", "float32"),
        ({"llm_dtype": "float32"}, "cuda", "float32"),
        ({"llm_dtype": "bfloat16"}, "cpu", "bfloat16"),
    ],
)
def test_llm_dtype_of_auto_is_by_device_and_kind_of_tuning(others, device, expected):
    settings = {"llm_dtype": "auto", "tuning": "lora", "precision": "bf16", **others}
    assert resolve_llm_dtype(settings, device) == expected


@pytest.mark.parametrize("found, expected", [(True, "bfloat16"), (False, "float32")])
def test_llm_dtype_without_a_device_is_that_of_the_one_that_is_used(
    monkeypatch, found, expected
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    settings = {"llm_dtype": "auto", "tuning": "lora", "precision": "bf16"}
    assert resolve_llm_dtype(settings) == expected
