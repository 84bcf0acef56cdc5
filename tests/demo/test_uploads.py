"""Uploads: what is not one is not opened, and no more is decoded than is allowed."""

import numpy as np
import pytest
import soundfile

from ssr_plugin.data.audio import AudioError
from ssr_plugin.demo.uploads import Limits, is_inside, read_upload


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


def test_channels_are_averaged_and_the_rate_is_the_files(uploads):
    soundfile.write(uploads / "a.flac", [[0.25, 0.75]] * 800, 8000)
    samples, rate = read_upload(uploads / "a.flac", Limits(), uploads)
    assert (samples.shape, rate) == ((800,), 8000)
    assert np.allclose(samples, 0.5, atol=1e-4)


def test_a_recording_may_be_as_long_as_the_limit_and_not_a_sample_longer(uploads):
    for name, count in (("fits", 16000), ("long", 16001)):
        soundfile.write(uploads / f"{name}.wav", np.zeros(count), 16000)
    limits = Limits(max_seconds=1)
    assert len(read_upload(uploads / "fits.wav", limits, uploads)[0]) == 16000
    with pytest.raises(AudioError, match="longer than 1 s"):
        read_upload(uploads / "long.wav", limits, uploads)


def test_of_what_only_ffmpeg_reads_no_more_is_decoded_than_is_allowed(
    uploads, write_audio, convert_audio, monkeypatch
):
    from ssr_plugin.data import samples

    opened = []

    class Watched(samples.FFmpegFile):
        def close(self):
            opened.append(self)
            super().close()

    monkeypatch.setattr(samples, "FFmpegFile", Watched)
    wav = write_audio(uploads / "a.wav", seconds=20)
    path = convert_audio(wav, uploads / "a.m4a")
    with pytest.raises(AudioError, match="longer than 2 s"):
        read_upload(path, Limits(max_seconds=2), uploads)
    (file,) = opened
    assert file.frames == 2 * 16000 + 1
    # It was stopped: it did not come to its end.
    assert file._process.returncode != 0


def test_a_large_file_is_refused_before_it_is_opened(uploads):
    (uploads / "a.wav").write_bytes(b"x" * 2000)
    with pytest.raises(AudioError, match=r"larger than 0\.001 MB"):
        read_upload(uploads / "a.wav", Limits(max_megabytes=0.001), uploads)


@pytest.mark.parametrize("name", ["../secret.wav", "link.wav", "folder", "no.wav", ""])
def test_nothing_but_a_file_among_the_uploads_is_opened(uploads, name):
    soundfile.write(uploads.parent / "secret.wav", np.zeros(800), 8000)
    (uploads / "link.wav").symlink_to(uploads.parent / "secret.wav")
    (uploads / "folder").mkdir()
    with pytest.raises(AudioError, match="not here any more"):
        read_upload(uploads / name, Limits(), uploads)
    assert not is_inside("a\0b", uploads)


@pytest.mark.parametrize("content", [b"", b"no audio", b"RIFF\xff\xff\xff\x7fWAVEfmt "])
def test_what_is_no_audio_is_told_by_its_name_alone(uploads, content):
    (uploads / "mine.wav").write_bytes(content)
    with pytest.raises(AudioError, match=r"mine\.wav") as caught:
        read_upload(uploads / "mine.wav", Limits(), uploads)
    assert str(uploads) not in str(caught.value)


def test_samples_that_are_none_and_those_that_are_no_numbers_are_refused(uploads):
    soundfile.write(uploads / "none.wav", [], 8000)
    soundfile.write(uploads / "nan.wav", [np.nan] * 9, 8000, subtype="FLOAT")
    for name, match in (("none", "no samples"), ("nan", "no numbers")):
        with pytest.raises(AudioError, match=match):
            read_upload(uploads / f"{name}.wav", Limits(), uploads)
