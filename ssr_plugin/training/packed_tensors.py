"""Many tensors in one piece of memory, so that one copy takes them to a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from ssr_plugin.training.batch_slots import Slot, empty_slot, take_slot

# Where a tensor may begin, in bytes: at a whole number of every type.
_ALIGNMENT = 64


class PackedTensors(Mapping[str, Tensor]):
    """Named tensors that are views of one buffer.

    A worker of a data loader hands over one piece of memory for all of them, and one
    copy, from pinned memory and without waiting, takes them to a device.

    Arguments
    ---------
    buffer : torch.Tensor
        [bytes] uint8
    layout : dict
        Name -> (type, shape, first byte).
    slot : ssr_plugin.training.batch_slots.Slot or None
        Where a worker's buffer lies, if it is to be handed over there: once.

    Example
    -------
    >>> packed = PackedTensors.of({"a": torch.ones(2, 3), "b": torch.tensor([True])})
    >>> packed["a"].shape, packed["b"].tolist(), len(packed)
    (torch.Size([2, 3]), [True], 2)
    >>> packed.to("meta")["a"].device
    device(type='meta')
    """

    def __init__(
        self,
        buffer: Tensor,
        layout: Mapping[str, tuple[torch.dtype, tuple[int, ...], int]],
        slot: Slot | None = None,
    ) -> None:
        self.buffer = buffer
        self._layout = layout
        self._slot = slot

    def __reduce__(self) -> tuple[Callable[..., PackedTensors], tuple[object, ...]]:
        # A pickle is how a worker hands over.
        if self._slot is None:
            return PackedTensors, (self.buffer, self._layout)
        return _copy_of, (self._slot, self._layout)

    @classmethod
    def empty(
        cls, kinds: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
    ) -> PackedTensors:
        """Room for tensors of some types and shapes, with any numbers in it.

        In a worker of a data loader it is memory that other processes see, too: the
        batch needs no copy to get there.

        Example
        -------
        >>> packed = PackedTensors.empty({"a": (torch.float16, (2, 3))})
        >>> packed["a"].zero_().shape
        torch.Size([2, 3])
        """
        layout, size = {}, 0
        for name, (dtype, shape) in kinds.items():
            layout[name] = (dtype, tuple(shape), size)
            num_bytes = math.prod(shape) * dtype.itemsize
            size += -(-num_bytes // _ALIGNMENT) * _ALIGNMENT
        taken = take_slot(size)
        if taken is not None:
            return cls(taken[0], layout, taken[1])
        buffer = torch.empty(0, dtype=torch.uint8)
        if torch.utils.data.get_worker_info() is None:
            buffer.resize_(size)
        else:
            storage = buffer.untyped_storage()._new_shared(size)
            buffer.set_(storage, 0, torch.Size([size]), torch.Size([1]))
        return cls(buffer, layout)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> PackedTensors:
        """Packs tensors that are on the CPU."""
        kinds = {name: (x.dtype, tuple(x.shape)) for name, x in tensors.items()}
        packed = cls.empty(kinds)
        for name, x in tensors.items():
            packed[name].copy_(x)
        return packed

    @property
    def layout(self) -> tuple[object, ...]:
        """What is where: the same for batches of the same types and shapes."""
        return tuple(self._layout.items())

    def __getitem__(self, name: str) -> Tensor:
        dtype, shape, first = self._layout[name]
        last = first + math.prod(shape) * dtype.itemsize
        return self.buffer[first:last].view(dtype).view(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout)

    def __len__(self) -> int:
        return len(self._layout)

    def to(self, device: torch.device | str) -> PackedTensors:
        """The same on a device; where the memory is pinned, without waiting for it."""
        return PackedTensors(self.buffer.to(device, non_blocking=True), self._layout)

    def pin_memory(self) -> PackedTensors:
        """The same in memory that a GPU can read by itself."""
        return PackedTensors(self.buffer.pin_memory(), self._layout)


def _copy_of(
    slot: Slot, layout: Mapping[str, tuple[torch.dtype, tuple[int, ...], int]]
) -> PackedTensors:
    """Of what a worker left in a slot, which is free then."""
    return PackedTensors(empty_slot(slot), layout)
