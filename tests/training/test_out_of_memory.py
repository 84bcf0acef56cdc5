"""A GPU that is too small: which keys are named."""

import pytest
import torch

from ssr_plugin.training.out_of_memory import explain_out_of_memory


def message(**hparams):
    with pytest.raises(MemoryError) as raised, explain_out_of_memory(hparams):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried " + "much " * 99)
    assert isinstance(raised.value.__cause__, torch.cuda.OutOfMemoryError)
    return str(raised.value)


def test_out_of_memory_names_the_keys_that_the_stage_has():
    text = message(batch_seconds=40.0)
    assert "lower batch_seconds" in text
    assert "gradient_checkpointing" not in text and "llm_dtype" not in text
    text = message(batch_seconds=40, gradient_checkpointing=False, llm_dtype="float32")
    assert "gradient_checkpointing: True" in text and "llm_dtype: bfloat16" in text


def test_out_of_memory_names_no_key_that_is_set_so_already():
    text = message(batch_seconds=1, gradient_checkpointing=True, llm_dtype="bfloat16")
    assert "lower batch_seconds" in text
    assert "gradient_checkpointing" not in text and "llm_dtype" not in text


def test_out_of_memory_is_one_line_with_the_beginning_of_torchs_own():
    text = message(batch_seconds=40.0)
    assert "\n" not in text and "(CUDA out of memory. Tried much" in text
    assert len(text) < 400


def test_errors_other_than_out_of_memory_are_left_alone():
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory({}):
        raise RuntimeError("shapes")
