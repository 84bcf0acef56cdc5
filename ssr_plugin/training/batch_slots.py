"""Memory in which a data loader's workers hand their batches over."""

from __future__ import annotations

import itertools
import logging
import mmap
import multiprocessing
import weakref
from typing import NamedTuple

import torch
from torch import Tensor

from ssr_plugin.processes import can_fork

logger = logging.getLogger(__name__)

# Batches that a worker of PyTorch's has ready or makes, and one that is copied.
_SLOTS_PER_WORKER = 3
# What a second of a batch may take, padding and plan included, bytes: features of 1,280
# numbers in float16, 50 a second, are 128,000.
_BYTES_PER_SECOND = 400_000


class Slot(NamedTuple):
    """Where a batch lies.

    Arguments
    ---------
    slots : int
        Which :class:`BatchSlots`.
    number : int
        Which of them.
    num_bytes : int
        How many of its bytes the batch takes.
    """

    slots: int
    number: int
    num_bytes: int


class BatchSlots:
    """Slots that a loader's workers fill, and that the process they work for empties.

    PyTorch makes a piece of shared memory for each batch, hands it over by a socket of
    its own, and finds it page by page. These are made once, before the workers are
    forked, and used again. A worker that finds none free, or none large enough, hands
    over in PyTorch's way. Memory that was never written to takes none.

    Arguments
    ---------
    num_workers : int
        At least 1.
    slot_size : int
        Bytes of each slot.
    pin_memory : bool
        Whether batches are copied to memory that a GPU reads by itself.

    Raises
    ------
    OSError
        If the system has not so much memory to give.

    Example
    -------
    >>> from ssr_plugin.training.packed_tensors import PackedTensors
    >>> slots = BatchSlots(num_workers=1, slot_size=1000)
    >>> loader = torch.utils.data.DataLoader(
    ...     range(4),
    ...     batch_size=2,
    ...     collate_fn=lambda numbers: PackedTensors.of({"x": torch.tensor(numbers)}),
    ...     num_workers=1,
    ...     worker_init_fn=slots.start_worker,
    ... )
    >>> [batch["x"].tolist() for batch in loader]
    [[0, 1], [2, 3]]
    """

    def __init__(
        self, num_workers: int, slot_size: int, pin_memory: bool = False
    ) -> None:
        self._count = num_workers * _SLOTS_PER_WORKER
        self._pin_memory = pin_memory
        # Of no file, and shared: a fork has the same.
        memory = mmap.mmap(-1, self._count * (slot_size + 1))
        whole = torch.frombuffer(memory, dtype=torch.uint8)
        self._slots = whole[: self._count * slot_size].view(self._count, slot_size)
        # 1 from when a worker takes a slot until what is in it has been copied.
        self._taken = whole[self._count * slot_size :]
        self._key = next(_keys)
        _known[self._key] = self

    def start_worker(self, worker: int) -> None:
        """What a worker calls first: a ``DataLoader``'s ``worker_init_fn``."""
        global _of_worker
        own = range(worker * _SLOTS_PER_WORKER, (worker + 1) * _SLOTS_PER_WORKER)
        # An earlier worker of that number may have died over its own.
        self._taken[own.start : own.stop] = 0
        _of_worker = self, own

    def take(self, own: range, num_bytes: int) -> tuple[Tensor, Slot] | None:
        """See :func:`take_slot`."""
        if num_bytes > self._slots.shape[1]:
            return None
        for number in own:
            if not self._taken[number]:
                self._taken[number] = 1
                slot = Slot(self._key, number, num_bytes)
                return self._slots[number, :num_bytes], slot
        return None

    def empty(self, slot: Slot) -> Tensor:
        """See :func:`empty_slot`."""
        copy = torch.empty(
            slot.num_bytes, dtype=torch.uint8, pin_memory=self._pin_memory
        )
        copy.copy_(self._slots[slot.number, : slot.num_bytes])
        self._taken[slot.number] = 0
        return copy


_keys = itertools.count()
_known: weakref.WeakValueDictionary[int, BatchSlots] = weakref.WeakValueDictionary()
# In a worker: the slots, and which of them are its own.
_of_worker: tuple[BatchSlots, range] | None = None


def take_slot(num_bytes: int) -> tuple[Tensor, Slot] | None:
    """In a worker: room for a batch, which is its own until the batch was copied.

    Arguments
    ---------
    num_bytes : int

    Returns
    -------
    buffer : torch.Tensor
        [num_bytes] uint8, with any numbers in it.
    slot : Slot
        Or None in place of both, if there is no room.
    """
    if _of_worker is None:
        return None
    slots, own = _of_worker
    return slots.take(own, num_bytes)


def empty_slot(slot: Slot) -> Tensor:
    """In the process that the workers work for: copies a batch, and frees its slot.

    Returns
    -------
    torch.Tensor
        [num_bytes] uint8
    """
    return _known[slot.slots].empty(slot)


def batch_slots(
    num_workers: int, batch_seconds: float, pin_memory: bool = False
) -> BatchSlots | None:
    """Slots for batches of a length.

    Arguments
    ---------
    num_workers : int
    batch_seconds : float
        Audio in a batch, s.
    pin_memory : bool
        Of :class:`BatchSlots`.

    Returns
    -------
    BatchSlots or None
        None where no worker is forked, or there is no memory for them.

    Example
    -------
    >>> batch_slots(num_workers=0, batch_seconds=40) is None
    True
    """
    forks = can_fork() and multiprocessing.get_start_method() == "fork"
    if not num_workers or not forks:
        return None
    try:
        return BatchSlots(
            num_workers, round(_BYTES_PER_SECOND * batch_seconds), pin_memory
        )
    except OSError as error:
        logger.debug("no slots for batches: %s", error)
        return None
