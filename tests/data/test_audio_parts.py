"""Parts of audio files: read, measured, named and stored as files of their own are."""

import pathlib

import numpy as np
import pytest
import soundfile

from ssr_plugin.data.audio import AudioError, read_audio
from ssr_plugin.data.audio_headers import audio_duration
from ssr_plugin.data.read_ahead import file_seconds
from ssr_plugin.data.samples import StoredAudio, encoded_audio, open_audio, read_mono
from ssr_plugin.files import file_identity
from ssr_plugin.media_fragments import MediaFragment

RATE = 16000
# Each second another pitch, so that a part cannot be taken for another.
PITCHES = [220, 330, 440, 550]


def speech(channels=1):
    time = np.arange(RATE) / RATE
    mono = np.concatenate([0.4 * np.sin(2 * np.pi * f * time) for f in PITCHES])
    return np.stack([mono * (1 - 2 * n) for n in range(channels)], axis=1)


def pitch(samples):
    return int(np.abs(np.fft.rfft(samples, RATE)).argmax())


@pytest.fixture(params=["wav", "flac", "ogg", "opus", "mp3"])
def recording(request, tmp_path):
    path = tmp_path / f"hour #1.{request.param}"
    options = {"opus": {"format": "OGG", "subtype": "OPUS"}}.get(request.param, {})
    soundfile.write(path, speech(), RATE, **options)
    return path


def test_a_part_of_any_type_of_file_holds_its_own_time_alone(recording):
    for second, expected in enumerate(PITCHES):
        part = MediaFragment(str(recording), second + 0.25, second + 0.75)
        samples, rate = read_mono(str(part), whole=True)
        assert rate == RATE
        assert len(samples) == pytest.approx(RATE / 2, abs=1)
        assert pitch(samples) == pytest.approx(expected, abs=4)
        assert audio_duration(str(part)) == pytest.approx(0.5, abs=1e-4)
        assert file_seconds(str(part)) == 0.5


def test_a_part_at_an_odd_moment_is_what_the_whole_has_there(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(), RATE, subtype="FLOAT")
    whole = read_audio(path, RATE)
    part = read_audio(f"{path}#t=1.2345678,2.7", RATE)
    assert part.equal(whole[round(1.2345678 * RATE) : round(2.7 * RATE)])


def test_one_channel_of_two_is_not_their_mean(tmp_path):
    path = tmp_path / "call.wav"
    soundfile.write(path, speech(channels=2), RATE)
    assert float(read_audio(path, RATE).abs().max()) < 1e-4
    first, second = (read_audio(f"{path}#t=1,2&channel={n}", RATE) for n in (0, 1))
    assert len(first) == RATE and float(first.max()) > 0.39
    assert first.allclose(-second, atol=1e-4)
    with pytest.raises(AudioError, match="channel 2, counted from 0.* has 2"):
        read_audio(f"{path}#channel=2", RATE)


def test_a_part_beyond_the_end_is_refused_and_a_rounded_end_is_not(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, speech(), RATE)
    assert audio_duration(f"{path}#t=3.5,4.1") == pytest.approx(0.5)
    for times in ("3.5,4.5", "5,6"):
        with pytest.raises(AudioError, match=rf"{times} is not in the file, .*4\.00 s"):
            audio_duration(f"{path}#t={times}")
    with pytest.raises(AudioError, match="there is no audio file .*b.flac#t=0,1"):
        read_audio(f"{tmp_path / 'b.flac'}#t=0,1", RATE)


@pytest.mark.parametrize("cut", [False, True])
def test_a_file_in_a_larger_file_is_read_where_it_lies(tmp_path, recording, cut):
    content = recording.read_bytes()
    large = tmp_path / "train.arrow"
    large.write_bytes(b"before" + content + b"after")
    part = MediaFragment(str(large), offset=6, size=len(content))
    if cut:
        part = MediaFragment(str(large), 2.25, 2.75, 6, len(content))
        assert pitch(read_audio(str(part), RATE).numpy()) == pytest.approx(440, abs=4)
    else:
        assert read_audio(str(part), RATE, whole=True).equal(
            read_audio(recording, RATE, whole=True)
        )
        assert audio_duration(str(part)) == audio_duration(str(recording))
    with pytest.raises(AudioError):
        read_audio(f"{large}#bytes=9999999,10", RATE)


def test_an_ogg_file_in_a_larger_file_that_is_cut_short_is_found(tmp_path):
    path = tmp_path / "a.opus"
    soundfile.write(path, speech(), RATE, format="OGG", subtype="OPUS")
    content = path.read_bytes()[:-30]
    large = tmp_path / "large"
    large.write_bytes(content + bytes(100))
    stored = StoredAudio(str(large), 0, len(content), "a.opus")
    for source in (f"{large}#bytes=0,{len(content)}", stored):
        with pytest.raises(AudioError, match="cut short"):
            read_audio(source, RATE, whole=True)


def test_stored_audio_is_as_it_was_and_a_cut_loses_nothing(tmp_path, recording):
    content, suffix = encoded_audio(recording)
    assert content == recording.read_bytes() and suffix == recording.suffix
    part = f"{recording}#t=1.25,1.75"
    content, suffix = encoded_audio(part)
    assert suffix == ".flac"
    kept = read_mono(content)[0]
    expected = read_mono(part)[0]
    assert len(kept) == len(expected)
    assert np.abs(kept - expected).max() < 2**-15


def test_parts_of_one_file_are_told_apart_and_change_with_it(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(), RATE)
    parts = [f"{path}#t=0,1", f"{path}#t=1,2"]
    first, second = map(file_identity, parts)
    assert first != second and first[1:] == second[1:]
    soundfile.write(path, speech()[RATE:], RATE)
    assert file_identity(parts[0]) != first


@pytest.mark.parametrize(
    "name", ["take #3.wav", "a#t.wav", "#t=1,2", "a.wav#t=1", "a#"]
)
def test_a_file_with_a_hash_in_its_name_is_no_part(tmp_path, name):
    assert MediaFragment.parse(name) == MediaFragment(name)
    if not name.endswith(".wav"):
        return
    soundfile.write(tmp_path / name, speech(), RATE)
    with open_audio(tmp_path / name) as file:
        assert file.frames == 4 * RATE


@pytest.mark.parametrize(
    "part",
    [
        MediaFragment("a b/c.opus", 0.0, 12.345678),
        MediaFragment("x.tar", offset=0, size=7),
        MediaFragment(str(pathlib.Path("/d/x.ark")), 1.0, 2.0, 5, 6, 1),
        MediaFragment("a.wav", channel=0),
    ],
)
def test_a_part_reads_as_it_was_written(part):
    assert MediaFragment.parse(str(part)) == part
    assert part.is_part
