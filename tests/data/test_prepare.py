"""Preparation: the same files each time, quick when nothing changed, bad input told."""

import json
import os
import pathlib
import re
import shutil

import pytest

import ssr_plugin.data.prepare as module
from ssr_plugin.data.datasets import DataSet, Utterance
from ssr_plugin.data.extra_train import ExtraTrain
from ssr_plugin.data.prepare import prepare, read_manifest
from ssr_plugin.problems import TooManyProblems

CORPUS = {
    "train-a": {"anna": 4, "bert": 4, "cleo": 4},
    "train-b": {"dora": 4, "emil": 4},
    "dev": {"fritz": 3},
    "test-1": {"gina": 3},
    "test-2": {"hans": 3},
}


class Folders(DataSet):
    """split/speaker/utterance.wav, with a .txt beside it."""

    def utterances(self, split):
        for wav in (self.folder / split).glob("*/*.wav"):
            txt = wav.with_suffix(".txt")
            text = txt.read_text() if txt.exists() else None
            yield Utterance(wav.stem, str(wav), text, wav.parent.name)


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory, write_audio):
    root = tmp_path_factory.mktemp("corpus")
    for split, speakers in CORPUS.items():
        for speaker, count in speakers.items():
            for index in range(count):
                wav = root / split / speaker / f"{speaker}-{index}.wav"
                write_audio(wav, seconds=0.1 + 0.01 * index)
                wav.with_suffix(".txt").write_text(f"{speaker} says\n {index} ")
    return root


@pytest.fixture
def corpus(corpus_folder, tmp_path):
    return Folders(shutil.copytree(corpus_folder, tmp_path / "corpus"))


@pytest.fixture
def save(tmp_path):
    return tmp_path / "save"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def speakers(path):
    return {row["spk_id"] for row in read_manifest(path).values()}


def test_manifests_hold_what_was_asked_for(corpus, save):
    manifests = prepare(corpus, save, ["train-*"], ["dev"], ["test-*"])
    train = read_manifest(manifests.train)
    assert len(train) == 20 and list(train) == sorted(train)
    wav = corpus.folder / "train-b" / "dora" / "dora-2.wav"
    assert train["dora-2"] == {
        "duration": 0.12,
        "wav": str(wav),
        "spk_id": "dora",
        "wrd": "dora says 2",
    }
    assert speakers(manifests.valid) == {"fritz"}
    assert list(manifests.tests) == ["test-1", "test-2"]
    assert speakers(manifests.tests["test-2"]) == {"hans"}
    assert manifests.skipped == {"train": {}, "valid": {}, "test-1": {}, "test-2": {}}


def test_data_sets_beside_it_are_trained_on_and_never_held_out(corpus, save):
    extra = [ExtraTrain(corpus, ["test-1"])]
    alone = prepare(corpus, save, ["train-a"], valid_share=0.4)
    held_out = speakers(alone.valid)
    manifests = prepare(corpus, save, ["train-a"], valid_share=0.4, extra_train=extra)
    assert speakers(manifests.valid) == held_out
    assert speakers(manifests.train) == {"anna", "bert", "cleo", "gina"} - held_out
    before = contents(save)
    prepare(corpus, save, ["train-a"], valid_share=0.4, extra_train=extra)
    assert contents(save) == before
    (corpus.folder / "test-1" / "gina" / "gina-1.wav").write_bytes(b"")
    changed = prepare(
        corpus,
        save,
        ["train-a"],
        valid_share=0.4,
        extra_train=extra,
        max_skipped_share=0.5,
    )
    assert "empty audio" in changed.skipped["train"]["gina-1"]


def test_an_id_that_a_data_set_beside_it_has_too_is_named(corpus, save):
    again = [ExtraTrain(corpus, ["train-a"])]
    manifests = prepare(
        corpus, save, ["train-a"], extra_train=again, max_skipped_share=0.5
    )
    assert "duplicate id" in manifests.skipped["train"]["anna-1 (copy 2)"]
    assert len(read_manifest(manifests.train)) + len(
        read_manifest(manifests.valid)
    ) == sum(CORPUS["train-a"].values())


def test_any_number_of_workers_gives_the_same_files(corpus, save, tmp_path):
    prepare(corpus, save, ["train-*"], num_workers=1)
    prepare(corpus, tmp_path / "again", ["train-b", "train-a"], num_workers=7)
    for name in ("train.csv", "valid.csv"):
        assert (save / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_prepare_holds_out_whole_speakers_by_seed(corpus, save):
    all_held_out = set()
    for seed in range(8):
        manifests = prepare(corpus, save, "train-*", ["valid*", ""], seed=seed)
        held_out = speakers(manifests.valid)
        assert len(held_out) == 1
        assert speakers(manifests.train) | held_out == {
            *CORPUS["train-a"],
            "dora",
            "emil",
        }
        assert not speakers(manifests.train) & held_out
        all_held_out |= held_out
    assert len(all_held_out) > 1


def test_prepare_holds_out_utterances_of_a_single_speaker_and_logs_it(
    corpus, save, caplog
):
    manifests = prepare(corpus, save, ["dev"], valid_share=0.3)
    assert len(read_manifest(manifests.valid)) == 1
    assert len(read_manifest(manifests.train)) == 2
    assert "all training data are of one speaker (fritz): utterances" in caplog.text


def test_folds_hold_out_each_speaker_once_whatever_the_seed(corpus, save):
    folds = []
    for k in range(1, 4):
        manifests = prepare(corpus, save, "train-*", seed=k, valid_fold=f"{k}/3")
        folds.append(speakers(manifests.valid))
        assert not speakers(manifests.train) & folds[-1]
        before = contents(save)
        prepare(corpus, save, "train-*", seed=9, valid_share=0.5, valid_fold=f"{k}/3")
        assert contents(save) == before
    everyone = {*CORPUS["train-a"], "dora", "emil"}
    assert set.union(*folds) == everyone and sum(map(len, folds)) == len(everyone)


def test_a_fold_beside_a_validation_split_or_of_too_few_speakers_is_refused(
    corpus, save
):
    with pytest.raises(ValueError, match="valid_fold: .* valid_splits finds dev: give"):
        prepare(corpus, save, "train-*", ["dev"], valid_fold="1/3")
    with pytest.raises(ValueError, match="valid_fold: .* has 1 speaker$"):
        prepare(corpus, save, "dev", valid_fold="1/3")
    with pytest.raises(ValueError, match="valid_fold: '4/3' is none of 1/3 to 3/3"):
        prepare(corpus, save, "train-*", valid_fold="4/3")
    assert not save.exists()


def test_a_second_preparation_reads_no_header_and_writes_nothing(
    corpus, save, monkeypatch
):
    (corpus.folder / "train-a" / "anna" / "anna-1.txt").unlink()
    options = {"max_skipped_share": 0.1}
    first = prepare(corpus, save, ["train-*"], **options)
    times = {path: path.stat().st_mtime_ns for path in save.iterdir()}
    monkeypatch.setattr(module, "audio_duration", None)
    assert prepare(corpus, save, ["train-*"], **options) == first
    assert "missing transcript" in first.skipped["train"]["anna-1"]
    assert {path: path.stat().st_mtime_ns for path in save.iterdir()} == times


@pytest.mark.parametrize("change", ["audio", "text", "new", "gone", "edited", "seed"])
def test_prepare_notices_any_change(corpus, save, write_audio, change):
    prepare(corpus, save, ["train-*"], ["dev"])
    before = contents(save)
    wav = corpus.folder / "train-a" / "anna" / "anna-1.wav"
    seed = 1234
    if change == "audio":
        write_audio(wav, seconds=0.3)
    elif change == "text":
        wav.with_suffix(".txt").write_text("something else")
    elif change == "new":
        write_audio(wav.with_name("anna-9.wav")).with_suffix(".txt").write_text("new")
    elif change == "gone":
        wav.unlink()
    elif change == "edited":
        (save / "train.csv").write_text("")
    elif change == "seed":
        seed = 1235
    prepare(corpus, save, ["train-*"], ["dev"], seed=seed)
    after = contents(save)
    if change == "edited":
        assert after == before
    else:
        assert after["prepare.json"] != before["prepare.json"]
        assert (after["train.csv"] == before["train.csv"]) == (change == "seed")


def test_a_preparation_that_dies_before_the_end_is_repeated(corpus, save, monkeypatch):
    def die(path, rows):
        if path.name == "valid.csv":
            raise KeyboardInterrupt
        write(path, rows)

    write = module.write_manifest
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            prepare(corpus, save, ["train-*"], ["dev"])
    manifests = prepare(corpus, save, ["train-*"], ["dev"])
    assert len(read_manifest(manifests.valid)) == 3


def spoil(corpus, write_audio):
    """One of each kind of bad utterance; 20 training utterances stay, 2 are new."""
    anna = corpus.folder / "train-a" / "anna"
    (anna / "anna-0.txt").unlink()
    (anna / "anna-1.txt").write_text(" \n")
    (anna / "anna-2.wav").write_bytes(b"RIFF, or so it seems")
    (anna / "anna-3.wav").write_bytes(b"")
    (corpus.folder / "train-a" / "cleo" / "cleo-0.wav").unlink()
    (corpus.folder / "train-a" / "cleo" / "cleo-0.wav").symlink_to("nowhere")
    copy = write_audio(corpus.folder / "train-b" / "dora" / "bert-0.wav", 0.2)
    copy.with_suffix(".txt").write_text("twice")
    hollow = write_audio(corpus.folder / "train-b" / "dora" / "hollow.wav", 0)
    hollow.with_suffix(".txt").write_text("nothing")


def test_a_name_that_is_not_utf8_is_told_and_others_are_prepared(
    corpus, save, write_audio
):
    folder = os.fsencode(corpus.folder / "train-b" / "dora")
    try:
        path = pathlib.Path(os.fsdecode(folder + b"/caf\xe9.wav"))
        write_audio(path.parent / "cafe.wav", 0.2).rename(path)
        path.with_suffix(".txt").write_text("coffee")
    except OSError:
        pytest.skip("this file system has no such names")
    manifests = prepare(corpus, save, ["train-*"], ["dev"], max_skipped_share=0.2)
    (reason,) = manifests.skipped["train"].values()
    assert re.search(r"not UTF-8, .* rename .*dora/caf\\udce9\.wav", reason)
    assert read_manifest(manifests.train)


REASONS = {
    "anna-0": "missing transcript for .*anna-0.wav",
    "anna-1": "empty transcript for .*anna-1.wav",
    "anna-2": "cannot read .*anna-2.wav",
    "anna-3": "empty audio: .*anna-3.wav",
    "bert-0 (copy 2)": "duplicate id, in .*dora/bert-0.wav once more",
    "cleo-0": "missing audio: no file .*cleo-0.wav",
    "hollow": "empty audio: .*hollow.wav",
}


def test_bad_utterances_are_named_and_skipped_up_to_the_share(
    corpus, save, write_audio, caplog
):
    spoil(corpus, write_audio)
    manifests = prepare(corpus, save, ["train-*"], ["dev"], max_skipped_share=7 / 22)
    skipped = manifests.skipped["train"]
    assert list(skipped) == sorted(REASONS)
    for name, reason in REASONS.items():
        assert re.match(reason, skipped[name])
        assert f"preparing train: skipped {name}: {skipped[name]}" in caplog.text
    train = read_manifest(manifests.train)
    assert len(train) == 15 and train["bert-0"]["spk_id"] == "bert"
    assert (
        json.loads((save / "prepare.json").read_text())["skipped"]["train"] == skipped
    )


def test_too_many_bad_utterances_stop_the_run_each_time_and_are_named(
    corpus, save, write_audio, monkeypatch
):
    spoil(corpus, write_audio)
    message = (
        r"(?s)preparing train: 7 of 22 utterances are bad \(31.8 %\), more than the "
        r"20.0 % allowed \(max_skipped_share\).*\n  anna-0: missing transcript"
    )
    with pytest.raises(TooManyProblems, match=message):
        prepare(corpus, save, ["train-*"], max_skipped_share=0.2)
    # What was read is kept: neither a second stop nor going on reads it again.
    monkeypatch.setattr(module, "audio_duration", None)
    with pytest.raises(TooManyProblems, match=message):
        prepare(corpus, save, ["train-*"], max_skipped_share=0.2)
    manifests = prepare(corpus, save, ["train-*"], max_skipped_share=0.4)
    assert len(manifests.skipped["train"]) == 7


def test_max_skipped_share_holds_for_each_manifest(corpus, save):
    (corpus.folder / "test-1" / "gina" / "gina-0.txt").unlink()
    with pytest.raises(TooManyProblems, match="preparing test-1: 1 of 3"):
        prepare(corpus, save, ["train-*"], ["dev"], ["test-*"], max_skipped_share=0.2)


def test_a_manifest_left_empty_is_an_error_at_any_share(corpus, save):
    for txt in (corpus.folder / "dev").glob("*/*.txt"):
        txt.unlink()
    with pytest.raises(ValueError, match=r"no utterance is left for valid\.csv"):
        prepare(corpus, save, ["train-*"], ["dev"], max_skipped_share=1)


ALL = "dev, test-1, test-2, train-a, train-b"


@pytest.mark.parametrize(
    "splits, message",
    [
        (
            (["train-c"],),
            f"train_splits: there is no split 'train-c'; there are: {ALL}",
        ),
        ((["x*"],), f"train_splits: .'x.'. matches none .* there are: {ALL}"),
        (([],), "train_splits: .* matches none"),
        ((["train-a"], ["devel"]), f"valid_splits: there is no split 'devel'.* {ALL}"),
        ((["train-a"], [], ["test"]), "test_splits: there is no split 'test'"),
        ((["*"], ["dev"]), "valid_splits: dev is also in train_splits"),
        (
            (["*"], [], ["test-*"]),
            "test_splits: test-1, test-2 is also in train_splits",
        ),
    ],
)
def test_prepare_refuses_unknown_empty_and_overlapping_splits(
    corpus, save, splits, message
):
    with pytest.raises(ValueError, match=message):
        prepare(corpus, save, *splits)


def test_validation_data_may_be_tested_on_too(corpus, save):
    manifests = prepare(corpus, save, "train-a,train-b", ["dev"], ["dev"])
    assert manifests.tests["dev"].read_text() == manifests.valid.read_text()


@pytest.mark.parametrize("valid", [[], ["dev"]])
def test_a_test_split_never_overwrites_another_manifest(corpus, save, valid):
    (corpus.folder / "test-1").rename(corpus.folder / "valid")
    with pytest.raises(ValueError, match=r"'valid' would overwrite .* valid\.csv"):
        prepare(corpus, save, ["train-*"], valid, ["valid"])


def test_an_empty_split_and_the_data_folder_as_save_folder_are_refused(corpus, save):
    (corpus.folder / "train-c").mkdir()
    with pytest.raises(ValueError, match="no utterance in split 'train-c' of"):
        prepare(corpus, save, ["train-*"])
    with pytest.raises(ValueError, match="save_folder: .* is the data folder"):
        prepare(corpus, corpus.folder, ["train-a"])


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_valid_share_must_be_between_0_and_1(corpus, save, share):
    with pytest.raises(ValueError, match="valid_share: .* is not between 0 and 1"):
        prepare(corpus, save, ["train-a"], valid_share=share)
