"""The recipes' data sets: each reads its own layout, and shares everything else."""

import os
import pathlib
import subprocess
import sys

import corpora
import pytest
import soundfile

from ssr_plugin.data.prepare import prepare, read_manifest
from ssr_plugin.data.prepare_cli import prepare_command
from ssr_plugin.data.voxpopuli import VoxPopuli

RECIPES = pathlib.Path(__file__).parents[1] / "recipes"


def load(recipe):
    """The names that a recipe's prepare.py defines."""
    path = RECIPES / recipe / "prepare.py"
    names = {"__name__": f"{recipe}_prepare"}
    exec(compile(path.read_text(), path, "exec"), names)
    return names


def run(recipe, *arguments):
    command = [sys.executable, RECIPES / recipe / "prepare.py", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


SPLITS = {"train-clean-5": ["19", "26", "32"], "dev-x": ["40"], "test-other": ["50"]}


@pytest.fixture
def librispeech(tmp_path, make_librispeech):
    return make_librispeech(tmp_path, SPLITS, chapters=2, utterances=2, seconds=0.1)


def test_librispeech_is_read_from_its_folder_or_the_parent(librispeech, tmp_path):
    dataset_class = load("librispeech")["LibriSpeech"]
    for folder in (librispeech, librispeech.parent):
        dataset = dataset_class(folder)
        assert dataset.splits() == sorted(SPLITS)
        first, *_ = utterances = list(dataset.utterances("train-clean-5"))
        assert len(utterances) == 12
        assert first.id == "19-100-0000" and first.speaker == "19"
        assert first.text == first.text.upper() and len(first.text.split()) >= 3
    manifests = prepare(dataset, tmp_path / "save", ["train*"], ["dev*"], ["test*"])
    assert len(read_manifest(manifests.train)) == 12
    assert list(manifests.tests) == ["test-other"]


@pytest.mark.parametrize("suffix", [".wav", ".ogg", ".mp3"])
def test_librispeech_may_be_of_any_audio_type(tmp_path, make_librispeech, suffix):
    folder = make_librispeech(tmp_path, {"train": ["1", "2"]}, suffix=suffix)
    manifests = prepare(load("librispeech")["LibriSpeech"](folder), tmp_path, ["train"])
    assert len(read_manifest(manifests.train)) == 3


def test_librispeech_with_either_half_missing_is_told(librispeech, tmp_path):
    chapter = librispeech / "train-clean-5" / "26" / "101"
    (chapter / "26-101.trans.txt").write_text("26-101-0001\n26-101-0002 NO AUDIO\n")
    dataset = load("librispeech")["LibriSpeech"](librispeech)
    save = tmp_path / "save"
    manifests = prepare(dataset, save, ["train*"], max_skipped_share=0.3)
    reasons = manifests.skipped["train"]
    assert reasons["26-101-0000"].startswith("missing transcript")
    assert reasons["26-101-0001"].startswith("empty transcript")
    assert reasons["26-101-0002"].startswith("missing audio")


@pytest.fixture
def ljspeech(tmp_path, write_audio):
    folder = tmp_path / "LJSpeech-1.1"
    rows = []
    for name in ("LJ001-0001", "LJ001-0002", "LJ002-0001", "LJ050-0001"):
        write_audio(folder / "wavs" / f"{name}.wav", 0.1, sample_rate=22050)
        rows.append(f'{name}|He said "1455|He said "fourteen fifty-five\n')
    (folder / "metadata.csv").write_text("".join(rows))
    return folder


def test_ljspeech_gives_the_normalised_text_and_its_last_chapter_as_test(
    ljspeech, tmp_path
):
    dataset_class = load("ljspeech")["LJSpeech"]
    assert dataset_class(tmp_path).splits() == ["test", "train"]
    dataset = dataset_class(ljspeech)
    manifests = prepare(dataset, tmp_path / "save", ["train*"], (), ["test*"])
    test = read_manifest(manifests.tests["test"])
    assert list(test) == ["LJ050-0001"]
    assert test["LJ050-0001"]["wrd"] == 'He said "fourteen fifty-five'
    assert test["LJ050-0001"]["spk_id"] == "LJ"
    both = read_manifest(manifests.train) | read_manifest(manifests.valid)
    assert sorted(both) == ["LJ001-0001", "LJ001-0002", "LJ002-0001"]
    assert len(read_manifest(manifests.valid)) == 1


def test_ljspeech_with_either_half_missing_is_told(ljspeech, tmp_path, write_audio):
    write_audio(ljspeech / "wavs" / "LJ003-0001.wav", 0.1)
    (ljspeech / "wavs" / "LJ001-0001.wav").unlink()
    dataset = load("ljspeech")["LJSpeech"](ljspeech)
    save = tmp_path / "save"
    reasons = prepare(dataset, save, ["train"], max_skipped_share=0.5).skipped["train"]
    assert reasons["LJ003-0001"].startswith("missing transcript")
    assert reasons["LJ001-0001"].startswith("missing audio")


@pytest.mark.parametrize("recipe", ["librispeech", "ljspeech"])
def test_an_id_with_two_transcripts_keeps_the_first_and_the_other_is_told(
    recipe, tmp_path, librispeech, ljspeech
):
    if recipe == "librispeech":
        folder, name = librispeech, "19-100-0000"
        path = librispeech / "train-clean-5" / "19" / "100" / "19-100.trans.txt"
        path.write_text(f"{name} FIRST\n{name} SECOND\n" + path.read_text())
    else:
        folder, name = ljspeech, "LJ001-0001"
        path = ljspeech / "metadata.csv"
        path.write_text(f"{name}|x|FIRST\n{name}|x|SECOND\n" + path.read_text())
    dataset = {"librispeech": "LibriSpeech", "ljspeech": "LJSpeech"}[recipe]
    manifests = prepare(
        load(recipe)[dataset](folder), tmp_path / "s", "train*", max_skipped_share=0.5
    )
    rows = read_manifest(manifests.train) | read_manifest(manifests.valid)
    assert rows[name]["wrd"] == "FIRST"
    reasons = manifests.skipped["train"]
    assert reasons[f"{name} (copy 2)"].startswith("duplicate id")


def test_another_folder_than_ljspeech_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_folder: no metadata\.csv in"):
        load("ljspeech")["LJSpeech"](tmp_path)


def test_the_template_reads_recordings_with_a_text_file(tmp_path, write_audio):
    folder = tmp_path / "in"
    for name in ("a1", "a2", "a3"):
        write_audio(folder / f"{name}.wav", 0.1)
    lines = ["a1.wav\tgood morning", "a2.wav\tgood evening", "a3.wav good night"]
    (folder / "train.txt").write_text("\n".join(lines))
    dataset = load("template")["MyDataSet"](folder)
    save = tmp_path / "save"
    manifests = prepare(dataset, save, ["train"], max_skipped_share=0.5)
    rows = read_manifest(manifests.train) | read_manifest(manifests.valid)
    assert {name: row["wrd"] for name, row in rows.items()} == {
        "a1": "good morning",
        "a2": "good evening",
    }
    assert list(manifests.skipped["train"]) == ["train.txt, line 3"]


def test_a_recipe_prepares_from_the_command_line(librispeech, tmp_path):
    done = run("librispeech", librispeech, tmp_path / "save")
    assert done.returncode == 0, done.stderr
    assert "train.csv: 12 utterances, 0.00 h" in done.stdout
    assert "test-other.csv: 4 utterances" in done.stdout
    assert "skipped: 0" in done.stdout


def test_a_recipe_takes_options_of_its_data_set_and_names_a_wrong_one(tmp_path):
    corpora.make_voxpopuli(tmp_path)
    save, option = tmp_path / "save", ("--option", "text=raw")
    prepare_command(
        VoxPopuli, [str(tmp_path), str(save), *option, "--valid_share", "0.5"]
    )
    texts = read_manifest(save / "train.csv") | read_manifest(save / "valid.csv")
    assert all("ist voll!" in row["wrd"] for row in texts.values())
    with pytest.raises(SystemExit, match="no option 'txt'; known: language, text"):
        prepare_command(VoxPopuli, [str(tmp_path), str(save), "--option", "txt=raw"])
    with pytest.raises(SystemExit, match="--option 'raw' is not of the form KEY=VAL"):
        prepare_command(VoxPopuli, [str(tmp_path), str(save), "--option", "raw"])


def test_the_command_line_tells_what_is_wrong_without_a_traceback(tmp_path):
    soundfile.write(tmp_path / "a.wav", [0.0], 16000)
    done = run("librispeech", tmp_path, tmp_path / "save")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: train_splits: ")
    assert "Traceback" not in done.stderr


def test_every_recipe_trains_through_the_shared_main():
    scripts = sorted(RECIPES.glob("*/train.py"))
    assert len(scripts) == 7
    for script in scripts:
        train = script.read_text()
        assert "from ssr_plugin.training.run_training import main" in train
        assert len(train.splitlines()) < 15
