"""Continuation choice: groups of halves in which nothing helps but sense."""

import random
from collections import Counter

import pytest

from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.data.datasets import DataSet, Utterance
from ssr_plugin.evaluation.benchmarks.continuation import (
    Continuation,
    group_utterances,
    halve,
)
from ssr_plugin.evaluation.harness.choice_metrics import share_right


def align_evenly(items, seconds=10.0):
    """Words of equal length."""
    found = {}
    for item in items:
        words = item.text.split()
        step, place, units = seconds / len(words), 0, []
        for i, word in enumerate(words):
            units.append(Unit(word, i * step, (i + 0.8) * step, place))
            place += len(word) + 1
        found[item.id] = Alignment(item.id, item.text, units, "word", seconds)
    return found


class Corpus(DataSet):
    """Utterances of given texts, by id."""

    def __init__(self, folder, texts):
        super().__init__(folder)
        self.texts = texts

    def splits(self):
        return ["test-a", "train-a"]

    def utterances(self, split):
        for name, text in self.texts.items():
            yield Utterance(name, f"{split}/{name}.flac", text)


@pytest.fixture
def corpus(tmp_path):
    rng = random.Random(0)
    texts = {}
    for chapter in ("1-10", "1-11", "2-20", "3-30", "4-40"):
        for i in range(8):
            words = rng.choices("abcdefgh", k=rng.randint(4, 14))
            texts[f"{chapter}-{i:04d}"] = " ".join(words)
    return Corpus(tmp_path, texts)


def test_halves_are_the_utterance_and_the_cut_lies_between_words():
    words = "ONE TWO THREE FOUR FIVE"
    alignment = align_evenly([Utterance("a", "a.wav", words)])["a"]
    first, second = halve(alignment)
    assert f"{first.text} {second}" == words
    assert (first.text, first.duration) == ("ONE TWO", pytest.approx(3.8))
    assert [unit.text for unit in first.units] == ["ONE", "TWO"]


def test_a_word_that_spans_the_middle_leaves_no_halves():
    units = (Unit("a b", 0.0, 1.0, 0),)
    assert halve(Alignment("a", "a b", units, "word", 1.0)) is None


def test_every_end_is_right_once_and_wrong_three_times(corpus):
    items = Continuation(corpus, ["test*"]).items(align_evenly)
    right = Counter(item.choices[item.target].text for item in items)
    named = Counter((c.text, item.cluster) for item in items for c in item.choices)
    assert set(named.values()) == {4}
    assert sum(right.values()) == len(items) == len(named)
    for item in items:
        whole = f"{item.context[0].text} {item.choices[item.target].text}"
        assert whole == corpus.texts[item.id]


def test_continuation_cannot_be_answered_by_how_likely_each_end_is(corpus):
    items = Continuation(corpus, ["test*"]).items(align_evenly)
    likely = {c.text: random.Random(c.text).random() for i in items for c in i.choices}
    for num_choices in (2, 4):
        right = [
            share_right(
                [likely[c.text] for c in item.choices], item.target, num_choices
            )
            for item in items
        ]
        assert sum(right) / len(right) == pytest.approx(1 / num_choices)


def test_wrong_ends_come_from_other_chapters_and_are_of_like_length(corpus):
    items = Continuation(corpus, ["test*"]).items(align_evenly)
    differences = []
    for item in items:
        ids = item.cluster.split("+")
        assert len({name.rpartition("-")[0] for name in ids}) == 4
        lengths = [len(choice.text.split()) for choice in item.choices]
        differences.append(max(lengths) - min(lengths))
    assert sum(differences) / len(differences) < 2


def test_few_chapters_are_no_hindrance(tmp_path):
    texts = {f"1-10-{i:04d}": f"the cat sat on the mat {i}" for i in range(9)}
    continuation = Continuation(Corpus(tmp_path, texts), ["test-a"])
    assert len(continuation.items(align_evenly)) == 8
    assert "1 are left over" in continuation.notes[0]


def test_the_seed_chooses_who_comes_together(corpus):
    one, again, other = (
        Continuation(corpus, ["test*"], seed=seed).items(align_evenly)
        for seed in (1, 1, 2)
    )
    assert one == again
    assert {item.cluster for item in one} != {item.cluster for item in other}


def test_short_utterances_are_left_out_and_counted(corpus):
    continuation = Continuation(corpus, ["test*"], min_words=9)
    items = continuation.items(align_evenly)
    assert all(len(corpus.texts[item.id].split()) >= 9 for item in items)
    short = sum(len(text.split()) < 9 for text in corpus.texts.values())
    assert f"of which {short} are shorter than 9 words" in continuation.notes[0]


def test_the_audio_is_what_comes_before_the_cut(corpus):
    for item in Continuation(corpus, ["test*"]).items(align_evenly):
        (content,) = item.context
        assert content.seconds == content.alignment.duration < 10
        assert content.wav == f"test-a/{item.id}.flac"


def test_no_split_and_no_utterance_are_named(corpus):
    with pytest.raises(ValueError, match="no split 'test-b'.*test-a, train-a"):
        Continuation(corpus, ["test-b"]).items(align_evenly)
    with pytest.raises(ValueError, match="matches none"):
        Continuation(corpus, ["dev*"]).items(align_evenly)
    with pytest.raises(ValueError, match="fewer than 4 utterances of 99 words"):
        Continuation(corpus, ["test-a"], min_words=99).items(align_evenly)


def test_groups_are_whole():
    lengths = {str(i): i % 7 for i in range(23)}
    groups = group_utterances(lengths, {n: n for n in lengths}, random.Random(0))
    named = [name for group in groups for name in group]
    assert len(named) == len(set(named)) == 20


def test_of_a_script_without_blanks_the_middle_letter_is_the_middle():
    text = "我们，去吧"
    units = [Unit(text[i], i / 4, i / 4 + 0.25, i) for i in (0, 1, 3, 4)]
    first, second = halve(Alignment("a", text, tuple(units), "char", 1.25))
    assert (first.text, second) == (text[:3], text[3:])
    assert first.duration == 0.625
