"""How good the segments are that a model finds in audio alone."""

import numpy as np

from ssr_plugin.evaluation.harness.conditions import heard_by
from ssr_plugin.evaluation.harness.corpus_benchmark import CorpusTask, as_spoken
from ssr_plugin.evaluation.harness.items import Prompt
from ssr_plugin.evaluation.harness.measures import Measure
from ssr_plugin.metrics.prompted_wer import word_errors
from ssr_plugin.metrics.segmentation_metrics import NEAR, compare_starts

MAE = Measure(
    "boundary_mae",
    "ms",
    "From each forced segment's start to the nearest that was found. Lower is better.",
)
F1 = Measure(
    "boundary_f1",
    "%",
    f"Of starts: found and forced ones that pair within {NEAR:.0f} ms, each once, in % "
    f"of all found and forced. Higher is better.",
    factor=100,
)
COUNT = Measure(
    "count_error",
    "%",
    "By how many segments each utterance has too many or too few, in % of its tokens. "
    "Lower is better.",
    factor=100,
)
RATE = Measure("segments_per_second", "", "Segments of a second of audio.")
READING = Measure(
    "reading_wer",
    "%",
    "WER of the text that the vectors read as by themselves, or, as cascade, of the "
    "segmenter's hypothesis; case and punctuation do not count. Lower is better.",
    factor=100,
)


class SegmentQuality(CorpusTask):
    """Segments found in audio alone, against forced ones, as the LLM is given them.

    Arguments
    ---------
    dataset, splits, seed, max_items, max_skipped_share
        Of :class:`CorpusTask`.
    """

    name = "segments"
    measures = (MAE, F1, COUNT, RATE, READING)
    about = (
        "Segments of whole utterances as they reach the LLM: those that the connector "
        "takes for no token are left out. The predicted are measured against the "
        "forced, which are cut by the aligner's times."
    )

    def items(self, align):
        """See :meth:`Task.items`."""
        spoken = as_spoken(self.utterances(), align)
        return [Prompt(name, (x,), text=x.text) for name, x in spoken.items()]

    def columns(self, lm, items):
        """See :meth:`Task.columns`."""
        columns, notes = super().columns(lm, items)
        heard = ("cascade", "predicted", "forced")
        return [column for column in columns if column in heard], notes

    def answer(self, lm, items, column, heard, problems):
        """See :meth:`Task.answer`."""
        for item in items:
            (found,) = heard_by(heard, column, item)
            text = found.hypothesis or "" if column == "cascade" else found.text
            measured = {READING.name: list(word_errors(item.text, text))}
            if column != "cascade":
                measured[RATE.name] = [len(found), found.seconds]
            if column == "predicted":
                (reference,) = heard_by(heard, "forced", item)
                measured |= measure_segments(found.starts, reference.starts)
            yield item, {"measured": measured}


def measure_segments(found, reference):
    """An utterance's share in the measures of segments.

    Arguments
    ---------
    found, reference : list of float
        Starts of predicted and forced segments, s.

    Returns
    -------
    dict
        By measure, what is above and below its line.

    Example
    -------
    >>> measure_segments([0.25, 0.5, 0.75], [0.28125, 0.5])
    {'boundary_mae': [31.25, 2], 'boundary_f1': [4, 5], 'count_error': [1, 2]}
    """
    near, apart = compare_starts(np.array(found), np.array(reference))
    return {
        MAE.name: [sum(apart), len(apart)],
        F1.name: [2 * near, len(found) + len(reference)],
        COUNT.name: [abs(len(found) - len(reference)), len(reference)],
    }
