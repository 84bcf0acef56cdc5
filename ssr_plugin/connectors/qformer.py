"""A rival in which a learnt query asks the frames of each segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssr_plugin.connectors.base import Connector, ConnectorOutput
from ssr_plugin.nnet.segment_lists import list_frames, place_vectors
from ssr_plugin.nnet.segments import segment_softmax

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM


class QueryLayer(nn.Module):
    """Each segment's state attends to the segment's frames, then a feed-forward part.

    Frames are listed, not padded to the longest segment: cost and memory are linear in
    the number of frames, however unlike the segments' lengths.

    Arguments
    ---------
    width : int
        W, of the states.
    frame_size : int
        D, width of the frames.
    num_heads : int
    dropout : float
        On the output of both parts, in training.

    Example
    -------
    >>> layer = QueryLayer(8, frame_size=6, num_heads=2)
    >>> layer(torch.rand(2, 8), torch.rand(5, 6), torch.tensor([0, 0, 0, 1, 1])).shape
    torch.Size([2, 8])
    """

    def __init__(self, width, frame_size, num_heads, dropout=0.0):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        # A bias would raise all scores of a segment alike, which softmax takes away.
        self.key = nn.Linear(frame_size, width, bias=False)
        self.value = nn.Linear(frame_size, width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.dropout = nn.Dropout(dropout)

    def attend(self, states, frames, segment):
        """Attention; arguments and result as in :meth:`forward`."""
        query, key, value = (
            x.unflatten(-1, (self.num_heads, -1))
            for x in (self.query(states)[segment], self.key(frames), self.value(frames))
        )
        scores = (query * key).sum(-1) * query.shape[-1] ** -0.5
        weights = segment_softmax(scores, segment, len(states)).to(value.dtype)
        shares = (weights.unsqueeze(-1) * value).flatten(1)
        mixed = shares.new_zeros(len(states), shares.shape[1])
        return self.out(mixed.index_add(0, segment, shares))

    def forward(self, states, frames, segment):
        """Runs the layer.

        Arguments
        ---------
        states : torch.Tensor
            [S, W], one of each segment.
        frames : torch.Tensor
            [F, D]
        segment : torch.Tensor
            [F] int, the segment that a frame is in.

        Returns
        -------
        torch.Tensor
            [S, W]
        """
        x = self.attend(self.attention_norm(states), frames, segment)
        states = states + self.dropout(x)
        return states + self.dropout(self.feed_forward(states))


class QFormerConnector(Connector):
    """A Q-Former whose windows are the segments, with one query.

    The window-level Q-Former of SALMONN (Tang et al., arXiv 2310.13289), which has one
    query to each window of 0.33 s. What differs: windows are the segments, however
    long; norms come before each part, not after. Self-attention among the queries of a
    window is left out, since with one query it is but a linear layer. As published,
    nothing tells the query in which order the frames of its window come, but what the
    encoder wrote into them.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the width H.
    num_layers : int
        As published, 2.
    hidden_size : int
        Of the query; published with 768.
    num_heads : int
        Of the attention; published with 12.
    dropout : float
        In training; as published, 0.1.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> llm = SimpleNamespace(hidden_size=8)
    >>> connector = QFormerConnector(6, llm, hidden_size=16)
    >>> boundaries = torch.tensor([[3, 7, 9], [4, 5, -1]])
    >>> connector(torch.rand(2, 10, 6), boundaries).vectors.shape
    torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        input_size: int,
        llm: TextLLM,
        num_layers: int = 2,
        hidden_size: int = 256,
        num_heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(
                f"hidden_size: {hidden_size} is no multiple of num_heads, {num_heads}"
            )
        self.frame_norm = nn.LayerNorm(input_size)
        self.query = nn.Parameter(0.02 * torch.randn(hidden_size))
        self.layers = nn.ModuleList(
            QueryLayer(hidden_size, input_size, num_heads, dropout)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.project = nn.Linear(hidden_size, llm.hidden_size)

    def forward(
        self, features: Tensor, boundaries: Tensor, starts: Tensor | None = None
    ) -> ConnectorOutput:
        """See :meth:`Connector.forward`."""
        frames, segment = list_frames(features, boundaries, starts)
        frames = self.frame_norm(frames)
        states = self.query.expand(int((boundaries >= 0).sum()), -1)
        for layer in self.layers:
            states = layer(states, frames, segment)
        vectors = place_vectors(self.project(self.norm(states)), boundaries)
        return ConnectorOutput(vectors, boundaries >= 0)
