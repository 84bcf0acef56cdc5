"""Segments without a hypothesis: where tokens begin, frame by frame."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ssr_plugin.nnet.frames import frame_mask
from ssr_plugin.segmenters.base import Segmentation, Segments, StreamWindows
from ssr_plugin.segmenters.network_segmenter import FrameNetworkSegmenter
from ssr_plugin.segmenters.spikes import peaks


class BoundarySegmenter(FrameNetworkSegmenter):
    """Tells of each frame whether a token begins there.

    A connector reads what lies between two boundaries and needs no spelling. Frames
    next to a boundary are taught a share of it, since aligners differ by as much. The
    probabilities of an utterance are also taught to sum to its number of tokens, and
    ``threshold`` is set on held-out speakers so that as many boundaries are found as
    there are: both keep counts right.

    Arguments
    ---------
    input_size, llm, frame_rate, **network
        Of :class:`ssr_plugin.segmenters.network_segmenter.NetworkSegmenter`.
    neighbour_share : float
        What the frames beside a boundary are taught, of 1.
    count_weight : float
        Of the loss for the number of tokens, beside that for the frames.
    threshold : float
        Least probability of a boundary. Lower finds more, and more that are none.
    min_frames : int
        Least frames of a segment; the last may have fewer.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> segmenter = BoundarySegmenter(6, llm, 50.0, width=8, num_heads=2)
    >>> (found,) = segmenter.segment_frames(torch.rand(1, 9, 6), torch.tensor([9]))
    >>> set(found.segments.tokens.tolist()) <= {-1}
    True
    """

    def __init__(
        self,
        input_size,
        llm,
        frame_rate,
        neighbour_share=0.3,
        count_weight=0.1,
        threshold=0.4,
        min_frames=3,
        stack=2,
        **network,
    ):
        super().__init__(input_size, llm, frame_rate, stack=stack, **network)
        self.neighbour_share = neighbour_share
        self.count_weight = count_weight
        self.threshold = threshold
        self.min_frames = min_frames
        self.output = nn.Linear(self.network.width, stack)

    def symbols(self):
        """See :meth:`TrainableSegmenter.symbols`."""
        return {"threshold": self.threshold}

    def stream_windows(self):
        """See :meth:`Segmenter.stream_windows`."""
        return StreamWindows(period=self.stack, jitter=self.min_frames - 1)

    def logits(self, states):
        """[..., L, width] to one logit for each frame, [..., L * stack] float32."""
        return self.output(states).float().flatten(-2)

    def loss(self, features, lengths, boundaries, starts, tokens):
        """See :meth:`TrainableSegmenter.loss`: cross-entropy and count, per token."""
        states, _ = self.network(features, lengths)
        logits = self.logits(states)
        row, index = torch.nonzero(starts >= 0, as_tuple=True)
        targets = torch.zeros_like(logits)
        targets[row, starts[row, index]] = 1.0
        beside = F.max_pool1d(targets.unsqueeze(1), 3, 1, 1).squeeze(1)
        targets = torch.maximum(targets, self.neighbour_share * beside)
        valid = frame_mask(lengths, logits.shape[1])
        error = F.binary_cross_entropy_with_logits(
            logits[valid], targets[valid], reduction="sum"
        )
        excess = (logits.sigmoid() * valid).sum(1) - (targets * valid).sum(1)
        error = error + self.count_weight * excess.abs().sum()
        return error / len(row) if len(row) else error

    def segment_states(self, states, num_frames):
        """See :meth:`FrameNetworkSegmenter.segment_states`."""
        if not len(states):
            return Segmentation(Segments.none())
        probabilities = self.logits(states).sigmoid()[:num_frames]
        starts = peaks(probabilities, self.threshold, self.min_frames)
        starts = np.asarray(starts, dtype=np.int64)
        boundaries = np.append(starts[1:] - 1, num_frames - 1)[: len(starts)]
        segments = Segments(np.full_like(starts, -1), starts, boundaries)
        return Segmentation(segments)
