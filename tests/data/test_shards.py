"""Shards on disk: WebDataset's tar files, whole or named; and a listing of any size."""

import errno
import json
import shutil

import numpy as np
import pytest

import ssr_plugin.data.listing as listing_module
from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.listing import Listing
from ssr_plugin.data.shards import (
    ShardError,
    Shards,
    ShardSample,
    shard_entry,
    write_list,
    write_shard,
)


def make_sample(name, audio=b"", frames=None):
    return ShardSample(
        name,
        f"text of {name}",
        "anna",
        1.5,
        16000,
        {"kind": "word", "duration": 1.5, "units": [["text", 0.1, 0.4, 0]]},
        audio or name.encode() * 100,
        ".flac",
        frames,
    )


@pytest.fixture
def corpus(tmp_path):
    """Two shards: a.1, b/2 and c, the last with frames."""
    folder = tmp_path / "corpus"
    frames = np.arange(6, dtype=np.float16).reshape(3, 2)
    shards = [
        [make_sample("a.1"), make_sample("b/2")],
        [make_sample("c", frames=frames)],
    ]
    entries = [
        write_shard(folder / "train", f"{i:06d}", samples, {})
        for i, samples in enumerate(shards)
    ]
    write_list(folder, {"train": entries}, {"train": 4}, {"aligner": "even"})
    return folder


def test_what_was_written_is_read_by_number(corpus):
    split = Shards(corpus)["train"]
    assert (len(split), split.skipped, split.seconds) == (3, 4, 4.5)
    for row, name in enumerate(["a.1", "b/2", "c"]):
        record = split.record(row)
        assert (record["id"], record["alignment"]["id"]) == (name, name)
        assert record["alignment"]["text"] == record["text"] == f"text of {name}"
        assert split.audio(row, record).read_bytes() == name.encode() * 100
    assert [split.num_frames(row) for row in range(3)] == [0, 0, 3]
    assert split.frames(2).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert split.durations.tolist() == [1.5] * 3


def test_webdataset_reads_the_same_from_the_tar_files(corpus):
    webdataset = pytest.importorskip("webdataset")
    paths = [str(path) for path in sorted((corpus / "train").glob("*.tar"))]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert [json.loads(sample["json"])["id"] for sample in samples] == [
        "a.1",
        "b/2",
        "c",
    ]
    assert samples[1]["flac"] == b"b/2" * 100
    assert samples[2]["npy"][:6] == b"\x93NUMPY"


def cut_short(folder):
    path = folder / "000001.tar"
    path.write_bytes(path.read_bytes()[:-700])


def double(folder):
    shutil.copy(folder / "000001.tar", folder / "000002.tar")


def list_twice(folder):
    path = folder.parent / "shards.json"
    content = json.loads(path.read_text())
    shards = content["splits"]["train"]["shards"]
    shards.append(["000002", *shards[1][1:]])
    path.write_text(json.dumps(content))
    double(folder)


def list_elsewhere(folder):
    path = folder.parent / "shards.json"
    path.write_text(path.read_text().replace("000001", str(folder / "000001")))


def lose_durations(folder):
    np.save(folder / "durations.npy", np.zeros(2))


@pytest.mark.parametrize(
    "spoil, told",
    [
        (cut_short, r"000001\.tar has \d+ bytes in place of \d+: it is cut short"),
        (lambda folder: (folder / "000001.tar").unlink(), r"000001\.tar is missing"),
        (double, r"000002\.tar is not in shards\.json: it is a copy"),
        (list_twice, "shards 000001 and 000002 hold the same utterances"),
        (lose_durations, "has 2 utterances, and the shards have 3"),
        (
            lambda folder: (folder.parent / "shards.json").write_text("{"),
            "shards.json is missing or damaged",
        ),
        (list_elsewhere, r"shards\.json is damaged, in 'train': .*/000001'.* no shard"),
    ],
)
def test_what_is_wrong_with_shards_is_named_when_they_are_opened(corpus, spoil, told):
    spoil(corpus / "train")
    with pytest.raises(ShardError, match=f"{told}(.|\n)*ssr prepare"):
        Shards(corpus)["train"]


def test_bytes_of_another_utterance_are_told_when_they_are_read(corpus):
    path = corpus / "train" / "000001.tar"
    split = Shards(corpus)["train"]
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(ShardError, match=r"000001\.tar is damaged"):
        split.record(2)


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path):
    def samples():
        yield make_sample("a")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError):
        write_shard(tmp_path, "000000", samples(), {})
    assert list(tmp_path.iterdir()) == []
    assert shard_entry(tmp_path, "000000") is None


def test_a_listing_is_sorted_in_parts_and_knows_what_is_double(tmp_path, monkeypatch):
    names = [f"{i * 7 % 50:02d}" for i in range(50)] + ["07", "07"]
    utterances = [Utterance(n, f"{i}.wav", f" {n}\n!") for i, n in enumerate(names)]
    whole = Listing.write(tmp_path / "whole", utterances, 10)
    monkeypatch.setattr(listing_module, "_PART", 8)
    parts = Listing.write(tmp_path / "parts", reversed(utterances), 10)
    assert parts.digest == whole.digest
    assert [entry.id for entry in parts] == sorted(names)
    assert [entry.copy for entry in parts if entry.id == "07"] == [0, 1, 2]
    shards = [parts.shard(i) for i in range(parts.num_shards)]
    assert [len(shard) for shard in shards] == [10] * 5 + [2]
    assert sum(shards, []) == list(parts)
    assert shards[0][0].text == "00 !"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]
