"""Frames in 8 bits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.data.frame_rounding import restore_frames, round_frames


@given(
    st.integers(1, 40),
    st.lists(st.floats(-6, 4), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_a_rounded_frame_is_off_by_half_a_step_of_its_channel(count, sizes, seed):
    # Channels of very unlike sizes, as encoders have them.
    largest = 10.0 ** np.array(sizes)
    frames = np.random.default_rng(seed).uniform(-1, 1, (count, len(sizes))) * largest
    values, scale = round_frames(frames)
    assert values.dtype == np.int8 and np.abs(values.astype(int)).max() <= 127
    restored = restore_frames(values, scale).astype(np.float64)
    # Of a channel: half of 1/127 of its largest value, and what float16 rounds, of
    # which the smallest step is 6e-8.
    step = np.abs(frames).max(0) / 127
    allowed = 0.5 * step + 1e-3 * np.abs(frames) + 1e-3 * step + 127 * 6e-8
    assert (np.abs(restored - frames) <= allowed).all()


def test_a_channel_of_zeros_stays_one():
    frames = np.zeros((3, 2))
    frames[:, 1] = [1, -2, 3]
    restored = restore_frames(*round_frames(frames))
    assert (restored[:, 0] == 0).all() and (restored[:, 1] != 0).all()


def test_a_large_channel_costs_a_small_one_nothing():
    frames = np.random.default_rng(0).standard_normal((50, 2))
    alone = restore_frames(*round_frames(frames[:, :1]))
    beside = restore_frames(*round_frames(frames * [1, 1e4]))
    assert np.array_equal(alone[:, 0], beside[:, 0])
