"""Utterances of a prepared corpus, for benchmarks that are made of them."""

import dataclasses

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.data.datasets import UNKNOWN_SPEAKER
from ssr_plugin.data.splits import choose_splits
from ssr_plugin.data.subsets import draw_names
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.evaluation.harness.measured_benchmark import MeasuredBenchmark
from ssr_plugin.problems import Problems


@dataclasses.dataclass(frozen=True)
class CorpusUtterance(AlignmentItem):
    """An utterance with a transcript, and who speaks.

    Arguments
    ---------
    id, wav, text
        Of :class:`ssr_plugin.alignment.base.AlignmentItem`.
    speaker : str
        As the data set names it.
    """

    speaker: str = UNKNOWN_SPEAKER


def read_utterances(dataset, split, max_skipped_share):
    """The utterances of a split that have a transcript.

    Arguments
    ---------
    dataset : ssr_plugin.data.datasets.DataSet
    split : str
    max_skipped_share : float
        Of the utterances, that may lack it.

    Returns
    -------
    dict
        CorpusUtterance by id, sorted.

    Raises
    ------
    ssr_plugin.problems.TooManyProblems
        If too many lack it.
    """
    problems = Problems(f"reading {split}", max_skipped_share)
    utterances = sorted(dataset.utterances(split), key=lambda u: u.id)
    rows = {}
    for utterance in utterances:
        text = " ".join((utterance.text or "").split())
        if text and not utterance.problem:
            rows[utterance.id] = CorpusUtterance(
                utterance.id, utterance.wav, text, utterance.speaker
            )
        else:
            problems.add(utterance.id, utterance.problem or "no transcript")
    problems.check(len(utterances))
    return rows


class CorpusBenchmark(MeasuredBenchmark):
    """Something that is measured of each utterance of a corpus.

    Arguments
    ---------
    dataset : ssr_plugin.data.datasets.DataSet
    splits : list of str
        Names or globs.
    seed : int
        Of what is drawn.
    max_items : int or None
        Only so many utterances, drawn at random but always the same.
    max_skipped_share : float
        Of the utterances, that may lack a transcript.
    """

    reads_corpus = True

    def __init__(self, dataset, splits, seed=0, max_items=None, max_skipped_share=0.01):
        self.dataset = dataset
        self.splits = splits
        self.seed = seed
        self.max_items = max_items
        self.max_skipped_share = max_skipped_share

    def utterances(self):
        """The utterances that are measured.

        Returns
        -------
        dict
            CorpusUtterance by id.

        Raises
        ------
        ValueError
            If there are none, or two splits have one of the same id.
        """
        rows: dict[str, CorpusUtterance] = {}
        splits = choose_splits(self.dataset, self.splits)
        for split in splits:
            more = read_utterances(self.dataset, split, self.max_skipped_share)
            both = sorted(rows.keys() & more.keys())
            if both:
                raise ValueError(f"splits: '{both[0]}' is in two of {self.splits}")
            rows |= more
        if not rows:
            raise ValueError(
                f"there is no utterance in {', '.join(splits)} of "
                f"'{self.dataset.folder}'"
            )
        return {name: rows[name] for name in draw_names(rows, self.max_items)}


def as_spoken(rows, align):
    """Utterances as contents of items, aligned by their own ids.

    Arguments
    ---------
    rows : dict
        AlignmentItem by id.
    align : callable
        Of :meth:`ssr_plugin.evaluation.harness.benchmark.Benchmark.items`.

    Returns
    -------
    dict
        SpokenText by id; without alignment where there is none.
    """
    alignments = align(list(rows.values()))
    return {
        name: SpokenText(row.text, str(row.wav), alignment=alignments.get(name))
        for name, row in rows.items()
    }
