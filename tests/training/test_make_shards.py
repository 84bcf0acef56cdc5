"""Making shards: the same whoever makes them, bad utterances told, nothing twice."""

import errno
import re
import sys

import corpora
import deadly_aligner
import numpy as np
import pytest

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.even import EvenAligner
from ssr_plugin.cli import main as ssr
from ssr_plugin.data import shards
from ssr_plugin.data.audio import read_audio
from ssr_plugin.data.kaldi import KaldiFolder
from ssr_plugin.data.librispeech import LibriSpeech
from ssr_plugin.data.prepare import prepare, read_manifest
from ssr_plugin.problems import TooManyProblems
from ssr_plugin.training import make_shards
from ssr_plugin.training.make_shards import prepare_shards

SPLITS = (["train*"], ["dev*"], ["test*"])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, make_librispeech):
    folder = tmp_path_factory.mktemp("corpus")
    return make_librispeech(
        folder, {"train-a": "12", "dev": "3"}, utterances=5, seconds=1.0
    )


def make(corpus, folder, aligner=None, splits=SPLITS, **options):
    options = {"shard_size": 4, "num_workers": 0, **options}
    return prepare_shards(
        LibriSpeech(corpus), folder, aligner or EvenAligner(), *splits, **options
    )


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def count_shards(monkeypatch):
    """Names of the shards that are written from now on."""
    written = []

    def write(folder, name, *arguments):
        written.append(f"{folder.name}/{name}")
        return original(folder, name, *arguments)

    original = shards.write_shard
    monkeypatch.setattr(shards, "write_shard", write)
    return written


def test_shards_hold_what_the_manifests_of_the_corpus_hold(corpus, tmp_path):
    made = make(corpus, tmp_path / "shards")
    manifests = prepare(LibriSpeech(corpus), tmp_path / "save", *SPLITS)
    for name, path in (("train", manifests.train), ("valid", manifests.valid)):
        split, rows = made[name], read_manifest(path)
        records = [split.record(number) for number in range(len(split))]
        assert [record["id"] for record in records] == list(rows)
        for number, (record, row) in enumerate(
            zip(records, rows.values(), strict=True)
        ):
            assert record["text"] == row["wrd"]
            assert record["speaker"] == row["spk_id"]
            assert record["duration"] == row["duration"]
            with open(row["wav"], "rb") as file:
                assert split.audio(number, record).read_bytes() == file.read()
    assert made["train"].sizes.tolist() == [4, 4, 2]


def test_who_is_held_out_is_who_a_folder_holds_out(corpus, tmp_path):
    splits = (["train*", "dev"],)
    for seed, fold in ((1, None), (2, None), (1, "2/3")):
        options = {"seed": seed, "valid_share": 0.3, "valid_fold": fold}
        made = make(corpus, tmp_path / f"{seed}{fold}"[:2], splits=splits, **options)
        manifests = prepare(LibriSpeech(corpus), tmp_path / "save", *splits, **options)
        held = [made["valid"].record(i)["id"] for i in range(len(made["valid"]))]
        assert held == list(read_manifest(manifests.valid))


def test_shares_make_what_one_call_makes(corpus, tmp_path, monkeypatch):
    make(corpus, tmp_path / "whole")
    assert make(corpus, tmp_path / "shares", shard="2/2") is None
    assert not shards.is_shard_folder(tmp_path / "shares")
    make(corpus, tmp_path / "shares", shard="1/2")
    written = count_shards(monkeypatch)
    make(corpus, tmp_path / "shares")
    assert written == []
    monkeypatch.undo()
    assert contents(tmp_path / "shares") == contents(tmp_path / "whole")


def test_a_call_goes_on_where_the_one_before_was_stopped(corpus, tmp_path, monkeypatch):
    whole = contents(make(corpus, tmp_path / "whole").folder)
    original = shards.write_shard

    def write(folder, name, samples, made_of):
        if folder.name == "train" and name == "000001":
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(folder, name, samples, made_of)

    monkeypatch.setattr(shards, "write_shard", write)
    folder = tmp_path / "shards"
    told = r"the disk is full: shard .*train.000001\.tar was not written"
    with pytest.raises(OSError, match=told):
        make(corpus, folder)
    assert not shards.is_shard_folder(folder)
    monkeypatch.undo()
    written = count_shards(monkeypatch)
    make(corpus, folder)
    assert written == ["train/000001", "train/000002", "valid/000000", "valid/000001"]
    assert contents(folder) == whole


def test_only_what_changed_is_made_again_and_what_is_too_much_goes(
    tmp_path, make_librispeech, write_audio, monkeypatch
):
    root = make_librispeech(
        tmp_path, {"train-a": "12", "dev": "3"}, utterances=4, seconds=1.0
    )
    folder = tmp_path / "shards"
    make(root, folder)
    write_audio(root / "train-a" / "2" / "100" / "2-100-0001.flac", 1.2)
    (folder / "valid" / "000000.tar").write_bytes(b"")
    written = count_shards(monkeypatch)
    made = make(root, folder)
    assert written == ["train/000001", "valid/000000"]
    assert made["train"].durations.tolist() == [1.0] * 5 + [1.2] + [1.0] * 2
    # Larger shards are fewer.
    assert make(root, folder, shard_size=100)["train"].names == ["000000"]


def test_bad_utterances_are_named_and_counted_over_all_shards(
    tmp_path, make_librispeech
):
    root = make_librispeech(
        tmp_path, {"train-a": "12", "dev": "3"}, utterances=5, seconds=1.0
    )
    (root / "train-a" / "1" / "100" / "1-100-0001.flac").write_bytes(b"no audio")
    (root / "train-a" / "2" / "100" / "2-100-0003.flac").unlink()
    double = root / "train-a" / "2" / "101"
    double.mkdir()
    (double / "2-100-0000.flac").write_bytes(
        (root / "train-a" / "2" / "100" / "2-100-0000.flac").read_bytes()
    )
    (double / "2-101.trans.txt").write_text("2-100-0000 HELLO\n")
    trans = root / "train-a" / "1" / "100" / "1-100.trans.txt"
    (line,) = re.findall("1-100-0003 .*", trans.read_text())
    trans.write_text(trans.read_text().replace(line, f"{line} {40 * 'A '}"))
    folder = tmp_path / "shards"
    with pytest.raises(TooManyProblems, match="4 of 11 utterances are bad"):
        make(root, folder)
    assert not shards.is_shard_folder(folder)
    lax = {"max_skipped_share": 0.4}
    made = make(root, folder, **lax)
    assert (len(made["train"]), made["train"].skipped) == (7, 4)
    reasons = {(split, name): reason for split, name, reason in made.skipped()}
    assert reasons.keys() == {
        ("train", "1-100-0001"),
        ("train", "2-100-0000 (copy 2)"),
        ("train", "2-100-0003"),
        ("train", "1-100-0003"),
    }
    # As training from files tells it.
    rows = read_manifest(
        prepare(LibriSpeech(root), tmp_path / "m", *SPLITS, **lax).train
    )
    items = [AlignmentItem(name, row["wav"], row["wrd"]) for name, row in rows.items()]
    _, problems = align(items, EvenAligner(), tmp_path / "cache", max_skipped_share=1)
    assert problems.reasons == {"1-100-0003": reasons["train", "1-100-0003"]}
    assert "are more than anybody can say" in problems.reasons["1-100-0003"]
    assert "cannot read" in reasons["train", "1-100-0001"]
    assert "duplicate id" in reasons["train", "2-100-0000 (copy 2)"]
    assert "missing audio" in reasons["train", "2-100-0003"]


def test_another_process_makes_what_a_killed_one_was_at(corpus, tmp_path):
    (tmp_path / "deadly").touch()
    aligner = deadly_aligner.DeadlyAligner(tmp_path / "deadly", "2-100-0000")
    make(corpus, tmp_path / "killed", aligner, num_workers=2, shard_size=10)
    assert not (tmp_path / "deadly").exists()
    make(corpus, tmp_path / "whole", shard_size=10)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_ray_replaces_a_killed_worker_and_makes_what_one_process_makes(
    corpus, tmp_path
):
    ray = pytest.importorskip("ray", reason="needs ray: pip install ssr-plugin[ray]")
    # Its workers cannot import files of tests.
    ray.cloudpickle.register_pickle_by_value(deadly_aligner)
    (tmp_path / "deadly").touch()
    aligner = deadly_aligner.DeadlyAligner(tmp_path / "deadly", "2-100-0000")
    options = {"num_workers": 2, "ray_address": "local"}
    make(corpus, tmp_path / "ray", aligner, **options)
    assert not (tmp_path / "deadly").exists()
    make(corpus, tmp_path / "whole")
    assert contents(tmp_path / "ray") == contents(tmp_path / "whole")


def test_without_ray_the_error_says_what_to_install(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'ssr-plugin\[ray\]'"):
        make(corpus, tmp_path, ray_address="local")


def test_shards_keep_frames_in_8_bits(
    corpus, tmp_path, tiny_encoder_folder, monkeypatch
):
    loads, load = [], make_shards.Frames.load

    def count(frames):
        loads.append(frames.cache_dtype)
        return load(frames)

    monkeypatch.setattr(make_shards.Frames, "load", count)
    words = ["prepare", str(corpus), str(tmp_path / "out"), "--aligner", "even"]
    words += ["--num-workers", "0", "--no-audio", "--frames", str(tiny_encoder_folder)]
    assert ssr(words) == 0
    whole = shards.Shards(tmp_path / "out")["train"]
    frames = [whole.frames(number) for number in range(len(whole))]
    index = tmp_path / "out" / "train" / "000000.index.npy"
    size = np.load(index)["frames_size"].sum()
    # They are made anew.
    assert ssr([*words, "--cache-dtype", "int8"]) == 0
    # Once in each call, whatever there is to make.
    assert loads == ["float16", "int8"]
    small = shards.Shards(tmp_path / "out")["train"]
    for number, expected in enumerate(frames):
        found = small.frames(number)
        assert found.dtype == np.float16 and small.num_frames(number) == len(found)
        allowed = 0.51 * np.abs(expected).max(0) / 127 + 1e-3
        assert (np.abs(found - expected) <= allowed).all()
    # The frames are few: headers, and scales as large as two frames, count.
    assert np.load(index)["frames_size"].sum() < 0.75 * size
    with pytest.raises(SystemExit, match="cache_dtype: 'int4' is unknown"):
        ssr([*words, "--cache-dtype", "int4"])


def test_ssr_prepare_makes_shards_and_says_what_is_in_them(corpus, tmp_path, capsys):
    words = ["prepare", str(corpus), str(tmp_path / "out"), "--aligner", "even"]
    assert ssr([*words, "--num-workers", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("train: 10 utterances, 0.00 h, 1 shards; 0 skipped")
    with pytest.raises(SystemExit, match="neither audio nor frames"):
        ssr([*words, "--no-audio"])
    with pytest.raises(SystemExit, match="shard '3/2' is not of the form k/n"):
        ssr([*words, "--shard", "3/2"])


def test_utterances_that_are_parts_of_long_recordings_are_cut_into_shards(tmp_path):
    folder = corpora.make_kaldi(tmp_path)
    with open(folder / "train" / "segments", "a") as file:
        file.write("u4 rec1 no times\n")
    options = {"num_workers": 0, "max_skipped_share": 0.5}
    splits = (["train"], ["test"])
    made = prepare_shards(
        KaldiFolder(folder), tmp_path / "shards", EvenAligner(), *splits, **options
    )
    split = made["train"]
    records = [split.record(number) for number in range(len(split))]
    found = {one["id"]: split.audio(n, one) for n, one in enumerate(records)}
    assert sorted(found) == ["u1", "u2", "u3"]
    rows = {one.id: one.wav for one in KaldiFolder(folder).utterances("train")}
    for name, stored in found.items():
        assert stored.name == f"{name}.flac"
        assert read_audio(stored, 16000).allclose(
            read_audio(rows[name], 16000), atol=2**-15
        )
    skipped = (tmp_path / "shards" / "skipped.jsonl").read_text()
    assert "segments, line 4: 'no times' are no times" in skipped
