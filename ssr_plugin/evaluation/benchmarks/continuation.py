"""Continuation choice: how an utterance goes on. Any corpus will do, none is fetched.

The first half of each utterance is heard, cut between two words; its second half is to
be told from those of other utterances, as transcripts (StoryCloze's question, of
Mostafazadeh et al., arXiv 1604.01696, put to any speech). Utterances come in groups of
four of like length, of four chapters where there are as many, and the four second
halves are the choices of all four: each is three times wrong for once that it is
right. So whoever hears nothing is at chance, however likely the halves are by
themselves.
"""

import random

from ssr_plugin.alignment.record import Alignment
from ssr_plugin.data.splits import choose_splits
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.corpus_benchmark import (
    read_utterances,
)
from ssr_plugin.evaluation.harness.items import ChoiceItem, SpokenText
from ssr_plugin.languages import word_spans

_GROUP = 4


class Continuation(ChoiceBenchmark):
    """Second halves of utterances, given their first.

    Arguments
    ---------
    dataset : ssr_plugin.data.datasets.DataSet
    splits : list of str
        Names or globs.
    min_words : int
        Shorter utterances are left out. Of a script without blanks, characters count.
    seed : int
        Which utterances come together.
    max_skipped_share : float
        Of the utterances, that may lack audio or transcript.
    metric : str or None
        Of :class:`ChoiceBenchmark`.

    Example
    -------
    >>> from ssr_plugin.alignment.record import Alignment, Unit
    >>> units = (Unit("the", 0.1, 0.3, 0), Unit("cat", 0.5, 0.8, 4))
    >>> alignment = Alignment("a", "the cat", units, "word", 1.0)
    >>> first, second = halve(alignment)
    >>> first.text, first.duration, second
    ('the', 0.4, 'cat')
    """

    name = "continuation"
    metric = "pmi"
    num_choices = (2, _GROUP)
    reads_corpus = True
    about = (
        "The first half of an utterance is heard; the transcript of its second half is "
        "to be told from those of other utterances, of other chapters where there are. "
        "After StoryCloze (arXiv 1604.01696). In all conditions the audio is cut where "
        "the aligner finds the middle word to begin."
    )

    def __init__(
        self,
        dataset,
        splits,
        min_words=6,
        seed=0,
        max_skipped_share=0.01,
        metric=None,
    ):
        super().__init__(metric)
        self.dataset = dataset
        self.splits = splits
        self.min_words = min_words
        self.seed = seed
        self.max_skipped_share = max_skipped_share

    def items(self, align):
        """See :meth:`Benchmark.items`."""
        chosen = choose_splits(self.dataset, self.splits)
        self.notes = []
        items = []
        for split in chosen:
            items += self._items_of(split, align)
        if not items:
            raise ValueError(
                f"fewer than {_GROUP} utterances of {self.min_words} words or more in "
                f"{', '.join(chosen)} of '{self.dataset.folder}'"
            )
        return items

    def _items_of(self, split, align):
        spoken = read_utterances(self.dataset, split, self.max_skipped_share)
        rows = {
            name: row
            for name, row in spoken.items()
            if len(word_spans(row.text)) >= self.min_words
        }
        short = len(spoken) - len(rows)
        alignments = align(list(rows.values()))
        halves = {}
        for name in rows:
            if name in alignments:
                pair = halve(alignments[name])
                if pair is not None:
                    halves[name] = pair
        groups = group_utterances(
            {name: len(word_spans(second)) for name, (_, second) in halves.items()},
            {name: name.rpartition("-")[0] or name for name in halves},
            random.Random(f"{self.seed} {split}"),
        )
        left = len(halves) - _GROUP * len(groups)
        self.notes = [
            *self.notes,
            f"{split}: {len(spoken)} utterances, of which {short} are shorter than "
            f"{self.min_words} words, {len(rows) - len(halves)} have no middle, and "
            f"{left} are left over in making groups of {_GROUP}",
        ]
        return [
            ChoiceItem(
                id=name,
                context=(
                    SpokenText(
                        halves[name][0].text,
                        rows[name].wav,
                        seconds=halves[name][0].duration,
                        alignment=halves[name][0],
                    ),
                ),
                choices=tuple(SpokenText(halves[other][1]) for other in group),
                target=index,
                cluster="+".join(group),
            )
            for group in groups
            for index, name in enumerate(group)
        ]


def halve(alignment):
    """Cuts an utterance before its middle word; of some scripts, character.

    Arguments
    ---------
    alignment : ssr_plugin.alignment.record.Alignment

    Returns
    -------
    (Alignment, str) or None
        The first half, whose ``duration`` says where the audio is cut: halfway between
        the two words; and the text of the second. None where the middle word has no
        time, or there are no two words.
    """
    text = alignment.text
    spans = word_spans(text)
    if not spans:
        return None
    middle, _ = spans[len(spans) // 2]
    before = [unit for unit in alignment.units if unit.offset < middle]
    after = [unit for unit in alignment.units if unit.offset >= middle]
    if not before or not after:
        return None
    if before[-1].offset + len(before[-1].text) > middle:
        return None
    cut = round((before[-1].end + after[0].start) / 2, 4)
    first = Alignment(
        alignment.id, text[:middle].rstrip(), tuple(before), alignment.kind, cut
    )
    return first, text[middle:]


def group_utterances(lengths, chapters, rng):
    """Groups of four utterances of like length, each of another chapter.

    Where there are not four chapters, each utterance is taken for one of its own.

    Arguments
    ---------
    lengths : dict
        By id.
    chapters : dict
        By id; what an id says before its last hyphen, in LibriSpeech and LJSpeech.
    rng : random.Random

    Returns
    -------
    list of list of str
        Ids in drawn order; up to a few are left over.

    Example
    -------
    >>> lengths = {name: i for i, name in enumerate("abcdefgh")}
    >>> groups = group_utterances(lengths, dict(zip("abcdefgh", "11223344")),
    ...     random.Random(0))
    >>> [sorted(group) for group in groups]
    [['a', 'c', 'e', 'g'], ['b', 'd', 'f', 'h']]
    """
    if len(set(chapters.values())) < _GROUP:
        chapters = {name: name for name in chapters}
    names = sorted(lengths)
    rng.shuffle(names)
    waiting: list[list[str]] = []
    full: list[list[str]] = []
    for name in sorted(names, key=lengths.__getitem__):
        for group in waiting:
            if chapters[name] not in {chapters[other] for other in group}:
                group.append(name)
                break
        else:
            waiting.append([name])
        full += [group for group in waiting if len(group) == _GROUP]
        waiting = [group for group in waiting if len(group) < _GROUP]
    for group in full:
        rng.shuffle(group)
    return full
