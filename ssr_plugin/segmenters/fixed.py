"""Segments of a fixed length: what connectors did before they knew of tokens."""

import numpy as np
import torch

from ssr_plugin.nnet.lengths import absolute_lengths
from ssr_plugin.segmenters.forced import Segments


class FixedSegmenter(torch.nn.Module):
    """Cuts every k frames, whatever is said there.

    It needs no transcript and no training. A segment is no token, so that its vector
    has no embedding to be compared with.

    Arguments
    ---------
    tokenizer : transformers.PreTrainedTokenizerFast
        Of the LLM. Not read: a segmenter is always given one.
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
    >>> segmenter = FixedSegmenter(None, frame_rate=50.0, vectors_per_second=12.5)
    >>> (segments,) = segmenter.segment_frames(torch.rand(1, 9, 6), torch.tensor([9]))
    >>> segments.starts.tolist(), segments.boundaries.tolist()
    ([0, 4, 8], [3, 7, 8])
    """

    forced = False
    trained = False

    def __init__(self, tokenizer, frame_rate, vectors_per_second=5.0):
        super().__init__()
        if not vectors_per_second > 0:
            raise ValueError(
                f"vectors_per_second: {vectors_per_second!r} is not above 0"
            )
        self.size = max(1, round(frame_rate / vectors_per_second))

    def segment_frames(self, features, lengths, use_lm=True):
        """Cuts utterances of which only the frames are known.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]. Not read.
        lengths : torch.Tensor
            [B] int, frames of each utterance; or floats, shares of T.
        use_lm : bool
            Without a say.

        Returns
        -------
        list of Segments
            One of each utterance. The last segment has what frames are left; an
            utterance without frames has no segment. All tokens are -1, for unknown.
        """
        lengths = absolute_lengths(lengths, features.shape[1]).tolist()
        return [self._cut(length) for length in lengths]

    def _cut(self, length):
        starts = np.arange(0, length, self.size, dtype=np.int64)
        boundaries = np.minimum(starts + self.size, length) - 1
        return Segments(np.full_like(starts, -1), starts, boundaries)
