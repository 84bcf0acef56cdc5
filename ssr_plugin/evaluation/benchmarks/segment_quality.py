"""How good the segments are that a model finds in audio alone."""

import numpy as np

from ssr_plugin.evaluation.harness.conditions import Cascade, Forced
from ssr_plugin.evaluation.harness.corpus_benchmark import CorpusBenchmark, as_spoken
from ssr_plugin.evaluation.harness.items import PromptItem
from ssr_plugin.evaluation.harness.metric import Metric
from ssr_plugin.languages import first_language
from ssr_plugin.metrics.segmentation_metrics import NEAR, compare_starts
from ssr_plugin.metrics.wer import rate_names, word_errors

MAE = Metric(
    "boundary_mae",
    "ms",
    "From each forced segment's start to the nearest that was found. Lower is better.",
)
F1 = Metric(
    "boundary_f1",
    "%",
    f"Of starts: found and forced ones that pair within {NEAR:.0f} ms, each once, in % "
    f"of all found and forced. Higher is better.",
    factor=100,
)
COUNT = Metric(
    "count_error",
    "%",
    "By how many segments each utterance has too many or too few, in % of its tokens. "
    "Lower is better.",
    factor=100,
)
RATE = Metric("segments_per_second", "", "Segments of a second of audio.")


class SegmentQuality(CorpusBenchmark):
    """Segments found in audio alone, against forced ones, as the LLM is given them.

    Arguments
    ---------
    dataset, splits, seed, max_items, max_skipped_share
        Of :class:`CorpusBenchmark`.
    language : str or None
        BCP-47 code of what is spoken; None for what the data set says, else English.
    """

    name = "segments"
    about = (
        "Segments of whole utterances as they reach the LLM: those that the connector "
        "takes for no token are left out. The predicted are measured against the "
        "forced, which are cut by the aligner's times."
    )

    def __init__(self, dataset, splits, language=None, **corpus):
        super().__init__(dataset, splits, **corpus)
        self.language = first_language(language, dataset and dataset.language)
        self.metric_list = (MAE, F1, COUNT, RATE, *reading_metrics(self.language))

    def settings(self):
        """See :meth:`Benchmark.settings`."""
        return {"language": self.language}

    def items(self, align):
        """See :meth:`Benchmark.items`."""
        return whole_utterances(self.utterances(), align)

    def takes(self, condition):
        """See :meth:`Benchmark.takes`."""
        return condition.listens

    def partners(self, conditions, lm, items):
        """See :meth:`Benchmark.partners`: forced segments are the reference."""
        return [] if Forced.name in (x.name for x in conditions) else [Forced()]

    def answer(self, lm, items, condition, inputs, problems):
        """See :meth:`Benchmark.answer`."""
        for item in items:
            (speech,) = inputs.of(condition, item)
            ratios = reading_ratios(
                item.reference, condition.reading(speech), self.language
            )
            if not isinstance(condition, Cascade):
                ratios[RATE.name] = [len(speech), speech.seconds]
                if condition.segmentation == "predicted":
                    (reference,) = inputs.of(Forced(), item)
                    ratios |= boundary_ratios(speech.starts, reference.starts)
            yield item, {"metrics": ratios}


def whole_utterances(rows, align):
    """Utterances as items of which each is one recording.

    Arguments
    ---------
    rows, align
        Of :func:`ssr_plugin.evaluation.harness.corpus_benchmark.as_spoken`.

    Returns
    -------
    list of PromptItem
    """
    spoken = as_spoken(rows, align)
    return [
        PromptItem(name, (spoken[name],), row.text, speaker=row.speaker)
        for name, row in rows.items()
    ]


def reading_metrics(language):
    """The metrics of what vectors read as.

    Arguments
    ---------
    language : str
        BCP-47 code of what is spoken.

    Returns
    -------
    tuple of ssr_plugin.evaluation.harness.metric.Metric

    Example
    -------
    >>> [metric.name for metric in reading_metrics("zh")]
    ['reading_cer', 'reading_cer_whisper']
    """
    plain, whisper = rate_names(language)
    return (
        Metric(
            f"reading_{plain}",
            "%",
            f"{plain.upper()} of the text that the vectors read as by themselves, or, "
            f"as cascade, of the segmenter's hypothesis; case and punctuation do not "
            f"count. Lower is better.",
            factor=100,
        ),
        Metric(
            f"reading_{whisper}",
            "%",
            "The same with both texts normalised as Whisper's are. Lower is better.",
            factor=100,
        ),
    )


def reading_ratios(reference, reading, language):
    """An utterance's share in the WER of what is read.

    Arguments
    ---------
    reference, reading : str
    language : str
        BCP-47 code of what is spoken.

    Returns
    -------
    dict
        By metric, its numerator and denominator.

    Example
    -------
    >>> reading_ratios("mister cat", "Mr. Cat", "en")
    {'reading_wer': [1, 2], 'reading_wer_whisper': [0, 2]}
    """
    errors = word_errors(reference, reading, language)
    return {f"reading_{name}": list(ratio) for name, ratio in errors.items()}


def boundary_ratios(starts, reference):
    """An utterance's share in the metrics of segments.

    Arguments
    ---------
    starts, reference : list of float
        Starts of predicted and forced segments, s.

    Returns
    -------
    dict
        By metric, its numerator and denominator.

    Example
    -------
    >>> boundary_ratios([0.25, 0.5, 0.75], [0.28125, 0.5])
    {'boundary_mae': [31.25, 2], 'boundary_f1': [4, 5], 'count_error': [1, 2]}
    """
    near, distances = compare_starts(np.array(starts), np.array(reference))
    return {
        MAE.name: [sum(distances), len(distances)],
        F1.name: [2 * near, len(starts) + len(reference)],
        COUNT.name: [abs(len(starts) - len(reference)), len(reference)],
    }
