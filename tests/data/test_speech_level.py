"""The active speech level counts speech and not its pauses."""

import numpy as np
import pytest

from ssr_plugin.data.audio import AudioError
from ssr_plugin.data.speech_level import rms_level, speech_level

RATE = 16000


def syllables(seconds, seed=0):
    """Noise that swells four times a second, as speech does."""
    time = np.arange(round(seconds * RATE)) / RATE
    carrier = np.random.default_rng(seed).standard_normal(len(time))
    return 0.05 * carrier * (0.2 + np.sin(2 * np.pi * 2 * time) ** 2)


@pytest.mark.parametrize("pause", [0.5, 2.0, 8.0])
def test_pauses_do_not_lower_it(pause):
    speech = syllables(4.0)
    paused = np.concatenate([speech, np.zeros(round(pause * RATE)), speech])
    level = speech_level(speech, RATE)
    assert speech_level(paused, RATE) == pytest.approx(level, abs=0.5)
    # What is louder where nobody pauses is so in the whole, too.
    assert level == pytest.approx(rms_level(speech), abs=0.5)


@pytest.mark.parametrize("place", ["before", "after", "both"])
def test_silence_around_speech_changes_nothing_but_the_hangover(place):
    speech, silence = syllables(8.0), np.zeros(5 * RATE)
    parts = {
        "before": [silence, speech],
        "after": [speech, silence],
        "both": [silence, speech, silence],
    }
    level = speech_level(np.concatenate(parts[place]), RATE)
    # 0.2 s and the smoothing's fall, in 8 s.
    assert level == pytest.approx(speech_level(speech, RATE), abs=0.25)


def test_it_grows_with_the_loudness():
    speech = np.concatenate([syllables(2.0), np.zeros(RATE), syllables(2.0)])
    louder = speech_level(10 * speech, RATE)
    assert louder == pytest.approx(speech_level(speech, RATE) + 20, abs=1e-6)


def test_a_faint_floor_in_the_pauses_is_no_speech():
    speech = np.concatenate([syllables(3.0), np.zeros(6 * RATE)])
    floor = 1e-5 * np.random.default_rng(1).standard_normal(len(speech))
    level = speech_level(speech, RATE)
    assert speech_level(speech + floor, RATE) == pytest.approx(level, abs=0.1)


def test_a_click_has_a_level():
    samples = np.zeros(RATE)
    samples[100] = 0.5
    assert np.isfinite(speech_level(samples, RATE))


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.zeros(0), np.full(RATE, 1e-6)])
def test_silence_is_refused_by_name(samples):
    with pytest.raises(AudioError, match=r"a\.wav is silent"):
        speech_level(samples, RATE, "a.wav")
