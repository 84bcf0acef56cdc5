"""Data sets of Hugging Face: read from their own cache, without decoding or copying."""

import pathlib
import sys
import types

import corpora
import pytest

from ssr_plugin.data.audio import read_audio
from ssr_plugin.data.hugging_face import HuggingFaceDataSet
from ssr_plugin.data.prepare import prepare, read_manifest

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")

NAMES = ["a.flac", "b.mp3", "c.opus"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def make(folder, with_bytes=True, **columns):
    """Three recordings with their texts, as ``datasets.Dataset``."""
    paths = [corpora.write(folder / "audio" / name) for name in NAMES]
    audio = [
        {"bytes": path.read_bytes() if with_bytes else None, "path": str(path)}
        for path in paths
    ]
    fields = {"audio": audio, "sentence": ["one", "two", None], **columns}
    kinds = {name: datasets.Value("string") for name in fields}
    features = datasets.Features(kinds | {"audio": datasets.Audio()})
    table = pyarrow.table(fields, schema=features.arrow_schema)
    info = datasets.DatasetInfo(features=features)
    return datasets.Dataset(datasets.table.InMemoryTable(table), info=info)


def test_audio_of_a_parquet_folder_is_read_where_the_cache_has_it(tmp_path):
    for split, offset in (("train", 0), ("validation", 1)):
        ids = [f"{split}{n + offset}" for n in range(3)]
        made = make(tmp_path, ID=ids, speaker_id=["x", "y", "y"])
        path = tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        made.to_parquet(path)
    dataset = HuggingFaceDataSet(tmp_path / "set")
    assert dataset.splits() == ["train", "validation"]
    found = list(dataset.utterances("train"))
    assert [(one.id, one.text, one.speaker) for one in found] == [
        ("train0", "one", "x"),
        ("train1", "two", "y"),
        ("train2", None, "y"),
    ]
    for one, name in zip(found, NAMES, strict=True):
        assert ".arrow#bytes=" in one.wav
        expected = read_audio(tmp_path / "audio" / name, corpora.RATE)
        assert read_audio(one.wav, corpora.RATE).equal(expected)
    made = prepare(dataset, tmp_path / "save", "train", "valid*", max_skipped_share=0.4)
    assert read_manifest(made.train)["train0"]["duration"] == pytest.approx(0.3)
    assert list(made.skipped["train"]) == ["train2"]


def test_a_folder_of_save_to_disk_and_files_beside_it_are_read(tmp_path):
    made = make(tmp_path, with_bytes=False)
    kept = datasets.DatasetDict(train=made, test=made.select([0]))
    kept.save_to_disk(tmp_path / "saved")
    dataset = HuggingFaceDataSet(tmp_path / "saved")
    assert dataset.splits() == ["test", "train"]
    found = list(dataset.utterances("train"))
    # Without a column of ids, split and row are one.
    assert [one.id for one in found] == [f"train-{n:08d}" for n in range(3)]
    assert all(len(read_audio(one.wav, corpora.RATE)) > 4000 for one in found)
    assert len(list(dataset.utterances("test"))) == 1
    with pytest.raises(ValueError, match="saved' has no split 'dev'; it has: test, tr"):
        next(dataset.utterances("dev"))
    # Places in a damaged file may be anywhere in memory.
    (path,) = (tmp_path / "saved" / "train").glob("*.arrow")
    content = bytearray(path.read_bytes())
    content[(texts := content.index(b"onetwo")) - 16 : texts] = b"\x7f" * 16
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(ValueError, match="arrow is damaged .*write the data set again"):
        list(HuggingFaceDataSet(tmp_path / "saved").utterances("train"))


def test_an_audio_folder_is_read_from_its_files(tmp_path, monkeypatch):
    # The package wants it to be there, and does not use it for files.
    encoders = types.SimpleNamespace(AudioEncoder=None)
    monkeypatch.setitem(sys.modules, "torchcodec", types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchcodec.encoders", encoders)
    folder = tmp_path / "folder"
    rows = ["file_name,transcription"]
    for name in ("a.wav", "b.wav"):
        corpora.write(folder / "train" / name)
        rows.append(f"{name},said in {name}")
    corpora.lines(folder / "train" / "metadata.csv", *rows)
    found = list(HuggingFaceDataSet(folder).utterances("train"))
    assert sorted(one.text for one in found) == ["said in a.wav", "said in b.wav"]
    assert {pathlib.Path(one.wav).name for one in found} == {"a.wav", "b.wav"}


def test_columns_that_are_not_found_are_named_and_can_be_told(tmp_path):
    made = make(tmp_path).rename_column("sentence", "said")
    made.save_to_disk(tmp_path / "saved")
    message = "no column for 'text'; there are: audio, said; name one: .*columns.text"
    with pytest.raises(ValueError, match=message):
        list(HuggingFaceDataSet(tmp_path / "saved").utterances("train"))
    told = HuggingFaceDataSet(tmp_path / "saved", columns={"text": "said"})
    assert [one.text for one in told.utterances("train")] == ["one", "two", None]
    wrong = HuggingFaceDataSet(
        tmp_path / "saved", columns={"text": "said", "audio": "said"}
    )
    with pytest.raises(ValueError, match="column 'said' is no Audio"):
        list(wrong.utterances("train"))
    with pytest.raises(
        ValueError, match="unknown txt; known: audio, id, text, speaker"
    ):
        HuggingFaceDataSet(tmp_path / "saved", columns={"txt": "said"})


def test_no_such_data_set_and_no_package_are_told(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="data_folder: '.*nowhere' cannot be read as"):
        HuggingFaceDataSet(tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install ssr-plugin\[datasets\]"):
        HuggingFaceDataSet(tmp_path)
