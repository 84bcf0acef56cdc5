"""How far an aligner's word boundaries lie from those of a reference."""

import dataclasses

from ssr_plugin.alignment.compare_alignments import read_words
from ssr_plugin.alignment.quality import match_words
from ssr_plugin.alignment.writers import words
from ssr_plugin.evaluation.harness.conditions import Forced
from ssr_plugin.evaluation.harness.corpus_benchmark import CorpusBenchmark
from ssr_plugin.evaluation.harness.items import Item
from ssr_plugin.evaluation.harness.metric import Metric

WBE = Metric(
    "wbe",
    "ms",
    "Mean distance of word boundaries, starts and ends, of the words that both have. "
    "Lower is better.",
)
WITHIN_20, WITHIN_50 = (
    Metric(
        f"within_{most}_ms",
        "%",
        f"Word boundaries that lie at most {most} ms from the reference's. Higher is "
        f"better.",
        factor=100,
    )
    for most in (20, 50)
)
MISSING = Metric(
    "missing_words",
    "%",
    "Words of the reference that the aligner lacks. Lower is better.",
    factor=100,
)


@dataclasses.dataclass(frozen=True)
class AlignedItem(Item):
    """An utterance's words, and when they were said; nothing is heard of it any more.

    Arguments
    ---------
    id, context, cluster
        Of :class:`ssr_plugin.evaluation.harness.items.Item`.
    judged, reference : tuple of (str, float, float)
        Word, start (s), end (s).
    """

    judged: tuple[tuple[str, float, float], ...] = ()
    reference: tuple[tuple[str, float, float], ...] = ()


class AlignerQuality(CorpusBenchmark):
    """Word boundaries of the aligner in use, against alignments made elsewhere.

    Arguments
    ---------
    dataset, splits, seed, max_items, max_skipped_share
        Of :class:`CorpusBenchmark`.
    reference : path-like
        Alignments by hand or of another aligner: file or folder of MFA TextGrids, CTM,
        JSON or Lhotse supervisions.
    """

    name = "aligner"
    needs_model = False
    metric_list = (WBE, WITHIN_20, WITHIN_50, MISSING)
    about = (
        "Word boundaries of the aligner that cuts forced segments, against the "
        "reference's. No model takes part."
    )

    def __init__(self, dataset, splits, reference=None, **corpus):
        super().__init__(dataset, splits, **corpus)
        if reference is None:
            raise ValueError(
                "reference: name the alignments to compare with (in evaluate.yaml: "
                "benchmark_options, aligner, reference)"
            )
        self.reference = reference

    def items(self, align):
        """See :meth:`Benchmark.items`."""
        reference = read_words(self.reference)
        rows = self.utterances()
        common = {name: row for name, row in rows.items() if name in reference}
        if not common:
            raise ValueError(
                f"reference: '{self.reference}' has none of the utterances, such as "
                f"'{next(iter(rows))}'"
            )
        alignments = align(list(common.values()))
        if not alignments:
            raise ValueError(f"no utterance of {self.splits} could be aligned")
        self.notes = [
            f"{len(rows)} utterances, of which the reference has {len(common)}, and "
            f"the aligner gave {len(alignments)} of those"
        ]
        return [
            AlignedItem(
                name,
                judged=tuple(words(alignments[name])),
                reference=tuple(reference[name]),
            )
            for name in common
            if name in alignments
        ]

    def conditions(self, wanted, lm, items):
        """See :meth:`Benchmark.conditions`: whatever is wanted, the aligner's words."""
        return [Forced()], []

    def answer(self, lm, items, condition, inputs, problems):
        """See :meth:`Benchmark.answer`."""
        for item in items:
            yield item, {"metrics": word_ratios(item.judged, item.reference)}


def word_ratios(judged, reference):
    """An utterance's share in the metrics of word boundaries.

    Arguments
    ---------
    judged, reference : list of (str, float, float)
        Word, start (s), end (s).

    Returns
    -------
    dict
        By metric, its numerator and denominator.

    Example
    -------
    >>> ratios = word_ratios([("HI", 0.10, 0.30)], [("hi", 0.11, 0.33), ("you", 1, 2)])
    >>> ratios["wbe"], ratios["within_20_ms"], ratios["missing_words"]
    ([40.0, 2], [1, 2], [1, 2])
    """
    pairs = match_words(judged, reference)
    # To whole microseconds: 0.52 - 0.50 is more than 0.02 in binary.
    distances = [
        abs(round(1000 * (judged[i][end] - reference[j][end]), 3))
        for i, j in pairs
        for end in (1, 2)
    ]
    return {
        WBE.name: [sum(distances), len(distances)],
        WITHIN_20.name: [sum(x <= 20 for x in distances), len(distances)],
        WITHIN_50.name: [sum(x <= 50 for x in distances), len(distances)],
        MISSING.name: [len(reference) - len(pairs), len(reference)],
    }
