"""Long recordings: read and embedded part by part, with the times of the whole."""

import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.connectors import ssr_encoder
from ssr_plugin.data.audio import AudioError
from ssr_plugin.encoders import encoder as encoder_module
from ssr_plugin.inference import embedder, long_audio
from ssr_plugin.inference.long_audio import read_parts
from ssr_plugin.inference.speech import read_waveform

RATE = 16000


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder, device="cpu")


@pytest.fixture
def short_parts(monkeypatch):
    """Parts of three seconds in place of five minutes, read in blocks of one."""
    monkeypatch.setattr(long_audio, "PART_SECONDS", 3.0)
    monkeypatch.setattr(long_audio, "_BLOCK_SECONDS", 1.0)


def talk(path, seconds, rate=RATE, pause=2.4):
    """Noise with half a second of silence after each ``pause`` s, in a file."""
    rng = np.random.default_rng(0)
    wav = 0.1 * rng.standard_normal(round(rate * seconds)).astype("float32")
    for begin in np.arange(pause - 0.5, seconds, pause):
        wav[round(begin * rate) : round((begin + 0.5) * rate)] = 0.0
    soundfile.write(path, wav, rate, subtype="FLOAT")
    return path


@pytest.fixture
def encoded(lm, monkeypatch):
    """Samples that the encoder is given at once, padding included."""
    sizes, forward = [], lm.encoder.forward

    def count(wavs, lengths):
        sizes.append(wavs.numel())
        return forward(wavs, lengths)

    monkeypatch.setattr(lm.encoder, "forward", count)
    return sizes


@pytest.mark.parametrize("rate", [RATE, 11025])
def test_a_long_file_is_what_its_parts_are_one_after_another(
    lm, tmp_path, short_parts, rate
):
    path = talk(tmp_path / "a.wav", 12.0, rate)
    parts = list(read_parts(path, RATE, lm.encoder.stride))
    # They are cut inside the pauses.
    ends = np.cumsum([len(part) for part in parts])[:-1] / RATE
    assert len(ends) >= 3
    assert all(1.9 <= end % 2.4 <= 2.4 for end in ends)
    assert sum(map(len, parts)) == pytest.approx(12.0 * RATE, abs=len(parts))
    speech, begin, expected = lm.embed(path), 0.0, []
    for part in parts:
        one = lm.embed((part, RATE))
        expected += [
            (token, pytest.approx(begin + start), pytest.approx(begin + end))
            for token, start, end in zip(one.tokens, one.starts, one.ends, strict=True)
        ]
        begin += one.seconds
    found = zip(speech.tokens, speech.starts, speech.ends, strict=True)
    assert list(found) == expected
    assert len(speech.vectors) == len(expected) > 30
    assert speech.seconds == pytest.approx(12.0, abs=0.01)
    assert speech.text == lm.embedder.spell(speech.tokens)
    frames = speech.segments.starts / lm.encoder.frame_rate
    assert np.abs(np.subtract.outer(speech.starts, frames)).min(1).max() < 0.011


def test_a_recording_in_memory_gives_what_its_file_gives(lm, tmp_path, short_parts):
    path = talk(tmp_path / "a.wav", 8.0)
    wav, _ = soundfile.read(path, dtype="float32")
    wavs = [path, (wav, RATE), {"path": "a.wav", "bytes": path.read_bytes()}]
    one, *others = lm.embed(wavs)
    for other in others:
        assert torch.equal(one.vectors, other.vectors)
        assert (one.tokens, one.ends) == (other.tokens, other.ends)


def test_long_and_short_recordings_stay_in_order_and_are_what_they_are_alone(
    lm, tmp_path, short_parts
):
    paths = [talk(tmp_path / f"{n}.wav", n) for n in (1, 7, 2, 2.5, 9, 8)]
    for speech, path in zip(lm.embed(paths), paths, strict=True):
        torch.testing.assert_close(speech.vectors, lm.embed(path).vectors)
        assert speech.seconds == float(path.stem)


@pytest.fixture
def short_windows(lm, monkeypatch):
    """Windows of a second and of eight segments; no samples normalised over all."""
    monkeypatch.setattr(encoder_module, "LONGEST_WINDOW", 1.0)
    monkeypatch.setattr(encoder_module, "CONTEXT", 0.2)
    monkeypatch.setattr(lm.encoder.frontend, "_normalizes", False)
    # The connector's windows, and runs of segments of two of them.
    monkeypatch.setattr(ssr_encoder, "_WINDOW", 8)
    monkeypatch.setattr(ssr_encoder, "_CONTEXT", 2)
    monkeypatch.setattr(embedder, "_RUN", 12)
    monkeypatch.setattr(embedder, "_CONTEXT", 2)


def test_a_long_recording_with_an_alignment_is_read_in_parts_as_if_it_were_one(
    lm, tmp_path, short_windows, encoded, monkeypatch
):
    path = talk(tmp_path / "a.wav", 12.01)
    # Some are spoken across the places where parts end, and between two is silence.
    times = [(0.3 * i, 0.3 * i + 0.25) for i in range(40) if i not in (20, 21)]
    units = [Unit("cat", *time, 4 * i) for i, time in enumerate(times)]
    alignment = Alignment("a", " ".join(["cat"] * 38), tuple(units), "word", 12.01)
    ways = {"alignments": [[alignment] * 2], "lm_fusion": [False, True]}
    (whole,) = lm.embed_cuts([path], **ways)
    assert encoded == [round(12.01 * RATE)]
    encoded.clear()
    monkeypatch.setattr(long_audio, "PART_SECONDS", 3.0)
    (parts,) = lm.embed_cuts([path], **ways)
    assert len(encoded) > 4 and max(encoded) <= 3 * RATE
    for found, expected in zip(parts, whole, strict=True):
        assert len(found) == len(expected) >= 38
        for name in ("starts", "ends", "seconds"):
            assert getattr(found, name) == pytest.approx(getattr(expected, name))
        for name in ("tokens", "starts", "boundaries"):
            one, other = (getattr(each.segments, name) for each in (found, expected))
            assert one.tolist() == other.tolist()
        assert found.segmentation == "forced"
    assert [speech.lm_fusion for speech in parts] == [False, True]
    # With LM fusion the LLM reads each run as a text of its own.
    torch.testing.assert_close(parts[0].vectors, whole[0].vectors)
    assert parts[0].tokens == whole[0].tokens


def test_a_long_recording_is_read_in_several_ways_as_in_each_alone(
    lm, tmp_path, short_parts
):
    path = talk(tmp_path / "a.wav", 7.0)
    wav, _ = soundfile.read(path, dtype="float32")
    units = (Unit("the", 0.5, 1.0, 0), Unit("cat", 5.0, 6.0, 4))
    alignment = Alignment("a", "the cat", units, "word", 7.0)
    found, forced = lm.embed([path] * 2, [None, alignment])
    for recording in (path, (wav, RATE)):
        ways = [[alignment, None, alignment]]
        ((one, other, again),) = lm.embed_cuts([recording], ways)
        assert torch.equal(one.vectors, forced.vectors) and len(one) == 2
        assert torch.equal(again.vectors, forced.vectors)
        assert torch.equal(other.vectors, found.vectors)
        assert other.segmentation == "predicted"


@pytest.mark.parametrize("suffix", [".wav", ".m4a"])
def test_memory_does_not_grow_with_the_length_of_a_file(
    suffix, lm, tmp_path, short_parts, encoded, request
):
    """Neither what the encoder is given at once, nor what is read, by ffmpeg too."""
    peaks = []
    for seconds in (6.0, 48.0):
        path = talk(tmp_path / f"{seconds}.wav", seconds)
        if suffix != ".wav":
            convert_audio = request.getfixturevalue("convert_audio")
            path = convert_audio(path, path.with_suffix(suffix))
        tracemalloc.start()
        for part in read_parts(path, RATE, lm.encoder.stride):
            assert len(part) <= 3 * RATE
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 48 * RATE * 4
    lm.embedder.embed(path, batch_seconds=6.0)
    assert len(encoded) > 8
    assert max(encoded) <= 6 * RATE


def test_a_long_file_that_is_damaged_is_named_and_others_go_on(
    lm, tmp_path, short_parts
):
    good, bad = (talk(tmp_path / f"{name}.wav", 5.0) for name in ("good", "bad"))
    wav, _ = soundfile.read(bad)
    wav[70000] = np.nan
    soundfile.write(bad, wav, RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no audio" * 50000)
    paths = [bad, good, tmp_path / "text.wav", good]
    found = list(lm.embed_each(paths))
    assert [isinstance(x, AudioError) for x in found] == [True, False, True, False]
    assert f"{bad} holds samples that are no numbers" in str(found[0])


def test_a_long_file_that_ffmpeg_cannot_read_to_its_end_is_named_and_others_go_on(
    lm, tmp_path, short_parts, convert_audio
):
    good = talk(tmp_path / "good.wav", 7.0)
    bad = convert_audio(good, tmp_path / "bad.m4a")
    content = bytearray(bad.read_bytes())
    middle = 2 * len(content) // 3
    content[middle : middle + 500] = b"\x5a" * 500
    bad.write_bytes(content)
    parts = read_parts(bad, RATE, lm.encoder.stride)
    assert len(next(parts)) > RATE
    found = list(lm.embed_each([bad, good]))
    assert [isinstance(x, AudioError) for x in found] == [True, False]
    assert str(found[0]).startswith(f"cannot read {bad} (ffmpeg: ")


def test_a_recording_of_five_minutes_is_one(tmp_path):
    wav = (np.zeros(300 * 1000, dtype="float32"), 1000)
    assert [len(part) for part in read_parts(wav, 1000, 20)] == [300_000]
    assert torch.equal(next(read_parts(wav, 1000, 20)), read_waveform(wav, 1000))
