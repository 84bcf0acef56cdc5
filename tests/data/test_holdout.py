"""Held-out speakers: by seed, about the share, some but never all; or by fold."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.data.datasets import UNKNOWN_SPEAKER
from ssr_plugin.data.holdout import hold_out, hold_out_fold, parse_fold

CORPORA = st.lists(
    st.tuples(st.sampled_from("abcdefg"), st.floats(0.1, 30)), min_size=1, max_size=40
).map(lambda rows: [(f"{i:02d}", who, length) for i, (who, length) in enumerate(rows)])
SHARES = st.floats(0.01, 0.99)


@given(CORPORA, SHARES, st.integers(0, 5))
def test_hold_out_takes_whole_speakers_and_leaves_one(corpus, share, seed):
    held_out = hold_out(corpus, share, seed)
    speakers = {who for _, who, _ in corpus}
    if len(speakers) > 1:
        held_speakers = {who for name, who, _ in corpus if name in held_out}
        assert held_out == {name for name, who, _ in corpus if who in held_speakers}
        assert 0 < len(held_speakers) < len(speakers)
    else:
        assert len(held_out) < len(corpus)
        assert held_out or len(corpus) == 1


@given(CORPORA, SHARES, st.randoms())
def test_hold_out_does_not_depend_on_the_order_of_utterances(corpus, share, rng):
    shuffled = rng.sample(corpus, len(corpus))
    assert hold_out(shuffled, share, seed=3) == hold_out(corpus, share, seed=3)


def test_hold_out_of_many_speakers_is_the_share_of_the_hours():
    rng = random.Random(0)
    corpus = [
        (f"{who}-{index}", str(who), rng.uniform(1, 15))
        for who in range(250)
        for index in range(rng.randrange(5, 30))
    ]
    total = sum(length for *_, length in corpus)
    for seed in range(5):
        held_out = hold_out(corpus, share=0.05, seed=seed)
        hours = sum(length for name, _, length in corpus if name in held_out)
        assert abs(hours / total - 0.05) < 0.005


def test_another_seed_holds_out_other_speakers():
    corpus = [(f"{who}-{index}", who, 1.0) for who in "abcdefgh" for index in range(3)]
    assert len({frozenset(hold_out(corpus, 0.13, seed)) for seed in range(20)}) > 3


def test_a_long_speaker_is_not_taken_for_a_small_share():
    corpus = [(f"long-{index}", "long", 10.0) for index in range(20)]
    corpus += [("short-0", "short", 12.0)]
    for seed in range(5):
        assert hold_out(corpus, share=0.01, seed=seed) == {"short-0"}


# --- Folds -------------------------------------------------------------------------


@given(CORPORA, st.integers(2, 7), st.randoms())
def test_folds_hold_out_every_speaker_whole_and_once(corpus, count, rng):
    speakers = {who for _, who, _ in corpus}
    if len(speakers) < count:
        with pytest.raises(ValueError, match=rf"'1/{count}' wants {count} groups"):
            hold_out_fold(corpus, f"1/{count}")
        return
    folds = [hold_out_fold(corpus, f"{k}/{count}") for k in range(1, count + 1)]
    assert Counter(name for fold in folds for name in fold) == Counter(
        name for name, *_ in corpus
    )
    speakers_of = [{who for name, who, _ in corpus if name in fold} for fold in folds]
    assert all(speakers_of) and sum(map(len, speakers_of)) == len(speakers)
    shuffled = rng.sample(corpus, len(corpus))
    assert folds == [hold_out_fold(shuffled, f"{k + 1}/{count}") for k in range(count)]


def test_folds_of_28_speakers_are_of_about_the_same_hours():
    rng = random.Random(1)
    corpus = [
        (f"{who}-{index}", str(who), rng.uniform(2, 16))
        for who in range(28)
        for index in range(rng.randrange(35, 70))
    ]
    total = sum(length for *_, length in corpus)
    for k in range(1, 6):
        fold = hold_out_fold(corpus, f"{k}/5")
        hours = sum(length for name, _, length in corpus if name in fold)
        assert abs(hours / total - 0.2) < 0.02


def test_speakers_of_the_same_hours_join_folds_by_their_names():
    corpus = [(f"{who}-1", who, 1.0) for who in "dcba"]
    assert hold_out_fold(corpus, "1/2") == {"a-1", "c-1"}
    assert hold_out_fold(corpus, "2/2") == {"b-1", "d-1"}


@pytest.mark.parametrize("fold", ["1", "1/1", "a/b", "0.2", "-1/5", "1/5/2", ""])
def test_what_is_no_fold_is_refused(fold):
    with pytest.raises(ValueError, match="valid_fold: .* is not of the form k/n"):
        parse_fold(fold)


@pytest.mark.parametrize("fold", ["0/5", "6/5"])
def test_a_fold_that_there_is_not_is_refused(fold):
    with pytest.raises(ValueError, match=f"valid_fold: '{fold}' is none of 1/5 to 5/5"):
        parse_fold(fold)


def test_folds_of_a_data_set_that_names_no_speakers_are_refused():
    corpus = [(str(index), UNKNOWN_SPEAKER, 1.0) for index in range(9)]
    with pytest.raises(ValueError, match="has 1 speaker, since it does not name them"):
        hold_out_fold(corpus, "1/2")
