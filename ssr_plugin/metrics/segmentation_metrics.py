"""How good predicted segments are: against forced ones, and as a hypothesis."""

import numpy as np

from ssr_plugin.metrics.wer import WordErrorRate

# How far apart two boundaries may lie and still be the same, ms.
NEAR = 50.0


def match_times(times, reference, most):
    """Pairs times in order, each at most once, so that as many as can be lie near.

    Arguments
    ---------
    times, reference : array-like
        In s, never decreasing.
    most : float
        Farthest that a pair may lie apart, in s.

    Returns
    -------
    list of (int, int)
        Indices into both.

    Example
    -------
    >>> match_times([0.1, 0.12, 0.5], [0.11, 0.9], most=0.05)
    [(0, 0)]
    """
    pairs, i, j = [], 0, 0
    while i < len(times) and j < len(reference):
        if abs(times[i] - reference[j]) <= most:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif times[i] < reference[j]:
            i += 1
        else:
            j += 1
    return pairs


def compare_starts(starts, reference):
    """How the starts of found segments differ from those of forced ones.

    Arguments
    ---------
    starts, reference : numpy.ndarray
        In s, never decreasing.

    Returns
    -------
    near : int
        How many lie within 50 ms of one another, each paired once.
    apart : list of float
        From each forced start to the nearest that was found, ms; none without any.

    Example
    -------
    >>> compare_starts(np.array([0.25, 0.5]), np.array([0.28125, 0.75]))
    (1, [31.25, 250.0])
    """
    near = len(match_times(starts, reference, NEAR / 1000))
    if not len(starts) or not len(reference):
        return near, []
    return near, (1000 * np.abs(reference[:, None] - starts[None]).min(1)).tolist()


class SegmentationMetrics:
    """Compares found segments with forced ones, utterance by utterance.

    Arguments
    ---------
    tokenizer : transformers.PreTrainedTokenizerFast
        Of the LLM.
    frame_rate : float
        In Hz.
    language : str
        BCP-47 code of what is spoken.

    Example
    -------
    >>> import numpy as np
    >>> from ssr_plugin.segmenters.base import Segments
    >>> reference = Segments(np.array([5, 6]), np.array([0, 10]), np.array([9, 19]))
    >>> predicted = Segments(np.array([-1, -1]), np.array([1, 10]), np.array([9, 19]))
    >>> metrics = SegmentationMetrics(None, frame_rate=50.0)
    >>> metrics.add("a", predicted, reference)
    >>> summary = metrics.summary()
    >>> summary["boundary_mae_ms"], summary["boundary_f1"], summary["count_error"]
    (10.0, 100.0, 0.0)
    """

    def __init__(self, tokenizer, frame_rate, language="en"):
        self.tokenizer = tokenizer
        self.frame_rate = frame_rate
        self.rate = WordErrorRate(language)
        self.hypotheses = []
        self._spells = tokenizer is not None
        self.num_predicted = self.num_reference = self.near = 0
        self.count_errors = 0
        self.distances = []

    def add(self, name, predicted, reference):
        """Adds an utterance.

        Arguments
        ---------
        name : str
            Its id.
        predicted, reference : ssr_plugin.segmenters.base.Segments
            Predicted and forced ones.
        """
        times, wanted = (s.starts / self.frame_rate for s in (predicted, reference))
        near, apart = compare_starts(times, wanted)
        self.near += near
        self.distances += apart
        self.num_predicted += len(predicted)
        self.num_reference += len(reference)
        self.count_errors += abs(len(predicted) - len(reference))
        self._spells &= bool((predicted.tokens >= 0).all())
        if not self._spells:
            # Those without any segment had looked like empty hypotheses.
            self.hypotheses.clear()
        else:
            transcript, hypothesis = (
                self.tokenizer.decode(s.tokens, skip_special_tokens=False).strip()
                for s in (reference, predicted)
            )
            self.hypotheses.append((name, transcript, hypothesis))
            self.rate.add(transcript, hypothesis)

    def summary(self):
        """The figures over all utterances so far.

        Returns
        -------
        dict
            boundary_mae_ms (of each forced start to the nearest that was found);
            boundary_precision, boundary_recall and boundary_f1 (%, within 50 ms, each
            paired once); count_error (%: differences of the numbers of segments, summed
            over utterances, of all segments); segments_per_token; hypothesis_wer and
            hypothesis_wer_whisper, or hypothesis_cer and hypothesis_cer_whisper
            (:mod:`ssr_plugin.metrics.wer`, %).
            None where there is nothing to divide by, or no hypothesis.
        """

        def ratio(numerator, denominator, factor=100.0):
            return factor * numerator / denominator if denominator else None

        rates = self.rate.summary("hypothesis_")
        if not self.hypotheses:
            rates = dict.fromkeys(rates)
        return {
            "boundary_mae_ms": float(np.mean(self.distances))
            if self.distances
            else None,
            "boundary_precision": ratio(self.near, self.num_predicted),
            "boundary_recall": ratio(self.near, self.num_reference),
            "boundary_f1": ratio(
                2 * self.near, self.num_predicted + self.num_reference
            ),
            "count_error": ratio(self.count_errors, self.num_reference),
            "segments_per_token": ratio(self.num_predicted, self.num_reference, 1.0),
            **rates,
        }
