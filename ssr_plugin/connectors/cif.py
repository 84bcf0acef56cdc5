"""A rival that finds its own segments: frames' weights add up, and fire."""

import torch.nn.functional as F
from torch import nn

from ssr_plugin.connectors.projector import projector
from ssr_plugin.nnet.firing import integrate, quantity_loss, scale_weights
from ssr_plugin.nnet.segment_lists import (
    place_vectors,
    segmented_lengths,
    zero_after,
)


class CIFConnector(nn.Module):
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
    >>> connector(torch.rand(2, 10, 6), torch.tensor([[3, 7, 9], [4, 5, -1]])).shape
    torch.Size([2, 3, 8])
    >>> connector.auxiliary_loss().shape
    torch.Size([])
    """

    def __init__(
        self, input_size, llm, hidden_size=None, weight_size=256, kernel_size=5
    ):
        super().__init__()
        self.convolution = nn.Conv1d(
            input_size, weight_size, kernel_size, padding="same"
        )
        self.score = nn.Linear(weight_size, 1)
        self.project = projector(input_size, llm.hidden_size, hidden_size)
        self._quantity_loss = None

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

    def forward(self, features, boundaries, starts=None):
        """Reads as many vectors as there are segments.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        boundaries : torch.Tensor
            [B, N] int, the last frame of each segment, padded with -1. Frames after the
            last take no part.
        starts : torch.Tensor or None
            Not read.

        Returns
        -------
        torch.Tensor
            [B, N, H]; zeros at padding.
        """
        lengths = segmented_lengths(boundaries)
        counts = (boundaries >= 0).sum(1)
        features = zero_after(features, lengths)
        weights = self.weigh(features, lengths)
        self._quantity_loss = quantity_loss(weights, counts) if self.training else None
        sums = integrate(features, scale_weights(weights, counts), boundaries.shape[1])
        return place_vectors(self.project(sums[boundaries >= 0]), boundaries)

    def auxiliary_loss(self):
        """The quantity loss of the last forward, which teaches weights their scale.

        Returns
        -------
        torch.Tensor or None
            Scalar, :func:`ssr_plugin.nnet.firing.quantity_loss`; None unless the
            last forward was in training.
        """
        return self._quantity_loss
