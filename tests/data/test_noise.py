"""Noise is what its name says, at the ratio that is asked for."""

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import welch

from ssr_plugin.data.audio import AudioError, read_audio
from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.noise import AddedNoise, Babble, SpeechShapedNoise, WhiteNoise
from ssr_plugin.data.speech_level import rms_level, speech_level

RATE = 16000
# Of each speaker's voice, Hz.
VOICES = {"anna": 300, "bert": 700, "carl": 1500, "dora": 3100}


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    """Two of each speaker, who hums on a note: one soft, one loud."""
    folder = tmp_path_factory.mktemp("voices")
    made = []
    for speaker, pitch in VOICES.items():
        for number, loudness in enumerate((0.02, 0.4)):
            time = np.arange(round((1.0 + number) * RATE)) / RATE
            name = f"{speaker}-{number}"
            path = folder / f"{name}.wav"
            hum = loudness * np.sin(2 * np.pi * pitch * time)
            soundfile.write(path, hum, RATE, subtype="FLOAT")
            made.append(Utterance(name, str(path), "HM", speaker))
    return made


def voices_in(samples):
    """How much of the power is on each speaker's note."""
    frequencies, power = welch(samples, fs=RATE, nperseg=2048)
    near = {
        name: power[np.abs(frequencies - pitch) < 60].sum()
        for name, pitch in VOICES.items()
    }
    return {name: x / power.sum() for name, x in near.items()}


@pytest.mark.parametrize("snr", [20.0, 5.0, 0.0, -5.0])
@pytest.mark.parametrize("kind", ["babble", "speech_shaped", "white"])
def test_the_ratio_is_that_of_active_speech_to_noise(kind, snr, utterances):
    noises = {
        "babble": Babble(utterances),
        "speech_shaped": SpeechShapedNoise(utterances),
        "white": WhiteNoise(),
    }
    hum = read_audio(utterances[1].wav, RATE)
    speech = torch.cat([hum, torch.zeros(3 * RATE), hum])
    noisy = AddedNoise(noises[kind], snr).apply(speech, utterances[1], RATE, rng())
    assert noisy.dtype == torch.float32 and noisy.shape == speech.shape
    measured = speech_level(speech, RATE) - rms_level((noisy - speech).numpy())
    assert measured == pytest.approx(snr, abs=0.01)


def test_noise_at_another_ratio_is_the_same_but_louder(utterances):
    speech = read_audio(utterances[1].wav, RATE)
    babble = Babble(utterances)
    weak, strong = (
        AddedNoise(babble, snr).apply(speech, utterances[1], RATE, rng(3)) - speech
        for snr in (20.0, 0.0)
    )
    assert torch.allclose(strong, 10 * weak, atol=1e-4)


@pytest.mark.parametrize("speaker", VOICES)
def test_babble_never_has_the_utterances_own_speaker(speaker, utterances):
    babble = Babble(utterances, num_talkers=3)
    (own, *_) = [x for x in utterances if x.speaker == speaker]
    for seed in range(5):
        shares = voices_in(babble.draw(3 * RATE, own, RATE, rng(seed)))
        assert shares.pop(speaker) < 0.001
        # Three talkers are the three others, each as loud.
        assert all(0.25 < share < 0.42 for share in shares.values())


def test_with_few_speakers_some_talk_twice(utterances):
    two = [x for x in utterances if x.speaker in ("anna", "bert")]
    babble = Babble(two, num_talkers=4).draw(2 * RATE, two[0], RATE, rng())
    assert voices_in(babble)["bert"] > 0.95


def test_babble_goes_on_for_as_long_as_the_utterance(utterances):
    babble = Babble(utterances).draw(20 * RATE, utterances[0], RATE, rng())
    parts = [rms_level(part) for part in np.split(babble, 10)]
    assert len(babble) == 20 * RATE and max(parts) - min(parts) < 6


def test_babble_of_one_speaker_is_refused(utterances):
    alone = [x for x in utterances if x.speaker == "anna"]
    with pytest.raises(ValueError, match=r"all are of one speaker \(anna\)"):
        Babble(alone)
    with pytest.raises(ValueError, match="there must be a talker, not 0"):
        Babble(utterances, num_talkers=0)


def test_a_recording_that_cannot_be_read_is_passed_over(utterances, tmp_path, caplog):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio")
    bad = [Utterance("emil-0", str(broken), "HM", "emil")]
    others = [x for x in utterances if x.speaker in ("anna", "bert")]
    babble = Babble([*others, Utterance("bert-2", str(broken), "HM", "bert")])
    assert np.isfinite(babble.draw(RATE, utterances[0], RATE, rng())).all()
    assert "Noise is made without bert-2" in caplog.text
    with pytest.raises(AudioError, match="speaker emil says nothing"):
        Babble([*others[:2], *bad]).draw(RATE, others[0], RATE, rng())
    with pytest.raises(ValueError, match="nothing is said in any utterance"):
        SpeechShapedNoise(bad).prepare(RATE)


def test_speech_shaped_noise_has_the_spectrum_of_speech_and_is_stationary(utterances):
    noise = SpeechShapedNoise(utterances).draw(10 * RATE, utterances[0], RATE, rng())
    # Loud and soft utterances count alike.
    for share in voices_in(noise).values():
        assert share == pytest.approx(0.25, abs=0.03)
    # Four narrow bands beat a little.
    parts = [rms_level(part) for part in np.split(noise, 10)]
    assert max(parts) - min(parts) < 3


def test_white_noise_is_as_strong_at_all_frequencies(utterances):
    noise = WhiteNoise().draw(20 * RATE, utterances[0], RATE, rng())
    _, power = welch(noise, nperseg=64)
    inner = 10 * np.log10(power[1:-1])
    assert inner.max() - inner.min() < 1


def test_silent_speech_has_no_ratio(utterances):
    with pytest.raises(AudioError, match="is silent"):
        AddedNoise(WhiteNoise(), 5).apply(torch.zeros(RATE), utterances[0], RATE, rng())


def test_another_pool_is_another_noise_by_its_settings(utterances):
    for source in (Babble, SpeechShapedNoise):
        whole, part = (
            AddedNoise(source(x), 5).settings() for x in (utterances, utterances[:-1])
        )
        assert whole != part
        assert whole == AddedNoise(source(utterances[::-1]), 5).settings()
