"""A rival that reads all frames by strided convolutions, at a rate of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from ssr_plugin.connectors.base import Connector, ConnectorOutput
from ssr_plugin.nnet.segment_lists import (
    list_segments,
    place_vectors,
    segmented_lengths,
    zero_after,
)

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM


class StridedConvolution(nn.Conv1d):
    """A convolution of which output p is centred on its own run of ``stride`` frames.

    The kernel reaches half a run, rounded up, into the runs before and after. T
    positions become ceil(T / stride), at least one.

    Arguments
    ---------
    input_size, output_size : int
    stride : int

    Example
    -------
    >>> import torch
    >>> StridedConvolution(6, 8, stride=2)(torch.rand(1, 5, 6)).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, input_size, output_size, stride):
        reach = (stride + 1) // 2
        super().__init__(input_size, output_size, stride + 2 * reach, stride=stride)
        self.reach = reach

    def forward(self, x):
        """[B, T, D] to [B, ceil(T / stride), H]"""
        (stride,) = self.stride
        length = x.shape[1]
        missing = max(-length % stride, stride - length)
        x = F.pad(x.transpose(1, 2), (self.reach, missing + self.reach))
        return super().forward(x).transpose(1, 2)


class ConvConnector(Connector):
    """Strided convolutions over the frames, read at the middle of each segment.

    A length adaptor as in Li et al., "Multilingual Speech Translation with Efficient
    Finetuning of Pretrained Models", arXiv 2010.12829, and in Hugging Face's
    ``Wav2Vec2Adapter``, then a linear layer. What differs: GELU for GLU, other strides,
    and no output of its own for each ``prod(strides)`` frames but one for each segment:
    that of the run of frames in which the segment's middle lies. With segments of
    ``prod(strides)`` frames these are all outputs, once each; short segments may share
    one. A vector sees a little beyond its segment, on both sides.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the width H.
    strides : sequence of int
        Of each layer. Published with (2, 2, 2); the default gives five outputs a second
        at 50 Hz.
    hidden_size : int
        Channels of each layer.

    Example
    -------
    >>> import torch
    >>> from types import SimpleNamespace
    >>> connector = ConvConnector(6, SimpleNamespace(hidden_size=8), strides=(2, 2))
    >>> boundaries = torch.tensor([[3, 7, 9], [4, 5, -1]])
    >>> connector(torch.rand(2, 10, 6), boundaries).vectors.shape
    torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        input_size: int,
        llm: TextLLM,
        strides: Sequence[int] = (2, 5),
        hidden_size: int = 512,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        sizes = [input_size] + [hidden_size] * len(self.strides)
        self.layers = nn.ModuleList(
            StridedConvolution(sizes[i], sizes[i + 1], stride=stride)
            for i, stride in enumerate(self.strides)
        )
        self.project = nn.Linear(sizes[-1], llm.hidden_size)

    def forward(
        self, features: Tensor, boundaries: Tensor, starts: Tensor | None = None
    ) -> ConnectorOutput:
        """See :meth:`Connector.forward`."""
        x, lengths = features, segmented_lengths(boundaries)
        for layer, stride in zip(self.layers, self.strides, strict=True):
            # A layer's bias fills the padding: nothing of it may reach the next layer.
            x = F.gelu(layer(zero_after(x, lengths)))
            lengths = (lengths + stride - 1) // stride
        row, first, last = list_segments(boundaries, starts)
        middle = (first + last) // 2 // math.prod(self.strides)
        vectors = place_vectors(self.project(x[row, middle]), boundaries)
        return ConnectorOutput(vectors, boundaries >= 0)
