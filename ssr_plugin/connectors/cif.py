"""A rival that finds its own segments: frames' weights add up, and fire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from ssr_plugin.connectors.base import Connector, ConnectorOutput
from ssr_plugin.connectors.projector import projector
from ssr_plugin.nnet.firing import integrate, quantity_loss, scale_weights
from ssr_plugin.nnet.segment_lists import (
    place_vectors,
    segmented_lengths,
    zero_after,
)

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM


class CIFConnector(Connector):
    """Continuous integrate-and-fire: as many vectors as segments, cut where it likes.

    Dong & Xu, arXiv 1905.11235. A small network gives each frame a weight between 0 and
    1; frames are summed by weight, and a new vector begins whenever the weight passes
    a whole number. What differs: weights are scaled to the number of segments outside
    of training too, so that there is one vector for each, whatever the segmenter. Where
    segments lie is not read, but for the end of the last.

    The scale, and so each vector, depends on the whole utterance, and a vector may hold
    frames of the token after its own: an LLM that is scored on predicting that token
    has heard some of it.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the width H.
    hidden_size : int or None
        Width between two linear layers with a ReLU, after the sums; one linear layer if
        None.
    weight_size : int
        Channels of the convolution that the weights come of.
    kernel_size : int
        Frames that a weight sees.

    Example
    -------
    >>> import torch
    >>> from types import SimpleNamespace
    >>> connector = CIFConnector(6, SimpleNamespace(hidden_size=8))
    >>> boundaries = torch.tensor([[3, 7, 9], [4, 5, -1]])
    >>> output = connector(torch.rand(2, 10, 6), boundaries)
    >>> output.vectors.shape, output.auxiliary_loss.shape
    (torch.Size([2, 3, 8]), torch.Size([]))
    """

    def __init__(
        self,
        input_size: int,
        llm: TextLLM,
        hidden_size: int | None = None,
        weight_size: int = 256,
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(
            input_size, weight_size, kernel_size, padding="same"
        )
        self.score = nn.Linear(weight_size, 1)
        self.project = projector(input_size, llm.hidden_size, hidden_size)

    def weigh(self, features, lengths):
        """The weights of frames, before any scaling.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]; zeros beyond the end of each row.
        lengths : torch.Tensor
            [B] int, where a row ends.

        Returns
        -------
        torch.Tensor
            [B, T], between 0 and 1; zeros beyond the end.
        """
        # A frame more, of zeros: a convolution refuses an input without any.
        x = self.convolution(F.pad(features, (0, 0, 0, 1)).transpose(1, 2))
        scores = self.score(F.relu(x).transpose(1, 2)[:, :-1])
        return zero_after(scores.squeeze(-1).float().sigmoid(), lengths)

    def forward(
        self, features: Tensor, boundaries: Tensor, starts: Tensor | None = None
    ) -> ConnectorOutput:
        """See :meth:`Connector.forward`; where segments lie is not read.

        The auxiliary loss is :func:`ssr_plugin.nnet.firing.quantity_loss`, which
        teaches weights their scale.
        """
        lengths = segmented_lengths(boundaries)
        counts = (boundaries >= 0).sum(1)
        features = zero_after(features, lengths)
        weights = self.weigh(features, lengths)
        auxiliary_loss = quantity_loss(weights, counts) if self.training else None
        sums = integrate(features, scale_weights(weights, counts), boundaries.shape[1])
        vectors = place_vectors(self.project(sums[boundaries >= 0]), boundaries)
        return ConnectorOutput(vectors, boundaries >= 0, auxiliary_loss=auxiliary_loss)
