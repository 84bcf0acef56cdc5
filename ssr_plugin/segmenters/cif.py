"""Segments by continuous integrate-and-fire: weights add up, and each 1 is a token."""

import numpy as np
import torch
from torch import nn

from ssr_plugin.nnet.firing import firing_frames
from ssr_plugin.nnet.frames import frame_mask
from ssr_plugin.segmenters.base import Segmentation, Segments
from ssr_plugin.segmenters.network_segmenter import FrameNetworkSegmenter


class CIFSegmenter(FrameNetworkSegmenter):
    """Each frame is given a weight; where the sum passes a whole number, a token ends.

    Dong & Xu, arXiv 1905.11235. Their quantity loss teaches the weights of an utterance
    to sum to its number of tokens; here those of each forced segment are also taught to
    sum to 1, so that they fire where tokens end. What is left at the end of an
    utterance fires if it is at least half a token.

    Arguments
    ---------
    input_size, llm, frame_rate, **network
        Of :class:`ssr_plugin.segmenters.network_segmenter.NetworkSegmenter`.
    segment_weight : float
        Of the loss for each segment, beside that for the utterance.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> segmenter = CIFSegmenter(6, llm, 50.0, width=8, num_heads=2)
    >>> len(segmenter.segment_frames(torch.rand(1, 9, 6), torch.tensor([9])))
    1
    """

    def __init__(
        self, input_size, llm, frame_rate, segment_weight=1.0, stack=2, **network
    ):
        super().__init__(input_size, llm, frame_rate, stack=stack, **network)
        self.segment_weight = segment_weight
        self.output = nn.Linear(self.network.width, stack)
        # About as many tokens at the start as people speak in a second.
        nn.init.constant_(self.output.bias, -2.5)

    def stream_windows(self):
        """Refused: where a weight fires depends on all before it."""
        raise ValueError(
            "the segmenter cif adds up weights from a recording's beginning, which a "
            "stream's windows leave behind: take subword_ctc, boundary, fixed or asr"
        )

    def weights(self, states):
        """[..., L, width] to the weight of each frame, [..., L * stack] float32."""
        return self.output(states).float().flatten(-2).sigmoid()

    def loss(self, features, lengths, boundaries, starts, tokens):
        """See :meth:`TrainableSegmenter.loss`: both quantities, per token."""
        states, _ = self.network(features, lengths)
        weights = self.weights(states)
        weights = weights * frame_mask(lengths, weights.shape[1])
        counts = (boundaries >= 0).sum(1)
        error = (weights.sum(1) - counts).abs().sum()
        # Sums up to each boundary; the weight before the first token counts as its own.
        sums = weights.cumsum(1).gather(1, boundaries.clamp_min(0))
        order = torch.arange(1, boundaries.shape[1] + 1, device=sums.device)
        apart = (sums - order)[boundaries >= 0].abs().sum()
        return (error + self.segment_weight * apart) / counts.sum().clamp_min(1)

    def segment_states(self, states, num_frames):
        """See :meth:`FrameNetworkSegmenter.segment_states`."""
        if not len(states):
            return Segmentation(Segments.none())
        ends = firing_frames(self.weights(states)[:num_frames])
        # A frame fires one token at most: others that it holds have no frames.
        boundaries = np.unique(np.asarray(ends, dtype=np.int64))
        starts = np.append(0, boundaries[:-1] + 1)[: len(boundaries)]
        segments = Segments(np.full_like(boundaries, -1), starts, boundaries)
        return Segmentation(segments)
