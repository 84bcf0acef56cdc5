"""Windows over long sequences: their kept parts tile it, each with its context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.nnet.windows import split_windows


@given(length=st.integers(0, 500), context=st.integers(0, 10), more=st.integers(1, 40))
def test_what_windows_keep_tiles_the_sequence_and_has_its_context(
    length, context, more
):
    size = 2 * context + more
    windows = split_windows(length, size, context)
    kept = [i for w in windows for i in range(w.keep_start, w.keep_stop)]
    assert kept == list(range(length))
    for w in windows:
        assert 0 <= w.start <= w.keep_start < w.keep_stop <= w.stop <= length
        assert w.stop - w.start <= size
        assert w.start == 0 or w.keep_start - w.start == context
        assert w.stop == length or w.stop - w.keep_stop == context


@given(length=st.integers(1, 50), room=st.integers(0, 9))
def test_split_windows_does_not_cut_what_fits_one_window(length, room):
    windows = split_windows(length, length + room + 1, 0)
    assert [(w.keep_start, w.keep_stop) for w in windows] == [(0, length)]


def test_the_number_of_windows_grows_in_proportion_to_the_length():
    assert len(split_windows(100_000, 100, 10)) == pytest.approx(1250, abs=2)


def test_a_window_that_is_all_context_is_refused():
    with pytest.raises(ValueError, match="all context"):
        split_windows(100, 10, 5)
