"""What stage 2 settles before it trains: the LLM's number type, who may ask it."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from ssr_plugin.segmenters.base import HearingSegmenter
from ssr_plugin.training.finetune_stage import _check_listening, resolve_llm_dtype
from ssr_plugin.training.shard_dataset import ShardDataset


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


def test_an_llm_in_parts_is_not_asked_while_shards_are_listened_to():
    segmenter = Mock(spec=HearingSegmenter)
    lm = SimpleNamespace(embedder=SimpleNamespace(predicting=segmenter))
    shards, folder = Mock(spec=ShardDataset), object()
    share = {"predicted_share": 0.5}
    segmenter.recognizer.settings.return_value = {"num_beams": 5}
    _check_listening(lm, shards, share)
    segmenter.recognizer.settings.return_value |= {"rescorer": {}}
    _check_listening(lm, folder, share)
    _check_listening(lm, shards, {"predicted_share": 0.0})
    with pytest.raises(ValueError, match="parallel: .*llm_weight.*predicted_share: 0"):
        _check_listening(lm, shards, share)
