"""Lengths of audio files from their headers."""

import pytest
import soundfile

from ssr_plugin.data.audio import AudioError, read_audio
from ssr_plugin.data.audio_headers import audio_duration, audio_files


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff"])
@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_audio_duration_does_not_depend_on_the_file_type(
    tmp_path, write_audio, suffix, sample_rate
):
    path = write_audio(tmp_path / f"a{suffix}", 0.75, sample_rate)
    assert audio_files(tmp_path) == [path]
    assert audio_duration(str(path)) == pytest.approx(0.75, abs=1e-3)


def test_audio_duration_reads_opus(tmp_path):
    path = tmp_path / "a.opus"
    soundfile.write(path, [0.0] * 8000, 16000, format="OGG", subtype="OPUS")
    assert audio_files(tmp_path) == [path]
    assert audio_duration(str(path)) == pytest.approx(0.5, abs=1e-3)


@pytest.fixture
def open_flac(tmp_path, write_audio):
    """A FLAC file as from a pipe: its header does not tell its length, 0.75 s."""
    path = write_audio(tmp_path / "a.flac", 0.75)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO's number of samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    return path


def test_a_flac_stream_whose_header_has_no_length_is_refused(open_flac, no_ffmpeg):
    for read in (lambda path: read_audio(path, 16000), audio_duration):
        with pytest.raises(AudioError, match=r"a\.flac .*the header leaves the length"):
            read(str(open_flac))


def test_audio_duration_of_a_flac_stream_without_a_length_is_found_by_ffmpeg(
    open_flac, convert_audio
):
    assert audio_duration(str(open_flac)) == 0.75
    assert len(read_audio(open_flac, 16000)) == 12000


def test_audio_duration_refuses_what_is_no_audio(tmp_path):
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"a\.wav"):
        audio_duration(str(tmp_path / "a.wav"))
