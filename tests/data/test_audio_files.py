"""Audio files come as one channel at the wanted rate, or with an error naming them."""

import numpy as np
import pytest
import soundfile
import torch

from ssr_plugin.data.audio import AudioError, read_audio


def test_read_audio_averages_channels(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.tile([[0.5, -0.25]], (100, 1)), 16000)
    wav = read_audio(tmp_path / "a.flac", 16000)
    assert wav.dtype == torch.float32
    torch.testing.assert_close(wav, torch.full((100,), 0.125), atol=1e-4, rtol=0)


def test_read_audio_resamples_another_rate_and_keeps_its_pitch(tmp_path):
    time = np.arange(22050) / 22050
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * time), 22050)
    wav = read_audio(tmp_path / "a.wav", 16000)
    assert wav.shape == (16000,)
    assert wav.numpy().__abs__().max() == pytest.approx(0.5, abs=0.05)
    assert np.abs(np.fft.rfft(wav.numpy())).argmax() == 440


def test_read_audio_refuses_another_rate_if_asked(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(10), 8000)
    with pytest.raises(AudioError, match=r"a\.wav is sampled at 8000 Hz, not 16000"):
        read_audio(tmp_path / "a.wav", 16000, resample=False)


def write_text(path):
    path.write_text("this is no audio")


def write_nothing(path):
    soundfile.write(path, np.zeros(0), 16000)


def write_no_numbers(path):
    soundfile.write(path, np.full(10, np.nan, "float32"), 16000, subtype="FLOAT")


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda path: None, "there is no audio file"),
        (write_text, "cannot read"),
        (write_nothing, "holds no samples"),
        (write_no_numbers, "no numbers"),
    ],
)
def test_a_file_without_usable_audio_is_named(tmp_path, write, message):
    write(tmp_path / "bad.wav")
    with pytest.raises(AudioError, match=message) as error:
        read_audio(tmp_path / "bad.wav", 16000)
    assert str(tmp_path / "bad.wav") in str(error.value)


def test_read_audio_refuses_samples_without_a_header(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(1000))
    with pytest.raises(AudioError, match=r"cannot read .*a\.raw"):
        read_audio(tmp_path / "a.raw", 16000)
