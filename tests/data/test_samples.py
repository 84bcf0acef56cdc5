"""Recordings whose header promises more than there is."""

import logging

import numpy as np
import pytest
import soundfile

from ssr_plugin.alignment.aligner_audio import read_item_audio
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.record import AlignmentError
from ssr_plugin.data.audio import AudioError, read_audio, read_row
from ssr_plugin.data.audio_headers import audio_duration
from ssr_plugin.data.datasets import CSVDataSet
from ssr_plugin.data.prepare import prepare, read_manifest
from ssr_plugin.data.samples import decode, open_audio, read_mono

SECONDS = 2.0
# What libsndfile reads on when it ends early; of others it says so itself.
CONTAINERS = {
    ".wav": {},
    ".aiff": {},
    ".au": {},
    ".w64": {},
    ".rf64": {},
    ".mp3": {},
    ".ogg": {},
    ".opus": {"format": "OGG", "subtype": "OPUS"},
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Suffix -> the bytes of two seconds of sound."""
    folder = tmp_path_factory.mktemp("recordings")
    noise = np.random.default_rng(0).standard_normal(round(SECONDS * 16000)) / 10
    contents = {}
    for suffix, kind in CONTAINERS.items():
        soundfile.write(folder / f"a{suffix}", noise, 16000, **kind)
        contents[suffix] = (folder / f"a{suffix}").read_bytes()
    return contents


@pytest.fixture
def write(tmp_path, recordings):
    """``write(suffix, share)``: a file of the first bytes of such a recording."""

    def write(suffix, share=1.0):
        path = tmp_path / f"a{suffix}"
        content = recordings[suffix]
        path.write_bytes(content[: int(share * len(content))])
        return path

    return write


def with_a_lie(content, times=20000):
    """An MP3 whose header promises more frames than it has."""
    content = bytearray(content)
    at = content.index(b"Xing") + 8
    count = int.from_bytes(content[at : at + 4], "big")
    content[at : at + 4] = (count * times).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_what_is_whole_is_read(suffix, write, caplog):
    path = write(suffix)
    assert audio_duration(str(path)) == pytest.approx(SECONDS, abs=0.01)
    assert len(read_row({"wav": path}, 16000)) == pytest.approx(32000, abs=160)
    assert not caplog.records


@pytest.mark.parametrize("share", [0.6, 0.85])
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_what_is_cut_short_is_refused_where_a_transcript_tells_what_is_said(
    suffix, share, write, caplog
):
    path = write(suffix, share)
    with pytest.raises(AudioError, match="is cut short.*replace the file") as error:
        audio_duration(str(path))
    assert str(path) in str(error.value)
    with pytest.raises(AudioError, match="is cut short"):
        read_row({"wav": path}, 16000)
    with pytest.raises(AlignmentError, match="is cut short"):
        read_item_audio(AlignmentItem("a", str(path), "the cat"), 16000)
    # Without one, what is there may be of use.
    assert 1000 < len(read_audio(path, 16000)) < 32000
    assert f"{path} is cut short" in caplog.text


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF])
def test_a_size_that_was_left_open_promises_nothing(size, write, caplog):
    path = write(".wav")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert audio_duration(str(path)) == SECONDS
    assert len(read_row({"wav": path}, 16000)) == 32000
    assert not caplog.records


def test_a_header_that_lies_costs_neither_memory_nor_truth(
    recordings, tmp_path, caplog
):
    path = tmp_path / "a.mp3"
    path.write_bytes(with_a_lie(recordings[".mp3"]))
    with open_audio(path) as file:
        assert file.frames > 11 * 3600 * 16000
        largest = max(len(block) for block in decode(file, path))
    assert largest < 3 * 16000
    with caplog.at_level(logging.WARNING):
        samples, _ = read_mono(path)
    assert len(samples) == pytest.approx(32000, abs=1152)
    assert "cut short, or its header is wrong" in caplog.text
    with pytest.raises(AudioError, match="cut short, or its header is wrong"):
        audio_duration(str(path))


def test_prepare_sets_a_header_that_lies_aside(recordings, tmp_path, write_audio):
    rows = ["wav,speaker,text"]
    for i in range(20):
        write_audio(tmp_path / "data" / f"{i}.wav", 0.5, seed=i)
        rows.append(f"{i}.wav,{i},the cat")
    (tmp_path / "data" / "bad.mp3").write_bytes(with_a_lie(recordings[".mp3"]))
    rows.append("bad.mp3,bad,the cat")
    (tmp_path / "data" / "all.csv").write_text("\n".join(rows))
    dataset = CSVDataSet(tmp_path / "data")
    manifests = prepare(dataset, tmp_path / "save", ["all"], max_skipped_share=0.1)
    assert "cut short, or its header" in manifests.skipped["train"]["bad"]
    assert len(read_manifest(manifests.train)) == 19
    assert len(read_manifest(manifests.valid)) == 1
