"""The audio of a pass follows the device's free memory."""

import math

import pytest

from ssr_plugin.nnet.device_memory import encoder_memory, seconds_per_pass

BASE = encoder_memory(50, 512, 2048, 8, 1500, 512 * 100)
LARGE = encoder_memory(50, 1280, 5120, 20, 1500, 1280 * 100)
SAMPLES = encoder_memory(50, 768, 3072, 12, 2000, 512 * 3200)


@pytest.mark.parametrize("per_second", [BASE, LARGE, SAMPLES])
@pytest.mark.parametrize("free", [8e9, 24e9, 80e9])
def test_seconds_per_pass_leaves_half_of_the_free_memory(free, per_second):
    seconds = seconds_per_pass(free, per_second)
    assert seconds * per_second <= free / 2
    # And takes a quarter, unless no more is of use.
    assert seconds == 1920 or seconds * per_second > free / 4


def test_seconds_per_pass_is_the_same_for_a_little_less_memory():
    seconds = {seconds_per_pass(20e9 + i * 1e8, BASE) for i in range(-10, 10)}
    assert len(seconds) == 1


def test_seconds_per_pass_is_a_window_at_least_and_30_times_a_power_of_two():
    assert seconds_per_pass(0, BASE) == 30
    for free in (3e9, 11e9, 37e9):
        doublings = math.log2(seconds_per_pass(free, LARGE) / 30)
        assert doublings == round(doublings) >= 0


def test_encoder_memory_grows_with_width_window_and_the_steps_of_the_input():
    # A network that reads samples keeps most right behind its first convolution.
    assert BASE < LARGE < SAMPLES
    assert encoder_memory(50, 512, 2048, 8, 2000, 512 * 100) > BASE
