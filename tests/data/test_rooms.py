"""Simulated rooms reverberate as long as they say, and shift nothing in time."""

import sys

import numpy as np
import pytest
import torch

from ssr_plugin.data.audio import AudioError
from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.rooms import Reverberation
from ssr_plugin.data.speech_level import speech_level

RATE = 8000
UTTERANCE = Utterance("1", "1.wav", "HI")


@pytest.fixture(scope="module")
def rooms():
    """By reverberation time."""
    return {seconds: Reverberation(seconds, num_rooms=3) for seconds in (0.3, 0.6)}


def decay_time(response):
    """In which it falls by 60 dB, by a line through its decay from -5 to -35 dB."""
    energy = np.cumsum(np.square(response.astype(float))[::-1])[::-1]
    decibels = 10 * np.log10(energy / energy[0])
    place = np.flatnonzero((decibels < -5) & (decibels > -35))
    slope, _ = np.polyfit(place / RATE, decibels[place], 1)
    return -60 / slope


@pytest.mark.parametrize("seconds", [0.3, 0.6])
def test_sound_decays_in_the_time_that_is_asked_for(rooms, seconds):
    for response in rooms[seconds].responses(RATE):
        assert decay_time(response.numpy()) == pytest.approx(seconds, rel=0.06)


def test_what_is_said_stays_where_it_was_and_as_loud(rooms):
    rng = np.random.default_rng(0)
    speech = torch.zeros(2 * RATE)
    starts = [4000, 9000]
    for start in starts:
        speech[start : start + 80] = torch.from_numpy(rng.standard_normal(80)).float()
    for seed in range(3):
        heard = rooms[0.6].apply(speech, UTTERANCE, RATE, np.random.default_rng(seed))
        assert heard.shape == speech.shape and heard.dtype == speech.dtype
        assert speech_level(heard, RATE) == pytest.approx(
            speech_level(speech, RATE), abs=0.5
        )
        for start in starts:
            before, after = heard[start - 60 : start - 20], heard[start : start + 40]
            assert after.square().mean() > 30 * before.square().mean()
        # It rings on where nothing was said.
        assert heard[5000:6000].abs().max() > 0


def test_rooms_are_the_same_whenever_they_are_made(rooms):
    again = Reverberation(0.3, num_rooms=3).responses(RATE)
    assert all(map(torch.equal, again, rooms[0.3].responses(RATE)))
    other = Reverberation(0.3, seed=1, num_rooms=1).responses(RATE)
    assert not torch.equal(other[0], again[0])


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_what_is_no_time_is_refused(seconds):
    with pytest.raises(ValueError, match=f"{seconds} s is no reverberation time"):
        Reverberation(seconds)


def test_a_time_that_no_walls_give_is_refused():
    with pytest.raises(ValueError, match="no walls give a room of .* only 0.02 s"):
        Reverberation(0.02).prepare(RATE)


def test_silence_is_refused(rooms):
    with pytest.raises(AudioError, match="silent"):
        rooms[0.3].apply(torch.zeros(RATE), UTTERANCE, RATE, np.random.default_rng(0))


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(ImportError, match=r"pip install ssr-plugin\[rooms\]"):
        Reverberation(0.3)
