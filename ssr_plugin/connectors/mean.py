"""The plainest rival: the mean of a segment's frames, through a linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssr_plugin.connectors.base import Connector, ConnectorOutput
from ssr_plugin.connectors.projector import projector
from ssr_plugin.nnet.segment_lists import list_frames, place_vectors

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM


class MeanConnector(Connector):
    """Means of the frames of each segment.

    With segments that are runs of frames to which a CTC layer gives one label, this is
    the compression of Gaido et al., "CTC-based Compression for Direct Speech
    Translation", arXiv 2102.01578, here after the last layer of a frozen encoder, not
    between two layers of one in training. With segments of one token each it is the
    baseline of mean pooling; with segments of one length, average pooling.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the width H.
    hidden_size : int or None
        Width between two linear layers with a ReLU; one linear layer if None.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> connector = MeanConnector(6, SimpleNamespace(hidden_size=8))
    >>> boundaries = torch.tensor([[3, 7, 9], [4, 5, -1]])
    >>> connector(torch.rand(2, 10, 6), boundaries).vectors.shape
    torch.Size([2, 3, 8])
    """

    def __init__(
        self, input_size: int, llm: TextLLM, hidden_size: int | None = None
    ) -> None:
        super().__init__()
        self.project = projector(input_size, llm.hidden_size, hidden_size)

    def forward(
        self, features: Tensor, boundaries: Tensor, starts: Tensor | None = None
    ) -> ConnectorOutput:
        """See :meth:`Connector.forward`."""
        frames, segment = list_frames(features, boundaries, starts)
        count = int((boundaries >= 0).sum())
        total = frames.new_zeros(count, frames.shape[1]).index_add(0, segment, frames)
        length = torch.bincount(segment, minlength=count).unsqueeze(1)
        vectors = place_vectors(self.project(total / length), boundaries)
        return ConnectorOutput(vectors, boundaries >= 0)
