"""Audio of any sampling rate that speech has, in bounded time and memory."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
import torchaudio

from ssr_plugin.data.audio import AudioError, read_audio
from ssr_plugin.data.audio_headers import audio_duration
from ssr_plugin.data.resampling import MOST_RATE, check_rate, resample
from ssr_plugin.inference.speech import read_waveform

USUAL = [8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000, 96000, 17600, 39690]


def make_sound(rate, seconds=1.0, share=0.7):
    """Noise up to a share of the band of 16 kHz, or of its own where that is less."""
    rng = np.random.default_rng(0)
    frequencies = np.fft.rfftfreq(round(rate * seconds), 1 / rate)
    spectrum = rng.standard_normal((2, len(frequencies))).T.copy().view(complex)[:, 0]
    spectrum[(frequencies > share * min(rate, 16000) / 2) | (frequencies < 50)] = 0
    sound = np.fft.irfft(spectrum)
    return (sound / np.abs(sound).max() / 2).astype(np.float32)


@pytest.mark.parametrize("rate", USUAL)
def test_resample_gives_what_torchaudio_and_scipy_gave(rate):
    # Stored features and alignments were made with these.
    sound = make_sound(rate)
    found = resample(sound, rate, 16000)
    divisor = np.gcd(rate, 16000)
    others = (
        torchaudio.functional.resample(torch.from_numpy(sound), rate, 16000).numpy(),
        scipy.signal.resample_poly(sound, 16000 // divisor, rate // divisor),
    )
    # Filters differ where the sound begins and ends.
    inner = slice(400, -400)
    for other in others:
        assert found.dtype == np.float32 and len(found) == len(other)
        error = np.square(found - other)[inner].mean() / np.square(other)[inner].mean()
        assert 10 * np.log10(error) < -50


def test_rates_without_a_common_factor_take_little_memory():
    pytest.importorskip("resource")
    # A process that has not had more memory before.
    code = """
        import resource
        import numpy as np
        from ssr_plugin.data.resampling import resample
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for rate in (48001, 15999, 44101, 41013):
            samples = np.zeros(10 * rate, np.float32)
            assert len(resample(samples, rate, 16000)) == 160000
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    line = [sys.executable, "-c", textwrap.dedent(code)]
    grown = int(subprocess.run(line, capture_output=True, text=True).stdout)
    # Kilobytes, or bytes on macOS.
    assert grown < 20e3 * (1024 if sys.platform == "darwin" else 1)


@pytest.mark.parametrize("rate", [1, 3999, 540288, 0x7FFFFFFF])
def test_a_file_with_a_rate_that_no_speech_has_is_refused(rate, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(800), 16000)
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)
    for read in (lambda path: read_audio(path, 16000), audio_duration):
        with pytest.raises(AudioError, match="no speech has .*its header") as error:
            read(str(path))
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "rate", [1, 0, -8000, None, "8000", float("nan"), MOST_RATE + 1]
)
def test_samples_with_a_rate_that_no_speech_has_are_refused(rate):
    with pytest.raises(AudioError, match="samples are told to have a sampling rate of"):
        read_waveform((np.zeros(800), rate), 16000)


@pytest.mark.parametrize("rate", [4000, 8000.0, np.int64(44100), np.float32(48000)])
def test_rates_may_be_any_number(rate):
    check_rate(rate)
    seconds = len(read_waveform((np.zeros(8000), rate), 16000)) / 16000
    assert seconds == pytest.approx(8000 / rate, abs=1e-4)
