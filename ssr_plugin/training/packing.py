"""Many tensors in one piece of memory, so that one copy takes them to a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

# Where a tensor may begin, in bytes: at a whole number of every type.
_ALIGNMENT = 64


class PackedTensors(Mapping[str, Tensor]):
    """Named tensors that are views of one buffer.

    A worker of a data loader hands over one piece of shared memory for all of them, and
    one copy, from pinned memory and without waiting, takes them to a device.

    Arguments
    ---------
    buffer : torch.Tensor
        [bytes] uint8
    layout : dict
        Name -> (type, shape, first byte).

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
    ) -> None:
        self.buffer = buffer
        self._layout = layout

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> PackedTensors:
        """Packs tensors that are on the CPU."""
        layout, size = {}, 0
        for name, x in tensors.items():
            layout[name] = (x.dtype, tuple(x.shape), size)
            size += -(-x.nbytes // _ALIGNMENT) * _ALIGNMENT
        packed = cls(torch.empty(size, dtype=torch.uint8), layout)
        for name, x in tensors.items():
            packed[name].copy_(x)
        return packed

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
