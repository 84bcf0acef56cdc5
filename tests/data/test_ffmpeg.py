"""Audio that libsndfile does not read: m4a, webm, mp4 and others, by ffmpeg.

The recordings are made by ffmpeg itself, from a tone.
"""

import os
import stat
import sys
import textwrap

import numpy as np
import pytest
import soundfile

from ssr_plugin.alignment.aligner_audio import read_item_audio
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.data.audio import AudioError, read_audio
from ssr_plugin.data.audio_headers import audio_duration, audio_files
from ssr_plugin.data.datasets import CSVDataSet
from ssr_plugin.data.ffmpeg import find_ffmpeg
from ssr_plugin.data.prepare import prepare, read_manifest
from ssr_plugin.problems import TooManyProblems

SUFFIXES = (".m4a", ".mp4", ".webm", ".mka", ".mov", ".aac", ".wma", ".avi")


@pytest.fixture
def tone(tmp_path):
    """A second of 440 Hz at 16 kHz, the second channel silent."""
    time = np.arange(16000) / 16000
    wave = 0.5 * np.sin(2 * np.pi * 440 * time)
    path = tmp_path / "source" / "tone.wav"
    path.parent.mkdir()
    soundfile.write(path, np.stack([wave, 0 * wave], axis=1), 16000)
    return path


def damage(path, start, stop):
    """Spoils bytes of a file."""
    data = bytearray(path.read_bytes())
    data[start:stop] = bytes(byte ^ 0x5A for byte in data[start:stop])
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_audio_takes_containers_that_libsndfile_does_not_read(
    suffix, tone, tmp_path, convert_audio
):
    path = convert_audio(tone, tmp_path / f"a{suffix}")
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(path)
    wav = read_audio(path, 16000)
    # AAC without a container begins and ends with what the codec adds.
    assert len(wav) == pytest.approx(16000, abs=2048)
    assert np.abs(np.fft.rfft(wav[:16000].numpy(), 16000)).argmax() == 440
    # The mean of a channel and silence.
    assert float(wav.abs().max()) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_audio_duration_is_the_length_of_what_read_audio_gives(
    suffix, tone, tmp_path, convert_audio
):
    path = convert_audio(tone, tmp_path / f"a{suffix}")
    seconds = len(read_audio(path, 16000)) / 16000
    assert audio_duration(str(path)) == pytest.approx(seconds, abs=1e-4)


def test_read_audio_takes_the_bytes_of_a_container(tone, tmp_path, convert_audio):
    # An m4a file has its index at the end: it cannot be read as it comes in.
    path = convert_audio(tone, tmp_path / "a.m4a")
    assert read_audio(path.read_bytes(), 16000).equal(read_audio(path, 16000))


def test_parts_of_a_container_are_those_of_the_whole(tone, tmp_path, convert_audio):
    path = convert_audio(tone, tmp_path / "a.m4a")
    whole = read_audio(path, 16000)
    part = read_audio(f"{path}#t=0.25,0.75", 16000)
    assert part.equal(whole[4000:12000])
    silent = read_audio(f"{path}#channel=1", 16000)
    assert len(silent) == len(whole) and silent.abs().max() < 0.01 < whole.abs().max()
    assert audio_duration(f"{path}#channel=1") == len(whole) / 16000
    # What ends early shows when it is decoded, and in time where it is listed.
    with pytest.raises(AudioError, match=r"is not in the file, which is 1\.\d+ s long"):
        audio_duration(f"{path}#t=0.5,1.5")
    assert len(read_audio(f"{path}#t=0.5,1.5", 16000)) == len(whole) - 8000


def test_aligners_get_the_samples_that_read_audio_gives(tone, tmp_path, convert_audio):
    path = convert_audio(tone, tmp_path / "a.m4a")
    samples = read_item_audio(AlignmentItem("a", str(path), "the"), 16000)
    np.testing.assert_array_equal(samples, read_audio(path, 16000).numpy())


def test_read_audio_goes_by_the_content_not_the_file_name(
    tone, tmp_path, convert_audio
):
    path = convert_audio(tone, tmp_path / "a.m4a").rename(tmp_path / "a.wav")
    assert len(read_audio(path, 16000)) == 16000


def test_read_audio_refuses_a_damaged_container(tone, tmp_path, convert_audio):
    path = convert_audio(tone, tmp_path / "a.m4a")
    damage(path, 4000, 4400)
    with pytest.raises(AudioError, match=r"cannot read .*a\.m4a .*ffmpeg: .*replace"):
        read_audio(path, 16000)


def test_read_audio_says_that_a_video_has_no_sound(tmp_path, run_ffmpeg):
    path = tmp_path / "silent.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "color=s=32x32", "-t", "0.1", path)
    with pytest.raises(AudioError, match=r"silent\.mp4 .*it holds no sound"):
        read_audio(path, 16000)


@pytest.mark.parametrize(
    "content",
    ["#EXTM3U\n#EXTINF:1,\n{0}\n", "ffconcat version 1.0\nfile '{0}'\n"],
)
def test_read_audio_never_follows_a_playlist(content, tone, tmp_path, convert_audio):
    convert_audio(tone, tmp_path / "secret.m4a")
    for name in ("list.m4a", "list.m3u8", "list.mp4"):
        (tmp_path / name).write_text(content.format("secret.m4a"))
        with pytest.raises(AudioError, match="cannot read"):
            read_audio(tmp_path / name, 16000)


@pytest.mark.skipif(sys.platform == "win32", reason="file names that Windows has not")
@pytest.mark.parametrize("name", ["-y.m4a", "http:a.m4a", "a b;c$(d).m4a", "%03d.m4a"])
def test_read_audio_takes_any_name(name, tone, tmp_path, convert_audio, monkeypatch):
    convert_audio(tone, tmp_path / "a.m4a").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read_audio(name, 16000)) == 16000


# --- The program -------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs a script as a program")
def test_ffmpeg_is_given_no_network_and_no_input(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    script = f"""
        #!{sys.executable}
        import pathlib, sys
        given = [*sys.argv[1:], f"stdin: {{sys.stdin.read()}}"]
        pathlib.Path("{tmp_path}/given").write_text("\\n".join(given))
        sys.exit("[mov @ 0x1] made by hand")
    """
    program.write_text(textwrap.dedent(script).strip())
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "a.m4a").write_bytes(b"no audio")
    with pytest.raises(AudioError, match=r"ffmpeg: made by hand\)"):
        read_audio(tmp_path / "a.m4a", 16000)
    arguments = (tmp_path / "given").read_text().split("\n")
    assert arguments[arguments.index("-protocol_whitelist") + 1] == "file,pipe"
    assert arguments[arguments.index("-i") + 1] == f"file:{tmp_path / 'a.m4a'}"
    assert "-nostdin" in arguments and arguments[-1] == "stdin: "


def test_find_ffmpeg_takes_the_packages_where_the_system_has_none(monkeypatch):
    package = pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setenv("PATH", "")
    assert find_ffmpeg() == package.get_ffmpeg_exe()


# --- Without it --------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".m4a", ".MP4", ".webm"])
def test_without_ffmpeg_the_error_says_what_to_install(suffix, tmp_path, no_ffmpeg):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"some container")
    for read in (lambda path: read_audio(path, 16000), audio_duration):
        with pytest.raises(AudioError) as error:
            read(str(path))
        assert str(error.value) == (
            f"cannot read {path} without ffmpeg: pip install ssr-plugin[ffmpeg], or "
            f"install the program ffmpeg"
        )


def test_without_ffmpeg_what_libsndfile_reads_is_read(write_audio, tmp_path, no_ffmpeg):
    path = write_audio(tmp_path / "a.flac", 0.5)
    assert audio_duration(str(path)) == 0.5
    assert len(read_audio(path, 16000)) == 8000


def test_audio_files_lists_containers_whether_they_can_be_read_or_not(
    tmp_path, no_ffmpeg
):
    for name in ("a.m4a", "b.webm", "c.wav", "d.txt", "e.ts"):
        (tmp_path / name).touch()
    assert [path.name for path in audio_files(tmp_path)] == ["a.m4a", "b.webm", "c.wav"]


# --- As a data set -----------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path, write_audio, convert_audio):
    """A CSV data set of four recordings of a second, two of them m4a."""
    rows = ["wav,text,speaker"]
    for number, suffix in enumerate((".wav", ".m4a", ".wav", ".m4a")):
        wav = write_audio(tmp_path / "source" / f"{number}.wav", 1.0, seed=number)
        path = tmp_path / "data" / f"{number}{suffix}"
        path.parent.mkdir(exist_ok=True)
        convert_audio(wav, path)
        rows.append(f"{path.name},the cat,{number}")
    (tmp_path / "data" / "all.csv").write_text("\n".join(rows))
    return CSVDataSet(tmp_path / "data")


def test_prepare_takes_m4a_and_without_ffmpeg_names_it(
    corpus, tmp_path, monkeypatch, request
):
    save = tmp_path / "save"
    with monkeypatch.context() as without:
        without.setattr("ssr_plugin.data.samples.find_ffmpeg", lambda: None)
        without.setattr("ssr_plugin.data.prepare.find_ffmpeg", lambda: None)
        with pytest.raises(TooManyProblems, match=r"1\.m4a without ffmpeg: pip"):
            prepare(corpus, save, ["all"])
    # Installed since, it is not what was kept that counts.
    manifests = prepare(corpus, save, ["all"])
    rows = read_manifest(manifests.train) | read_manifest(manifests.valid)
    assert {name: row["duration"] for name, row in rows.items()} == pytest.approx(
        dict.fromkeys("0123", 1.0), abs=1e-3
    )
