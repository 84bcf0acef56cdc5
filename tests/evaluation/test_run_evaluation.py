"""The command: a recipe's evaluate.py, from a model and tasks to a report."""

import base64
import io
import json
import re
import shutil
import sys

import pytest
import soundfile

from ssr_plugin.data.datasets import CSVDataSet
from ssr_plugin.evaluation.run_evaluation import main

import runs


@pytest.fixture
def settings(tmp_path, small_corpus, tiny_speech_lm_folder):
    return {
        "model": tiny_speech_lm_folder,
        "data_folder": small_corpus,
        "output_folder": tmp_path / "run",
        "cache_folder": tmp_path / "cache",
        "test_splits": ["train-a"],
        "aligner": "files",
        "aligner_options": {"files": {"source": str(small_corpus / "words.jsonl")}},
        "task_options": {"continuation": {"min_words": 4}},
    }


@pytest.fixture
def evaluate(monkeypatch):
    monkeypatch.syspath_prepend(str(runs.PROJECT / "recipes" / "librispeech"))
    monkeypatch.delitem(sys.modules, "prepare", raising=False)
    from prepare import LibriSpeech

    def run(settings):
        with runs._restored():
            return main(LibriSpeech, runs.arguments("evaluate", **settings))

    return run


def test_a_report_tells_all(evaluate, settings):
    metrics = evaluate(settings)
    folder = settings["output_folder"]
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    figures = metrics["tasks"]["continuation 4-way"]
    assert figures["columns"]["none"]["accuracy"] == pytest.approx(25.0)
    assert figures["columns"]["forced"]["segments"] == "forced"
    assert figures["columns"]["predicted"]["segments"] == "predicted"
    for key in ("accuracy", "interval"):
        assert figures["columns"]["text"][key] is not None
    # Its segmenter does not say what it hears.
    assert "cascade" not in figures["columns"]
    assert any("no cascade" in note for note in figures["notes"])

    text = (folder / "report.md").read_text()
    for said in ("continuation 2-way", "forced", "predicted", "evaluate.py", "torch"):
        assert said in text
    for picture in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert (folder / picture).is_file()


def test_the_page_needs_no_other_file(evaluate, settings):
    evaluate(settings)
    page = (settings["output_folder"] / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=.(?!data:|#part-)", page)
    assert "://" not in re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL)
    assert "<script" not in page


def test_items_of_the_page_can_be_played(evaluate, settings):
    settings["tasks"] = ["asr"]
    settings["task_options"]["asr"] = {"max_items": 5}
    evaluate(settings)
    page = (settings["output_folder"] / "report.html").read_text()
    player = r'<audio controls [^>]*src="data:audio/mpeg;base64,(\S+)"'
    sounds = re.findall(player, page)
    assert 1 <= len(sounds) <= 5
    for sound in sounds:
        info = soundfile.info(io.BytesIO(base64.b64decode(sound)))
        assert info.channels == 1 and info.duration > 0.5


def test_the_same_command_gives_the_same_and_answers_nothing_again(
    evaluate, settings, monkeypatch
):
    first = evaluate(settings)
    monkeypatch.setattr("ssr_plugin.evaluation.harness.answering._answer", None)
    assert evaluate(settings) == first


def test_another_model_of_the_same_name_is_asked_anew(evaluate, settings, tmp_path):
    model = shutil.copytree(settings["model"], tmp_path / "model")
    settings["model"] = model
    evaluate(settings)
    answers = settings["output_folder"] / "answers" / "continuation.jsonl"
    keys = {json.loads(line)["key"] for line in answers.read_text().splitlines()}
    weights = model / "connector.safetensors"
    weights.write_bytes(weights.read_bytes())
    evaluate(settings)
    after = {json.loads(line)["key"] for line in answers.read_text().splitlines()}
    assert not keys & after


def test_what_is_measured_of_a_corpus_is_reported_beside_choices(
    evaluate, settings, small_corpus, tmp_path, monkeypatch
):
    (tmp_path / "my.txt").write_text("the cat\n\na cat sat\n")
    settings["tasks"] = ["continuation", "asr", "segments", "aligner", "perplexity"]
    settings["task_options"] |= {
        "asr": {"max_items": 5, "shots": 1, "shot_splits": ["dev-a"]},
        "segments": {"max_items": 5},
        "aligner": {"reference": str(small_corpus / "words.jsonl")},
        "perplexity": {"data": str(tmp_path / "my.txt")},
    }
    metrics = evaluate(settings)["tasks"]
    assert set(metrics["asr wer"]["columns"]) == {"text", "predicted", "forced"}
    assert metrics["asr wer"]["items"] == 5
    assert metrics["segments boundary_f1"]["columns"]["predicted"]["boundary_f1"] > 0
    # Its own files are what it is compared with.
    assert metrics["aligner wbe"]["columns"]["forced"]["wbe"] == 0
    assert metrics["perplexity"]["columns"]["text"]["perplexity"] > 1
    text = (settings["output_folder"] / "report.md").read_text()
    assert "| asr wer, % | 5 |" in text and "| continuation 2-way |" in text
    monkeypatch.setattr("ssr_plugin.evaluation.harness.answering._answer", None)
    assert evaluate(settings)["tasks"] == metrics


@pytest.mark.parametrize(
    "key, value, says",
    [
        ("model", "/no/such/model", "/no/such/model"),
        ("tasks", ["continuatoin"], "did you mean 'continuation'"),
        ("task_options", {"continuation": {"words": 3}}, "'words'"),
        ("test_splits", ["test-z"], "no split 'test-z'"),
        ("data_folder", "/no/such/data", "/no/such/data"),
        ("modell", "x", "did you mean '--model'"),
    ],
)
def test_what_is_wrong_is_named(evaluate, settings, key, value, says):
    with pytest.raises(SystemExit, match=says):
        evaluate({**settings, key: value})


def test_a_csv_is_a_corpus_too(settings, tmp_path, small_corpus):
    rows = ["id,wav,text"]
    for path in sorted(small_corpus.glob("LibriSpeech/train-a/*/*/*.txt")):
        for line in path.read_text().splitlines():
            name, _, text = line.partition(" ")
            rows.append(f"{name},{path.parent / name}.flac,{text}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-a.csv").write_text("\n".join(rows))
    settings["data_folder"] = tmp_path / "data"
    with runs._restored():
        metrics = main(CSVDataSet, runs.arguments("evaluate", **settings))
    assert metrics["tasks"]["continuation 2-way"]["items"] > 0


def test_of_several_processes_the_first_does_it_all(evaluate, settings, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert evaluate(settings) == {}
    assert not settings["output_folder"].exists()
    monkeypatch.setenv("RANK", "0")
    assert evaluate(settings)["tasks"]
