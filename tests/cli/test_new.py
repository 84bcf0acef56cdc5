"""``ssr new``: a recipe of one's own, and the way from recordings to a transcript."""

import json
import pathlib
import runpy
import shutil

import numpy as np
import pytest
import soundfile

from ssr_plugin import shipped
from ssr_plugin.cli import main as ssr
from ssr_plugin.data.prepare import prepare, read_manifest
from ssr_plugin.hparams import plain_keys, read_yaml

import runs

SAMPLE = shipped.folder() / "recipes" / "sample" / "corpus"


def new(*words):
    ssr(["new", *map(str, words)])


@pytest.fixture
def twenty(tmp_path):
    """Twenty recordings, with a text file that says what is said in each."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    lines = []
    for path in sorted((SAMPLE / "train-sample").glob("1[12]/*/*.trans.txt")):
        for line in path.read_text().splitlines()[:10]:
            name, text = line.split(maxsplit=1)
            shutil.copy(path.parent / f"{name}.opus", folder)
            lines.append(f"{name}.opus\t{text.lower()}\n")
    assert len(lines) == 20
    # The last is a part of a long recording.
    wav, rate = soundfile.read(folder / f"{name}.opus")
    soundfile.write(folder / "long.flac", np.concatenate([wav, wav]), rate)
    times = f"{len(wav) / rate:.4f},{2 * len(wav) / rate:.4f}"
    lines[-1] = f"long.flac#t={times}\t{text.lower()}\n"
    (folder / "train.txt").write_text("".join(lines))
    return folder


def test_new_writes_a_recipe_and_says_what_to_edit(tmp_path, twenty, capsys):
    folder = tmp_path / "my birds"
    new(folder, "--data", twenty)
    assert sorted(x.name for x in folder.iterdir()) == [
        "prepare.py",
        "train.py",
        "train.yaml",
    ]
    said = capsys.readouterr().out
    for words in ("train.txt is there", "prepare.py", "train.yaml", "ssr transcribe"):
        assert words in said
    assert f"python '{folder}'/train.py" in said
    keys = plain_keys(read_yaml(folder / "train.yaml"))
    assert keys["data_folder"] == str(twenty)
    assert keys["output_folder"] == "results/my birds"
    assert "import MyBirds\n" in (folder / "train.py").read_text()
    for path in folder.iterdir():
        assert "template" not in path.read_text()


def test_new_names_where_recordings_are_to_be_put(tmp_path, capsys):
    new(tmp_path / "mine")
    assert f"Put your recordings into {tmp_path}/mine/data" in capsys.readouterr().out


def test_new_overwrites_nothing(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(SystemExit, match="mine' is there already: name a new folder"):
        new(tmp_path / "mine")


def test_the_recipe_names_bad_lines_of_the_text_file_and_reads_the_rest(
    tmp_path, twenty
):
    new(tmp_path / "mine", "--data", twenty)
    with open(twenty / "train.txt", "a") as file:
        file.write("no_tab.wav good morning\ngone.wav\tgood night\n")
    dataset = runpy.run_path(str(tmp_path / "mine" / "prepare.py"))["Mine"](twenty)
    made = prepare(dataset, tmp_path / "save", ["train"], max_skipped_share=0.2)
    assert len(read_manifest(made.train) | read_manifest(made.valid)) == 20
    reasons = made.skipped["train"]
    assert reasons["train.txt, line 21"].endswith("no tab between file and text")
    assert reasons["gone"].startswith("missing audio")


@pytest.mark.slow
def test_twenty_recordings_and_a_text_file_come_to_a_transcript_of_ones_own_file(
    tmp_path, twenty, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    new("mydata", "--data", twenty)
    argv = ["mydata/train.yaml", "--number_of_epochs", "1", "--num_workers", "0"]
    argv += ["--segmenter", "fixed", "--score_with_llm", "False"]
    runs.run(tmp_path / "mydata", argv)
    manifests = pathlib.Path("results/mydata/manifests")
    rows = [read_manifest(manifests / f"{name}.csv") for name in ("train", "valid")]
    assert sum(map(len, rows)) == 20
    skipped = json.loads(pathlib.Path("results/mydata/skipped.json").read_text())
    assert not any(skipped.values())
    own = SAMPLE / "test-sample" / "21" / "2101" / "21-2101-0000.opus"
    capsys.readouterr()
    ssr(["transcribe", "--model", "results/mydata", str(own), "--times"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines and all(len(line.split("\t")) == 3 for line in lines)
