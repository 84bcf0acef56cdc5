"""A GPU that is too small: which keys are named."""

import pytest
import torch

from ssr_plugin.training.memory import told_what_to_lower


def message(**hparams):
    with pytest.raises(MemoryError) as raised, told_what_to_lower(hparams):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried " + "much " * 99)
    assert isinstance(raised.value.__cause__, torch.cuda.OutOfMemoryError)
    return str(raised.value)


def test_keys_are_named_that_the_stage_has():
    told = message(batch_seconds=40.0)
    assert "lower batch_seconds" in told
    assert "gradient_checkpointing" not in told and "llm_dtype" not in told
    told = message(batch_seconds=40, gradient_checkpointing=False, llm_dtype="float32")
    assert "gradient_checkpointing: True" in told and "llm_dtype: bfloat16" in told


def test_keys_that_are_set_so_are_not_named():
    told = message(batch_seconds=1, gradient_checkpointing=True, llm_dtype="bfloat16")
    assert "lower batch_seconds" in told
    assert "gradient_checkpointing" not in told and "llm_dtype" not in told


def test_it_is_one_line_with_the_beginning_of_torchs_own():
    told = message(batch_seconds=40.0)
    assert "\n" not in told and "(CUDA out of memory. Tried much" in told
    assert len(told) < 400


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="shapes"), told_what_to_lower({}):
        raise RuntimeError("shapes")
