"""Encoders as published read the padding of a batch; this makes them blind to it.

Two kinds of layers of the wav2vec 2.0 family mix time steps without asking for the
attention mask: the group norm after its first convolution (statistics over the whole
padded signal), and convolutions over frames (positional embeddings, conformer blocks).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class PaddingGuard:
    """Tells an encoder's convolutions and group norms where each utterance ends.

    Group norms take their statistics from the utterance alone, and convolutions that
    pad their input read zeros beyond its end, as they do beyond the end of a batch of
    one. The end is followed through strided convolutions in the order they run, on the
    host, which asks the device nothing.

    Arguments
    ---------
    encoder : torch.nn.Module
        Its ``GroupNorm`` layers are replaced and its ``Conv1d`` layers hooked, in
        place; what they compute without padding stays the same.

    Example
    -------
    >>> encoder = nn.Sequential(nn.Conv1d(1, 4, 3, stride=2), nn.GroupNorm(4, 4))
    >>> guard = PaddingGuard(encoder)
    >>> x = torch.randn(1, 1, 11)
    >>> with guard.lengths(torch.tensor([11])):
    ...     padded = encoder(nn.functional.pad(x, (0, 8)))
    >>> torch.allclose(padded[..., :5], encoder(x), atol=1e-5)
    True
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._lengths: Tensor | None = None
        for parent in list(encoder.modules()):
            for name, module in list(parent.named_children()):
                if type(module) is nn.GroupNorm:
                    setattr(parent, name, _GuardedGroupNorm(module, self))
        for module in encoder.modules():
            if isinstance(module, nn.Conv1d):
                module.register_forward_pre_hook(self._before_conv)
                module.register_forward_hook(self._after_conv)

    @contextlib.contextmanager
    def lengths(self, lengths: Tensor) -> Iterator[None]:
        """Guards the forward passes made inside the block.

        Arguments
        ---------
        lengths : torch.LongTensor
            Length of each utterance in the encoder's input, [B] samples, on the CPU.
        """
        self._lengths = lengths
        try:
            yield
        finally:
            self._lengths = None

    def mask(self, x: Tensor) -> Tensor | None:
        """True where a step belongs to its utterance, [B, 1, T]; None if all do."""
        if self._lengths is None or bool((self._lengths >= x.shape[-1]).all()):
            return None
        steps = torch.arange(x.shape[-1], device=x.device)
        lengths = self._lengths.to(x.device, non_blocking=True)
        return (steps < lengths[:, None])[:, None]

    def _before_conv(
        self, conv: nn.Conv1d, args: tuple[Any, ...]
    ) -> tuple[Any, ...] | None:
        if not any(conv.padding):
            return None
        mask = self.mask(args[0])
        return None if mask is None else (args[0] * mask, *args[1:])

    def _after_conv(
        self, conv: nn.Conv1d, args: tuple[Any, ...], output: Tensor
    ) -> None:
        (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
        # A padded convolution of stride 1 is there to keep the length.
        if self._lengths is None or (any(conv.padding) and stride == 1):
            return
        padding = 0 if isinstance(conv.padding, str) else 2 * conv.padding[0]
        reach = dilation * (kernel - 1) + 1
        lengths = (self._lengths + padding - reach).div(stride, rounding_mode="floor")
        self._lengths = (lengths + 1).clamp_min(0)


class _GuardedGroupNorm(nn.Module):
    """A group norm over each utterance's own steps. Has the original's parameters."""

    def __init__(self, norm: nn.GroupNorm, guard: PaddingGuard) -> None:
        super().__init__()
        self.num_groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        self._guard = guard

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [B, C, T]; what lies beyond an utterance's end stays finite."""
        mask = self._guard.mask(x)
        if mask is None:
            return nn.functional.group_norm(
                x, self.num_groups, self.weight, self.bias, self.eps
            )
        grouped = x.unflatten(1, (self.num_groups, -1))  # [B, G, C / G, T]
        mask = mask[:, None]
        count = (mask.sum(-1, keepdim=True) * grouped.shape[2]).clamp_min(1)
        mean = (grouped * mask).sum((2, 3), keepdim=True) / count
        centred = (grouped - mean) * mask
        variance = centred.square().sum((2, 3), keepdim=True) / count
        normed: Tensor = (centred * (variance + self.eps).rsqrt()).flatten(1, 2)
        return normed * self.weight[:, None] + self.bias[:, None]
