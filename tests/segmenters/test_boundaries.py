"""Segment arithmetic holds for any units, any texts and any times."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssr_plugin.alignment.record import Unit
from ssr_plugin.segmenters.boundaries import (
    SILENCE_POLICIES,
    character_times,
    give_silence,
    to_frames,
    token_times,
)

seconds = st.floats(0, 30, allow_nan=False)
anything = settings(max_examples=60, deadline=None)


@st.composite
def utterances(draw):
    """(length of the text, units in order with gaps of both kinds, duration)."""
    sizes = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=8))
    times = sorted(draw(st.lists(seconds, min_size=16, max_size=16)))
    units, place = [], 0
    for i, (gap, size) in enumerate(sizes):
        place += gap
        units.append(Unit("x" * size, times[2 * i], times[2 * i + 1], place))
        place += size
    length = place + draw(st.integers(0, 3))
    return length, units, draw(st.floats(0, 5)) + (units[-1].end if units else 0)


@st.composite
def token_spans(draw, length):
    """Tokens that cut a text anywhere; some cover nothing."""
    cuts = sorted(draw(st.lists(st.integers(0, length), min_size=1, max_size=12)))
    return list(zip(cuts[:-1], cuts[1:], strict=True))


@st.composite
def tokens_with_times(draw):
    length, units, duration = draw(utterances())
    spans = draw(token_spans(length))
    return (*token_times(spans, *character_times(length, units)), duration)


@st.composite
def ordered_times(draw):
    """Starts and ends of tokens, never decreasing, as crowded as can be."""
    count = draw(st.integers(0, 12))
    times = sorted(draw(st.lists(seconds, min_size=2 * count, max_size=2 * count)))
    scale = draw(st.sampled_from([1.0, 0.1, 0.001, 0.0]))
    times = np.asarray(times, dtype=float) * scale
    return times[0::2], times[1::2]


@anything
@given(utterances())
def test_characters_take_the_time_of_their_unit_and_no_other(utterance):
    length, units, _ = utterance
    starts, ends, spoken = character_times(length, units)
    assert (np.diff(starts) >= 0).all()
    assert (np.diff(ends) >= 0).all()
    assert (starts <= ends).all()
    assert spoken.sum() == sum(len(unit.text) for unit in units)
    assert (starts[~spoken] == ends[~spoken]).all()
    for unit in units:
        last = unit.offset + len(unit.text) - 1
        assert starts[unit.offset] == unit.start
        assert ends[last] == unit.end


def test_inside_a_word_time_is_shared_out_by_characters():
    starts, ends, _ = character_times(4, [Unit("abcd", 1.0, 3.0, 0)])
    assert starts.tolist() == [1.0, 1.5, 2.0, 2.5]
    assert ends.tolist() == [1.5, 2.0, 2.5, 3.0]


@anything
@given(tokens_with_times())
def test_token_times_never_go_back(tokens):
    starts, ends, _ = tokens
    assert (starts <= ends).all()
    assert (starts[1:] >= ends[:-1]).all()


def test_a_token_ends_where_the_unit_of_its_last_spoken_character_ends():
    # "hi, bo!": tokens "hi", ",", " bo", "!"
    times = character_times(7, [Unit("hi", 1.0, 2.0, 0), Unit("bo", 3.0, 4.0, 4)])
    starts, ends = token_times([(0, 2), (2, 3), (3, 6), (6, 7)], *times)
    assert starts.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert ends.tolist() == [2.0, 2.0, 4.0, 4.0]


def test_a_token_over_several_words_lasts_from_the_first_to_the_last():
    times = character_times(5, [Unit("to", 1.0, 2.0, 0), Unit("be", 3.0, 4.0, 3)])
    starts, ends = token_times([(0, 5)], *times)
    assert (starts.tolist(), ends.tolist()) == ([1.0], [4.0])


def test_tokens_that_are_the_bytes_of_one_character_share_its_time():
    # The first token also has the character before.
    times = character_times(2, [Unit("xy", 1.0, 3.0, 0)])
    starts, ends = token_times([(0, 2), (1, 2)], *times)
    assert starts.tolist() == [1.0, 2.5]
    assert ends.tolist() == [2.5, 3.0]


@anything
@given(tokens_with_times(), st.sampled_from(SILENCE_POLICIES))
def test_silence_is_never_shared_and_no_policy_takes_a_tokens_own_speech(
    tokens, policy
):
    own_starts, own_ends, duration = tokens
    starts, ends = give_silence(own_starts, own_ends, duration, policy)
    assert (starts[1:] >= ends[:-1]).all()
    assert (starts <= own_starts + 1e-9).all()
    assert (ends >= own_ends - 1e-9).all()


@anything
@given(tokens_with_times(), st.sampled_from(["previous", "next", "split"]))
def test_silence_policies_but_drop_leave_no_gap_from_the_first_token_on(tokens, policy):
    own_starts, own_ends, duration = tokens
    starts, ends = give_silence(own_starts, own_ends, duration, policy)
    assert (starts[1:] == ends[:-1]).all()
    if len(starts):
        assert starts[0] == own_starts[0]
        if policy == "previous":
            assert ends[-1] == pytest.approx(max(duration, own_ends[-1]))


def test_each_silence_policy_gives_the_pause_where_it_says():
    times = np.array([1.0, 3.0]), np.array([2.0, 4.0])

    def segments(policy):
        starts, ends = give_silence(*times, 5.0, policy)
        return list(zip(starts.tolist(), ends.tolist(), strict=True))

    assert segments("previous") == [(1.0, 3.0), (3.0, 5.0)]
    assert segments("next") == [(1.0, 2.0), (2.0, 4.0)]
    assert segments("split") == [(1.0, 2.5), (2.5, 4.5)]
    assert segments("drop") == [(1.0, 2.0), (3.0, 4.0)]


def test_an_unknown_silence_policy_lists_the_known_ones():
    with pytest.raises(ValueError, match="'nxt'; known: previous, next, split, drop"):
        give_silence(np.zeros(1), np.zeros(1), 1.0, "nxt")


@anything
@given(ordered_times(), st.floats(5, 100), st.integers(0, 40))
def test_every_token_has_a_frame_of_its_own_whatever_the_times(times, rate, spare):
    starts, ends = times
    num_frames = len(ends) + spare
    first, boundaries = to_frames(starts, ends, rate, num_frames)
    assert first.dtype == boundaries.dtype == np.int64
    assert (np.diff(boundaries) > 0).all()
    assert (first <= boundaries).all()
    assert (first[1:] > boundaries[:-1]).all()
    assert (first >= 0).all()
    assert (boundaries < num_frames).all()


@anything
@given(st.data(), st.sampled_from([12.5, 25.0, 50.0, 49.95]))
def test_where_there_is_room_a_boundary_is_off_by_less_than_a_frame(data, rate):
    frames = data.draw(st.lists(st.integers(2, 30), min_size=1, max_size=10))
    edges = np.cumsum([0.0, *frames]) / rate
    jitter = data.draw(st.floats(0, 0.9)) / rate
    starts, ends = edges[:-1] + jitter, edges[1:] + jitter
    first, boundaries = to_frames(starts, ends, rate, sum(frames) + 2)
    assert (np.abs((boundaries + 1) / rate - ends) < 1 / rate).all()
    assert (np.abs(first / rate - starts) <= 1 / rate + 1e-9).all()


@anything
@given(st.lists(st.integers(1, 30), min_size=1, max_size=10))
def test_boundaries_of_times_that_are_whole_frames_are_exact(frames):
    edges = np.cumsum([0, *frames])
    # 0.02 s times a count is not exact in floating point.
    first, boundaries = to_frames(
        edges[:-1] * 0.02, edges[1:] * 0.02, 1 / 0.02, int(edges[-1])
    )
    assert first.tolist() == edges[:-1].tolist()
    assert (boundaries + 1).tolist() == edges[1:].tolist()


def test_tokens_that_crowd_into_one_frame_are_spread_over_the_next_ones():
    times = np.full(3, 0.05)
    assert to_frames(times, times, 50.0, 10)[1].tolist() == [2, 3, 4]


def test_tokens_that_crowd_at_the_end_are_spread_over_the_frames_before():
    times = np.full(3, 9.0)
    assert to_frames(times, times, 50.0, 10)[1].tolist() == [7, 8, 9]


def test_as_many_tokens_as_frames_take_one_each():
    times = np.array([0.0, 0.0, 5.0])
    first, boundaries = to_frames(times, times, 50.0, 3)
    assert first.tolist() == boundaries.tolist() == [0, 1, 2]


def test_more_tokens_than_frames_are_an_error_with_both_counts():
    with pytest.raises(ValueError, match="3 tokens do not fit into 2 frames"):
        to_frames(np.zeros(3), np.zeros(3), 50.0, 2)


def test_no_tokens_have_no_boundaries():
    first, boundaries = to_frames(np.zeros(0), np.zeros(0), 50.0, 5)
    assert len(first) == len(boundaries) == 0
