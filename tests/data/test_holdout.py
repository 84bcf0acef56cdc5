"""Held-out speakers: by seed, about the share, some but never all."""

import random

from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.data.holdout import hold_out

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
