"""Batches that workers hand over in memory that is used again."""

import pytest
import torch

from ssr_plugin.training import batch_slots
from ssr_plugin.training.batch_slots import BatchSlots
from ssr_plugin.training.packed_tensors import PackedTensors

SIZE = 256


def collate(numbers):
    """The numbers, and in which of the worker's slots they lie."""
    packed = PackedTensors.of({"numbers": torch.tensor(numbers)})
    return packed, packed._slot and packed._slot.number


def loader(slots, batches, **options):
    return torch.utils.data.DataLoader(
        torch.arange(10 * batches).tolist(),
        batch_size=10,
        collate_fn=collate,
        worker_init_fn=slots.start_worker,
        **options,
    )


@pytest.mark.parametrize("num_workers", [1, 2])
def test_batches_of_slots_are_those_of_no_workers(num_workers):
    slots = BatchSlots(num_workers, SIZE)
    found = loader(slots, 24, num_workers=num_workers)
    for _epoch in range(2):
        # All are kept: a slot that is used again changes no batch of before.
        batches = list(found)
        said = torch.cat([packed["numbers"] for packed, _ in batches])
        assert said.tolist() == list(range(240))
        numbers = [number for _, number in batches]
        assert None not in numbers and len(set(numbers)) < 24
        assert not any(packed.buffer.is_shared() for packed, _ in batches)
    assert not slots._taken.any()


def test_a_batch_that_no_slot_holds_is_handed_over_all_the_same():
    batches = list(loader(BatchSlots(1, slot_size=8), 3, num_workers=1))
    assert [number for _, number in batches] == [None] * 3
    assert [packed["numbers"][0].item() for packed, _ in batches] == [0, 10, 20]


def test_slots_that_a_dead_worker_left_are_free_for_the_next():
    slots = BatchSlots(1, SIZE)
    # Workers that end over batches that nobody asked for.
    for _ in range(3):
        next(iter(loader(slots, 8, num_workers=1)))
    batches = list(loader(slots, 8, num_workers=1))
    assert None not in [number for _, number in batches]


def test_what_is_packed_by_no_worker_takes_no_slot():
    slots = BatchSlots(1, SIZE)
    assert [number for _, number in loader(slots, 2)] == [None, None]
    assert not slots._taken.any()


def test_no_slots_are_made_where_memory_is_not_to_be_had(monkeypatch):
    def refuse(*_):
        raise OSError(12, "Cannot allocate memory")

    assert batch_slots.batch_slots(1, 40) is not None
    monkeypatch.setattr(batch_slots.mmap, "mmap", refuse)
    assert batch_slots.batch_slots(1, 40) is None
