"""SegmentSettler: what is settled of segments that windows find again and again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssr_plugin.segmenters.base import Segments, StreamWindows
from ssr_plugin.segmenters.settling import SegmentSettler


def found(tokens, starts, end):
    """Segments that follow each other up to a frame."""
    boundaries = [*(np.array(starts[1:], dtype=int) - 1), end - 1][: len(starts)]
    return Segments(
        *(np.array(x, dtype=np.int64) for x in (tokens, starts, boundaries))
    )


def make(jitter=0, agreement=False, hold=40, doubt=200):
    windows = StreamWindows(jitter=jitter, agreement=agreement)
    return SegmentSettler(windows, hold, doubt)


def told(settled):
    return [(each.token, each.start, each.boundary) for each in settled]


def test_a_segment_is_settled_once_the_next_has_begun_before_the_edge():
    settler = make()
    assert told(settler.settle(found([5, 6], [3, 10], 18), edge=9)) == []
    assert settler.num_open == 2
    assert told(settler.settle(found([5, 6], [3, 10], 20), edge=11)) == [(5, 3, 9)]
    assert settler.num_open == 1


def test_where_no_segment_follows_the_last_is_settled_after_the_hold():
    settler = make(hold=20)
    assert told(settler.settle(found([5], [3], 25), edge=22)) == []
    assert told(settler.settle(found([5], [3], 26), edge=23)) == [(5, 3, 22)]
    # It goes on in later windows, and is not given again.
    assert told(settler.settle(found([5], [3], 60), edge=57)) == []


def test_the_end_settles_all():
    settler = make(jitter=20, agreement=True)
    segments = found([5, 6], [3, 10], 18)
    assert told(settler.settle(segments, 18, final=True)) == [(5, 3, 9), (6, 10, 17)]


@pytest.mark.parametrize("shift", [-4, 4])
def test_a_settled_token_that_moves_within_the_jitter_is_not_given_again(shift):
    settler = make(jitter=8)
    settler.settle(found([5, 6], [20, 28], 40), edge=30)
    again = found([5, 6, 7], [20 + shift, 28 + shift, 50], 60)
    assert told(settler.settle(again, edge=52)) == [(6, max(28 + shift, 28), 49)]


def test_a_word_said_twice_is_given_twice():
    settler = make(jitter=8)
    first = settler.settle(found([5, 5], [20, 32], 45), edge=35)
    then = settler.settle(found([5, 5, 6], [20, 32, 48], 60), edge=50)
    assert told(first + then) == [(5, 20, 31), (5, 32, 47)]


def test_a_recognisers_token_counts_when_two_windows_agree_or_doubt_has_lasted():
    settler = make(jitter=20, agreement=True, doubt=100)
    assert told(settler.settle(found([5, 6, 7], [0, 10, 20], 30), edge=30)) == []
    # The first is agreed on, the second is not.
    settled = settler.settle(found([5, 8, 7], [0, 10, 20], 40), edge=40)
    assert told(settled) == [(5, 0, 9)]
    settled = settler.settle(found([5, 9, 7], [0, 10, 20], 120), edge=120)
    assert told(settled) == [(9, 10, 19), (7, 20, 119)]


@pytest.mark.parametrize(
    ("text", "starts", "new"),
    [
        # Times that are off by more than a token is long.
        ([5, 6, 7, 8], [0, 40, 78, 110], [7, 8]),
        # A token that was settled is heard as another.
        ([5, 9, 7, 8], [0, 30, 62, 100], [7, 8]),
        # One that was settled is not heard any more, since the window begins there.
        ([6, 7, 8], [5, 62, 100], [7, 8]),
        # The same word again.
        ([5, 6, 6, 8], [0, 30, 62, 100], [6, 8]),
        ([5, 6], [0, 30], []),
    ],
)
def test_a_recognisers_text_goes_on_where_the_settled_text_ends(text, starts, new):
    settler = make(jitter=20, agreement=True, doubt=62)
    settler.settle(found([5, 6], [0, 30], 40), edge=40)
    assert len(settler.settle(found([5, 6, 7], [0, 30, 60], 62), edge=62)) == 2
    settled = settler.settle(found(text, starts, 150), 150, final=True)
    assert [each.token for each in settled] == new


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 300)), max_size=12),
        max_size=12,
    ),
    st.integers(0, 8),
    st.booleans(),
)
def test_settled_segments_follow_each_other_whatever_windows_say(all, jitter, agree):
    settler = make(jitter + agree, agree, hold=30, doubt=60)
    settled = []
    for i, each in enumerate(all):
        end = 40 * (i + 1)
        starts = sorted({start for _, start in each if start < end})
        tokens = [token for token, _ in each][: len(starts)]
        final = i + 1 == len(all)
        segments = found(tokens, starts, end)
        settled += settler.settle(segments, end if final else end - 16, final)
        assert all_in_order(settled, end)


def all_in_order(settled, end):
    edges = [x for each in settled for x in (each.start, each.boundary + 1)]
    lengths = [each.boundary + 1 - each.start for each in settled]
    return (
        edges == sorted(edges) and min(lengths, default=1) > 0 and edges[-1:] <= [end]
    )
