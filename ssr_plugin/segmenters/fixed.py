"""Segments of a fixed length: what connectors did before they knew of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ssr_plugin.nnet.lengths import absolute_lengths
from ssr_plugin.segmenters.base import (
    FrameSegmenter,
    Segmentation,
    Segments,
    StreamWindows,
)

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM


class FixedSegmenter(FrameSegmenter):
    """Cuts every k frames, whatever is said there.

    It needs no transcript and no training. A segment is no token, so that its vector
    has no embedding to be compared with.

    Arguments
    ---------
    input_size, llm
        Not read: every segmenter is given them.
    frame_rate : float
        Of the encoder, in Hz.
    vectors_per_second : float
        How many segments a second of speech gives, as nearly as whole frames allow.

    Attributes
    ----------
    size : int
        k, the frames of a segment; at least 1.

    Raises
    ------
    ValueError
        If ``vectors_per_second`` is not above 0.

    Example
    -------
    >>> import torch
    >>> from types import SimpleNamespace
    >>> llm = SimpleNamespace(tokenizer=None)
    >>> segmenter = FixedSegmenter(6, llm, frame_rate=50.0, vectors_per_second=12.5)
    >>> (found,) = segmenter.segment_frames(torch.rand(1, 9, 6), torch.tensor([9]))
    >>> found.segments.starts.tolist(), found.segments.boundaries.tolist()
    ([0, 4, 8], [3, 7, 8])
    """

    def __init__(
        self,
        input_size: int,
        llm: TextLLM,
        frame_rate: float,
        vectors_per_second: float = 5.0,
    ) -> None:
        super().__init__(input_size, llm, frame_rate)
        if not vectors_per_second > 0:
            raise ValueError(
                f"vectors_per_second: {vectors_per_second!r} is not above 0"
            )
        self.size = max(1, round(frame_rate / vectors_per_second))

    def stream_windows(self) -> StreamWindows:
        """See :meth:`Segmenter.stream_windows`: cuts are where they would be anyway."""
        return StreamWindows(period=self.size)

    def segment_frames(
        self, features: Tensor, lengths: Tensor, use_lm: bool = True
    ) -> list[Segmentation]:
        """See :meth:`FrameSegmenter.segment_frames`; only lengths are read.

        The last segment has what frames are left; an utterance without frames has no
        segment. All tokens are -1, for unknown.
        """
        counts = absolute_lengths(lengths, features.shape[1]).tolist()
        return [Segmentation(self._cut(count)) for count in counts]

    def _cut(self, length: int) -> Segments:
        starts = np.arange(0, length, self.size, dtype=np.int64)
        boundaries = np.minimum(starts + self.size, length) - 1
        return Segments(np.full_like(starts, -1), starts, boundaries)
