"""batch_seconds: auto, by data and memory, and the learning rate that goes with it."""

import pytest
from transformers import GPT2Config, LlamaConfig

from ssr_plugin.training.batch_size import (
    choose_batch,
    finetune_memory,
    resolve_batch,
)

HOUR, GPU = 3600.0, 80e9
HPARAMS = {"batch_seconds": "auto", "lr": 0.001, "number_of_epochs": 10}


def test_a_cpu_has_the_batch_that_lr_is_meant_for_whatever_the_data():
    assert choose_batch(1e6 * HOUR) == 40.0
    assert resolve_batch(HPARAMS, 1e6, "cpu") == {"batch_seconds": 40.0, "lr": 0.001}


def test_a_training_on_a_gpu_has_steps_enough():
    for hours in (10, 100, 1000, 30_000):
        batch = choose_batch(hours * HOUR, GPU)
        assert batch == 40.0 or hours * HOUR / batch >= 1500
        # And not twice as many as it needs, unless the batch is the largest.
        assert batch == 1280.0 or hours * HOUR / (2 * batch) < 1500


def test_a_small_gpu_has_smaller_batches():
    assert choose_batch(1e5 * HOUR, 8e9) < choose_batch(1e5 * HOUR, 80e9)


def test_stage_2_of_a_larger_llm_has_smaller_batches():
    small, large = GPT2Config(), LlamaConfig()
    assert finetune_memory(small) < finetune_memory(large)
    batches = [
        choose_batch(1e5 * HOUR, GPU, per_second=finetune_memory(config))
        for config in (small, large)
    ]
    assert batches[0] > batches[1] >= 40.0


def test_the_batches_of_all_processes_count():
    assert choose_batch(500 * HOUR, GPU, 8) == choose_batch(500 * HOUR, GPU) / 8


def test_a_number_is_taken_as_it_is():
    hparams = {**HPARAMS, "batch_seconds": 100}
    assert resolve_batch(hparams, 1e9, "cuda") == {"batch_seconds": 100, "lr": 0.001}


@pytest.mark.parametrize("value", ["large", 0, None])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="batch_seconds: .* neither a number"):
        resolve_batch({**HPARAMS, "batch_seconds": value}, 1.0, "cpu")
