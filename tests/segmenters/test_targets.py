"""Which token a predicted segment is taught: the one it overlaps, in order, or none."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssr_plugin.segmenters.base import Segments
from ssr_plugin.segmenters.targets import assign_tokens, overlaps

NULL = 99
anything = settings(max_examples=150, deadline=None)


def segments_of(tokens, starts, boundaries):
    rows = (tokens, starts, boundaries)
    return Segments(*(np.asarray(row, dtype=np.int64) for row in rows))


@st.composite
def cuts(draw, most=5):
    """Starts and boundaries of segments in order, with and without gaps."""
    starts, boundaries, frame = [], [], 0
    for _ in range(draw(st.integers(0, most))):
        starts.append(frame + draw(st.integers(0, 3)))
        boundaries.append(starts[-1] + draw(st.integers(0, 5)))
        frame = boundaries[-1] + 1
    return starts, boundaries


@st.composite
def references(draw, most=5):
    """Forced segments, each of a token of its own: the j-th of token 10 + j."""
    starts, boundaries = draw(cuts(most))
    return segments_of(10 + np.arange(len(starts)), starts, boundaries)


@st.composite
def predictions(draw, most=5):
    """Found segments, some of which say a token of the reference."""
    starts, boundaries = draw(cuts(most))
    count = len(starts)
    tokens = draw(st.lists(st.integers(9, 14), min_size=count, max_size=count))
    says = draw(st.booleans())
    return segments_of(tokens if says else [-1] * count, starts, boundaries)


def slow_gain(found, reference, i, j):
    """What it is worth to teach the i-th segment the j-th token."""
    one, other = (
        set(range(s.starts[k], s.boundaries[k] + 1))
        for s, k in ((found, i), (reference, j))
    )
    overlap = len(one & other) / len(one | other)
    return overlap + (overlap > 0 and found.tokens[i] == reference.tokens[j])


def slow_total(found, reference):
    """The most that any pairing in order is worth, by trying all."""

    @functools.cache
    def best(i, j):
        if i == len(found) or j == len(reference):
            return 0.0
        paired = slow_gain(found, reference, i, j) + best(i + 1, j + 1)
        return max(paired, best(i + 1, j), best(i, j + 1))

    return best(0, 0)


@anything
@given(references(), predictions())
def test_assign_tokens_finds_the_pairing_that_overlaps_most_in_all(reference, found):
    tokens = assign_tokens(found, reference, NULL)
    assert tokens.dtype == np.int64 and tokens.shape == (len(found),)
    total = sum(
        slow_gain(found, reference, i, token - 10)
        for i, token in enumerate(tokens)
        if token != NULL
    )
    assert total == pytest.approx(slow_total(found, reference))


@anything
@given(references(), predictions())
def test_assign_tokens_gives_each_token_once_at_most_in_order_where_it_is_spoken(
    reference, found
):
    tokens = assign_tokens(found, reference, NULL)
    taught = [(i, int(token) - 10) for i, token in enumerate(tokens) if token != NULL]
    order = [j for _, j in taught]
    assert order == sorted(set(order))
    assert all(0 <= j < len(reference) for j in order)
    assert all(slow_gain(found, reference, i, j) > 0 for i, j in taught)


@anything
@given(references(), st.booleans())
def test_assign_tokens_gives_equal_segments_equal_tokens(reference, says):
    tokens = reference.tokens if says else np.full(len(reference), -1)
    found = segments_of(tokens, reference.starts, reference.boundaries)
    taught = assign_tokens(found, reference, NULL)
    assert taught.tolist() == reference.tokens.tolist()


@anything
@given(references(), predictions())
def test_overlaps_are_shares_of_the_frames_in_either(reference, found):
    shares = overlaps(found, reference)
    assert shares.shape == (len(found), len(reference))
    silent = segments_of([-1] * len(found), found.starts, found.boundaries)
    for i in range(len(found)):
        for j in range(len(reference)):
            assert shares[i, j] == slow_gain(silent, reference, i, j)


def test_assign_tokens_gives_a_token_to_the_longer_of_two_halves():
    reference = segments_of([5, 6], [0, 10], [9, 19])
    for cut, expected in ((3, [NULL, 5, 6]), (6, [5, NULL, 6])):
        found = segments_of([-1] * 3, [0, cut, 10], [cut - 1, 9, 19])
        assert assign_tokens(found, reference, NULL).tolist() == expected


def test_assign_tokens_takes_the_longer_of_two_tokens_in_a_segment():
    reference = segments_of([5, 6, 7], [0, 4, 10], [3, 9, 19])
    found = segments_of([-1, -1], [0, 10], [9, 19])
    assert assign_tokens(found, reference, NULL).tolist() == [6, 7]


def test_assign_tokens_counts_a_right_hypothesis_more_than_frames():
    reference = segments_of([5, 6], [0, 3], [2, 9])
    unheard = segments_of([-1], [0], [9])
    heard = segments_of([5], [0], [9])
    assert assign_tokens(unheard, reference, NULL).tolist() == [6]
    assert assign_tokens(heard, reference, NULL).tolist() == [5]


def test_assign_tokens_counts_no_hypothesis_that_overlaps_nothing():
    reference = segments_of([5, 6], [0, 10], [9, 19])
    found = segments_of([6], [0], [9])
    assert assign_tokens(found, reference, NULL).tolist() == [5]


def test_assign_tokens_gives_a_segment_in_silence_no_token():
    reference = segments_of([5], [10], [19])
    found = segments_of([-1, -1, -1], [0, 10, 20], [9, 19, 29])
    assert assign_tokens(found, reference, NULL).tolist() == [NULL, 5, NULL]


def test_assign_tokens_takes_no_segments_on_either_side():
    reference = segments_of([5, 6], [0, 10], [9, 19])
    nothing = Segments.none()
    assert assign_tokens(nothing, reference, NULL).shape == (0,)
    assert assign_tokens(nothing, nothing, NULL).shape == (0,)
    assert assign_tokens(reference, nothing, NULL).tolist() == [NULL, NULL]
