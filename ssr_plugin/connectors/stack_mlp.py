"""The usual rival: frames side by side, through two linear layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssr_plugin.connectors.base import Connector, ConnectorOutput
from ssr_plugin.connectors.projector import projector
from ssr_plugin.nnet.segment_lists import list_segments, place_vectors

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM


class StackMLPConnector(Connector):
    """A fixed number of frames of each segment side by side, then an MLP.

    The projector of SLAM-ASR (Ma et al., "An Embarrassingly Simple Approach for LLM
    with Strong ASR Capacity", arXiv 2402.08846). What differs: a segment need not have
    as many frames as are stacked. Of a longer one, frames at even distances are taken;
    those of a shorter one are taken several times over. Where all segments have
    ``stack`` frames, it is the published projector.

    SpeechBrain's SpeechLLM recipe does the same with two parts that do not fit here:
    ``ConcatDownsampler`` stacks whatever the segments are, and drops the frames left at
    the end; ``VanillaNN`` ends in its activation, so that no vector had a negative
    number.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the width H.
    stack : int
        How many frames of a segment are read; published with 5, at 50 Hz. The default
        is a segment of 0.2 s at 50 Hz, five a second.
    hidden_size : int
        Between the two linear layers; published with 2048.

    Raises
    ------
    ValueError
        If ``stack`` is below 1.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> connector = StackMLPConnector(6, SimpleNamespace(hidden_size=8), stack=3)
    >>> boundaries = torch.tensor([[3, 7, 9], [4, 5, -1]])
    >>> connector(torch.rand(2, 10, 6), boundaries).vectors.shape
    torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        input_size: int,
        llm: TextLLM,
        stack: int = 10,
        hidden_size: int = 2048,
    ) -> None:
        super().__init__()
        if stack < 1:
            raise ValueError(f"stack: {stack!r} is below 1")
        self.stack = stack
        self.project = projector(stack * input_size, llm.hidden_size, hidden_size)

    def forward(
        self, features: Tensor, boundaries: Tensor, starts: Tensor | None = None
    ) -> ConnectorOutput:
        """See :meth:`Connector.forward`."""
        row, first, last = list_segments(boundaries, starts)
        frame = spread(first, last, self.stack)
        stacked = features[row.unsqueeze(1), frame].flatten(1)
        vectors = place_vectors(self.project(stacked), boundaries)
        return ConnectorOutput(vectors, boundaries >= 0)


def spread(first, last, count):
    """Frames at even distances: the middles of equal parts of each segment.

    Arguments
    ---------
    first, last : torch.Tensor
        [S] int, the first and last frame of each segment.
    count : int
        How many frames of each.

    Returns
    -------
    torch.Tensor
        [S, count] int, never decreasing in a row.

    Example
    -------
    >>> spread(torch.tensor([0, 4, 7]), torch.tensor([3, 5, 12]), 4).tolist()
    [[0, 1, 2, 3], [4, 4, 5, 5], [7, 9, 10, 12]]
    """
    step = 2 * torch.arange(count, device=first.device) + 1
    length = (last - first + 1).unsqueeze(1)
    return first.unsqueeze(1) + step * length // (2 * count)
