"""The command: a recipe's evaluate.py, from a model and benchmarks to a report."""

import base64
import io
import itertools
import json
import re
import shutil
import sys

import pytest
import soundfile

from ssr_plugin.data.datasets import CSVDataSet
from ssr_plugin.evaluation.harness import answering
from ssr_plugin.evaluation.report.compare_runs import compare_runs
from ssr_plugin.evaluation.report.document import Heading, Table
from ssr_plugin.evaluation.run_evaluation import main
from ssr_plugin.metrics.colours import condition_colour

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
        "benchmark_options": {"continuation": {"min_words": 4}},
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
    figures = metrics["benchmarks"]["continuation 4-way"]
    assert figures["conditions"]["none"]["pmi"] == pytest.approx(25.0)
    assert figures["conditions"]["forced"]["segmentation"] == "forced"
    assert figures["conditions"]["predicted"]["segmentation"] == "predicted"
    # What the LLM adds to what is heard is asked for by name.
    assert not any(x["lm_fusion"] for x in metrics["conditions"].values())
    for key in ("pmi", "interval"):
        assert figures["conditions"]["text"][key] is not None
    # Its segmenter does not say what it hears.
    assert "cascade" not in figures["conditions"]
    assert any("no cascade: the segmenter" in note for note in figures["notes"])

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
    settings["benchmarks"] = ["asr"]
    settings["benchmark_options"]["asr"] = {"max_items": 5}
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
    settings["benchmarks"] = [
        "continuation",
        "asr",
        "segments",
        "aligner",
        "perplexity",
    ]
    settings["benchmark_options"] |= {
        "asr": {"max_items": 5, "shots": 1, "shot_splits": ["dev-a"]},
        "segments": {"max_items": 5},
        "aligner": {"reference": str(small_corpus / "words.jsonl")},
        "perplexity": {"data": str(tmp_path / "my.txt")},
    }
    metrics = evaluate(settings)["benchmarks"]
    assert set(metrics["asr wer"]["conditions"]) == {"text", "predicted", "forced"}
    assert metrics["asr wer"]["items"] == 5
    assert metrics["segments boundary_f1"]["conditions"]["predicted"]["boundary_f1"] > 0
    # Its own files are what it is compared with.
    assert metrics["aligner wbe"]["conditions"]["forced"]["wbe"] == 0
    assert metrics["perplexity"]["conditions"]["text"]["perplexity"] > 1
    text = (settings["output_folder"] / "report.md").read_text()
    assert "| asr wer, % | 5 |" in text and "| continuation 2-way |" in text
    monkeypatch.setattr("ssr_plugin.evaluation.harness.answering._answer", None)
    assert evaluate(settings)["benchmarks"] == metrics


def test_a_condition_that_pmi_needs_is_answered_and_not_reported(evaluate, settings):
    every = evaluate(settings)
    settings["conditions"] = ["forced"]
    metrics = evaluate(settings)
    assert list(metrics["conditions"]) == ["forced"]
    for title, summary in metrics["benchmarks"].items():
        expected = every["benchmarks"][title]["conditions"]["forced"]
        assert summary["conditions"]["forced"]["pmi"] == expected["pmi"]
    answers = settings["output_folder"] / "answers" / "continuation.jsonl"
    for line in answers.read_text().splitlines():
        assert set(json.loads(line)["conditions"]) == {"none", "forced"}


def test_a_benchmark_that_needs_no_model_loads_none(
    evaluate, settings, small_corpus, monkeypatch
):
    monkeypatch.setattr("ssr_plugin.evaluation.evaluate_job.SpeechLM", None)
    settings["model"] = "/no/such/model"
    settings["benchmarks"] = ["aligner"]
    settings["benchmark_options"] = {
        "aligner": {"reference": str(small_corpus / "words.jsonl")}
    }
    metrics = evaluate(settings)
    assert metrics["benchmarks"]["aligner wbe"]["conditions"]["forced"]["wbe"] == 0
    assert metrics["model"].startswith("none")


@pytest.mark.parametrize(
    "key, value, says",
    [
        ("model", "/no/such/model", "/no/such/model"),
        ("benchmarks", ["continuatoin"], "did you mean 'continuation'"),
        ("benchmark_options", {"continuation": {"words": 3}}, "'words'"),
        ("test_splits", ["test-z"], "no split 'test-z'"),
        ("data_folder", "/no/such/data", "/no/such/data"),
        ("conditions", ["forcd"], "did you mean 'forced'"),
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
    assert metrics["benchmarks"]["continuation 2-way"]["items"] > 0


def test_of_several_processes_the_first_does_it_all(evaluate, settings, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert evaluate(settings) == {}
    assert not settings["output_folder"].exists()
    monkeypatch.setenv("RANK", "0")
    assert evaluate(settings)["benchmarks"]


def test_conditions_are_those_that_are_asked_for(evaluate, settings):
    settings["conditions"] = ["forced_lm_fusion", "forced", "text"]
    metrics = evaluate(settings)
    names = ["text", "forced", "forced_lm_fusion"]
    assert list(metrics["conditions"]) == names
    assert [x["lm_fusion"] for x in metrics["conditions"].values()] == [0, 0, 1]
    assert list(metrics["benchmarks"]["continuation 2-way"]["conditions"]) == names
    page = (settings["output_folder"] / "report.html").read_text()
    for name in names:
        assert f"background: {condition_colour(name)}" in page


# --- In noise ------------------------------------------------------------------------


@pytest.fixture
def noisy_settings(settings):
    noise = {"kinds": ["babble", "white"], "snr": [10, 0], "num_talkers": 2}
    return settings | {"noise": noise}


NOISY = "segments segments_per_second, white 0 dB"
NOISES = ["babble 10 dB", "babble 0 dB", "white 10 dB", "white 0 dB"]


def test_a_benchmark_is_measured_again_in_each_noise(evaluate, noisy_settings):
    metrics = evaluate(noisy_settings)["benchmarks"]
    titles = ["continuation 2-way", "continuation 4-way"]
    names = [f"{title}, {noise}" for noise in NOISES for title in titles]
    assert list(metrics) == [*titles, *names]
    for name in names:
        noise = metrics[name]["noise"]
        clean = metrics[noise["of"]]
        assert noise["kind"] in ("babble", "white") and noise["unit"] == "dB"
        assert metrics[name]["items"] == clean["items"]
        assert list(metrics[name]["conditions"]) == list(clean["conditions"])
        for condition in ("none", "text"):
            assert (
                metrics[name]["conditions"][condition]
                == (clean["conditions"][condition])
            )
    folder = noisy_settings["output_folder"]
    text = (folder / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| continuation 2")]
    # Right choices, and what is kept of the gain: each clean first.
    assert [row.split(" | ")[0] for row in rows[:5]] == [
        "| continuation 2-way",
        *(f"| continuation 2-way, {noise}" for noise in NOISES),
    ]
    assert len(rows) == 10
    assert "2 talkers at once" in text and "ITU-T P.56" in text
    assert "alignment of the clean audio" in text
    assert text.count("![continuation 2-way over the strength of noise") == 1
    assert (folder / "pictures" / "continuation_2-way_in_noise.png").is_file()


def test_an_utterance_can_be_heard_in_each_noise(evaluate, noisy_settings):
    evaluate(noisy_settings)
    folder = noisy_settings["output_folder"]
    page = (folder / "report.html").read_text()
    _, _, section = page.partition("What noise sounds like")
    assert section.count("<audio controls") >= 1 + len(NOISES)
    recordings = {}
    for noise in NOISES:
        (path,) = (folder / "noise").glob(f"{noise.replace(' ', '_')}-*.flac")
        recordings[noise], rate = soundfile.read(path)
        assert len(recordings[noise]) == pytest.approx(rate, rel=0.01)
        assert noise in section
    assert len({x.tobytes() for x in recordings.values()}) == len(NOISES)


def test_the_llm_is_not_asked_again_what_noise_does_not_change(
    evaluate, noisy_settings
):
    evaluate(noisy_settings)
    folder = noisy_settings["output_folder"] / "answers"
    records = {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in folder.iterdir()
    }
    clean = records.pop("continuation")
    assert {x for record in clean for x in record["conditions"]} == {
        *("none", "text", "predicted", "forced")
    }
    assert set(records) == {f"continuation.{x.replace(' ', '_')}" for x in NOISES}
    for noisy in records.values():
        assert [x["id"] for x in noisy] == [x["id"] for x in clean]
        for one, other in zip(noisy, clean, strict=True):
            assert set(one["conditions"]) == {"predicted", "forced"}
            forced = [
                x["conditions"]["forced"]["log_likelihoods"] for x in (one, other)
            ]
            assert forced[0] != forced[1]


def test_a_run_in_noise_that_was_killed_ends_with_the_same(
    evaluate, noisy_settings, tmp_path, monkeypatch
):
    expected = evaluate(noisy_settings)
    whole = answering._answer
    calls = []

    def answer(*arguments):
        calls.append(1)
        # In the middle of the second noise.
        if len(calls) == 6:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(answering, "_BATCH", 4)
    monkeypatch.setattr(answering, "_answer", answer)
    settings = noisy_settings | {"output_folder": tmp_path / "again"}
    with pytest.raises(SystemExit):
        evaluate(settings)
    monkeypatch.setattr(answering, "_answer", whole)
    resumed = evaluate(settings)
    assert resumed["benchmarks"].keys() == expected["benchmarks"].keys()
    for title, summary in expected["benchmarks"].items():
        assert resumed["benchmarks"][title] == summary
    # What was answered before the end is read, and nothing else is asked.
    monkeypatch.setattr(answering, "_answer", None)
    assert evaluate(settings) == resumed


def test_another_seed_is_another_noise_and_the_same_clean_audio(
    evaluate, noisy_settings
):
    def keys(name):
        path = noisy_settings["output_folder"] / "answers" / f"{name}.jsonl"
        return {json.loads(line)["key"] for line in path.read_text().splitlines()}

    noisy_settings["benchmarks"] = ["segments"]
    noisy_settings["noise"]["kinds"] = ["white"]
    evaluate(noisy_settings)
    first = {name: keys(name) for name in ("segments", "segments.white_0_dB")}
    evaluate(noisy_settings | {"seed": 5})
    assert keys("segments") == first["segments"]
    assert not keys("segments.white_0_dB") & first["segments.white_0_dB"]


def test_whatever_hears_a_corpus_is_measured_in_noise_and_nothing_else(
    evaluate, noisy_settings, small_corpus, tmp_path
):
    (tmp_path / "my.txt").write_text("the cat\n\na cat sat\n")
    noisy_settings["benchmarks"] = ["asr", "segments", "aligner", "perplexity"]
    noisy_settings["benchmark_options"] |= {
        "asr": {"max_items": 5, "shots": 1, "shot_splits": ["dev-a"]},
        "segments": {"max_items": 5},
        "aligner": {"reference": str(small_corpus / "words.jsonl")},
        "perplexity": {"data": str(tmp_path / "my.txt")},
    }
    noisy_settings["noise"] = {"kinds": ["speech_shaped"], "snr": [5]}
    metrics = evaluate(noisy_settings)["benchmarks"]
    noisy = {summary["benchmark"] for summary in metrics.values() if "noise" in summary}
    assert noisy == {"asr", "segments"}
    figures = metrics["asr wer, speech shaped 5 dB"]["conditions"]
    assert set(figures) == {"text", "predicted", "forced"}
    assert (
        "predicted"
        in metrics["segments boundary_mae, speech shaped 5 dB"]["conditions"]
    )
    pictures = noisy_settings["output_folder"] / "pictures"
    assert (pictures / "asr_wer_in_noise.png").is_file()
    assert not (pictures / "perplexity_in_noise.png").exists()


def test_runs_are_compared_in_noise_too(evaluate, noisy_settings, tmp_path):
    noisy_settings["benchmarks"] = ["segments"]
    noisy_settings["noise"]["kinds"] = ["white"]
    one = noisy_settings["output_folder"]
    two = tmp_path / "two"
    evaluate(noisy_settings)
    # It draws another noise, and changes nothing else of this benchmark.
    evaluate(noisy_settings | {"output_folder": two, "seed": 5})
    tables = {
        heading.text: {str(row[0]): row for row in table.rows}
        for heading, table in itertools.pairwise(compare_runs([one, two]))
        if isinstance(heading, Heading) and isinstance(table, Table)
    }
    title = "segments segments_per_second"
    clean, noisy = (tables[f"{x}, 20 items in common"] for x in (title, NOISY))
    assert clean["predicted"][-1] == "+0.0 (+0.0 to +0.0)"
    assert set(noisy) == {"predicted", "forced"}
    figures = json.loads((two / "metrics.json").read_text())["benchmarks"]
    value = figures[NOISY]["conditions"]["predicted"]["segments_per_second"]
    assert noisy["predicted"][2] == f"{value:.1f}"


@pytest.mark.parametrize(
    "noise, says",
    [
        ({"kinds": ["bable"]}, "did you mean 'babble'"),
        (
            {"kinds": ["white"], "snr": ["loud"]},
            "noise.snr: expected a list of numbers, such as",
        ),
        ({"kinds": "white"}, "noise.kinds: expected a list"),
        ({"kind": ["white"]}, "noise: there is no 'kind'.*did you mean 'kinds'"),
        ({"kinds": ["babble"], "splits": ["x"]}, "noise.splits: there is no split 'x'"),
    ],
)
def test_noise_that_is_wrong_is_named(evaluate, settings, noise, says):
    with pytest.raises(SystemExit, match=says):
        evaluate(settings | {"noise": noise})


def test_noise_that_nothing_would_hear_is_refused(
    evaluate, noisy_settings, small_corpus
):
    noisy_settings["benchmarks"] = ["aligner"]
    noisy_settings["benchmark_options"] = {
        "aligner": {"reference": str(small_corpus / "words.jsonl")}
    }
    with pytest.raises(
        SystemExit, match="noise: none of the benchmarks hears a corpus"
    ):
        evaluate(noisy_settings)
