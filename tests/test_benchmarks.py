"""benchmarks/: gpu.py's models, parts that fail and report; live.py's figures."""

import importlib
import json
import pathlib
import subprocess
import sys
import time

import pytest
import soundfile
import torch

from ssr_plugin.alignment.formats import alignment_files, read_file
from ssr_plugin.data.librispeech import LibriSpeech
from ssr_plugin.data.manifest import read_manifest

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """``load(name)``: a module of benchmarks/."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


# --- Models and speech ---------------------------------------------------------------


def test_random_llm_draws_its_layers_and_keeps_the_table_of_its_folder(load, tmp_path):
    llm = load("gpu_models").load_llm("tiny", tmp_path, "cpu", "bfloat16")
    table = llm.table().clone()
    model = llm.load_model()
    assert torch.equal(llm.table(), table)
    assert llm.load_model() is model
    assert not any(p.requires_grad for p in model.parameters())
    assert model.dtype == torch.bfloat16
    ids = torch.tensor([[5, 6, 7]])
    by_embeddings = model(inputs_embeds=llm.embed(ids)).logits
    assert torch.equal(by_embeddings, model(ids).logits)
    assert by_embeddings.std() > 0


def test_random_llm_has_a_token_for_each_row_and_cuts_text_as_the_sample_does(
    load, tmp_path
):
    models = load("gpu_models")
    llm = models.load_llm("tiny", tmp_path, "cpu", "float32")
    assert len(llm.tokenizer) == llm.vocab_size
    sample = models.load_llm("sample", tmp_path, "cpu", "float32")
    text = "tom came to dinner so emma wanted to make a new cake"
    assert llm.tokenizer(text).input_ids == sample.tokenizer(text).input_ids


def test_make_corpus_joins_speech_and_shifts_its_alignments(load, tmp_path):
    corpus = load("gpu_models").make_corpus(tmp_path, joined=5, copies=2)
    utterances = list(LibriSpeech(corpus).utterances("train-joined"))
    assert len(utterances) == 10
    (path,) = alignment_files(corpus / "alignments")
    timed = {record.id: record for record in read_file(path)}
    for utterance in utterances:
        record = timed[utterance.id]
        seconds = soundfile.info(utterance.wav).duration
        assert 12 <= seconds <= 16
        assert record.text == utterance.text
        times = [x for _, start, end in record.units for x in (start, end)]
        assert times == sorted(times)
        assert times[-1] <= seconds
        # The last word is in the last recording that was joined.
        assert times[-1] > seconds - 2
        for (word, _, _), offset in zip(record.units, record.offsets, strict=True):
            assert record.text[offset:].startswith(word)


# --- Parts ---------------------------------------------------------------------------


def test_run_part_keeps_the_figures_before_an_error_and_its_reason(
    load, tmp_path, monkeypatch
):
    gpu = load("gpu")

    def part(setting):
        yield {"variant": "first", "audio_s_per_s": 2.0}
        raise MemoryError("too little\nof it")

    monkeypatch.setitem(gpu.PARTS, "loop", part)
    with pytest.raises(MemoryError):
        gpu.run_part("loop", None, tmp_path / "loop.jsonl")
    assert gpu.read_figures(tmp_path / "loop.jsonl") == [
        {"variant": "first", "audio_s_per_s": 2.0},
        {"variant": "all that is left", "failed": "MemoryError: too little"},
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "steps", "stage2", "--num_wrkers", "0"], "num_workers"),
        (["--only", "steps", "--num_workers", "0"], "no part takes --num_workers 0"),
    ],
)
def test_gpu_refuses_a_key_that_no_part_takes_before_it_measures(
    load, tmp_path, capsys, words, message
):
    with pytest.raises(SystemExit):
        load("gpu").main(["--output_folder", tmp_path / "out", *words])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_gpu_prepares_the_joined_corpus_as_a_recipe_does(load, tmp_path):
    parts = load("gpu_parts")
    setting = parts.Setting(parts.make_quick(parts.ON_CPU), "cpu", tmp_path)
    hparams, _, manifests = parts._settings(
        setting, "distill", 40.0, segmenter="forced"
    )
    assert hparams["data_folder"] == str(setting.corpus())
    assert len(read_manifest(manifests.train)) > 0 and manifests.tests == {}


def test_read_figures_leaves_out_a_line_that_was_cut_off(load, tmp_path):
    (tmp_path / "loop.jsonl").write_text('{"variant": "first"}\n{"varia')
    assert load("gpu").read_figures(tmp_path / "loop.jsonl") == [{"variant": "first"}]
    assert load("gpu").read_figures(tmp_path / "none.jsonl") == []


def test_run_process_ends_what_takes_too_long_with_all_that_it_started(load, tmp_path):
    child = f"import time; time.sleep(2); open({str(tmp_path / 'late')!r}, 'w')"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    )
    failure = load("gpu").run_process(
        [sys.executable, "-c", parent], 1, tmp_path / "log"
    )
    assert failure == "took longer than 1 s"
    time.sleep(2.5)
    assert not (tmp_path / "late").exists()


def test_run_process_tells_a_killed_process_from_one_that_ended_well(load, tmp_path):
    run, log = load("gpu").run_process, tmp_path / "log"
    kill = "import os, sys; print('lost', file=sys.stderr, flush=True); os.abort()"
    assert run([sys.executable, "-c", "pass"], 20, log) is None
    assert "ended with status -6" in run([sys.executable, "-c", kill], 20, log)
    assert log.read_text().startswith("lost")


# --- Report --------------------------------------------------------------------------


def test_with_ratios_compares_steps_of_the_same_llm_and_batch(load):
    gpu = load("gpu")
    rival, ours = "stack 10 + MLP, LLM", "default"
    rates = {("1b", 8): (10.0, 30.0), ("1b", 64): (20.0, 50.0), ("8b", 8): (None, 7.0)}
    figures = [
        {"part": "steps", "llm": llm, "batch": batch, "variant": name}
        | ({"failed": "memory"} if rate is None else {"audio_s_per_s": rate})
        for (llm, batch), pair in rates.items()
        for name, rate in zip((rival, ours), pair, strict=True)
    ]
    ratios = [figure.get("ratios") for figure in gpu.with_ratios(figures)]
    name = "stack 10"
    assert ratios == [{name: 1.0}, {name: 3.0}, {name: 1.0}, {name: 2.5}, None, None]


def test_with_ratios_compares_a_training_loop_with_the_anchors_of_training(load):
    gpu = load("gpu")
    figure = {"part": "loop", "variant": "stage 1", "audio_s_per_s": 3500.0}
    (figure,) = gpu.with_ratios([figure])
    assert figure["ratios"]["ACIF"] == 2.0
    assert not any(name.startswith("embedding") for name in figure["ratios"])


def test_with_ratios_compares_a_training_loop_with_bare_rivals_in_large_batches(load):
    figures = [
        {"part": "steps", "llm": llm, "batch": batch, "audio_s_per_s": rate}
        | {"variant": "stack 5 + MLP, LLM"}
        for llm, batch, rate in (("1b", 64, 5.0), ("8b", 8, 3.0), ("8b", 64, 4.0))
    ]
    loop = {"part": "loop", "llm": "8b", "variant": "stage 1", "audio_s_per_s": 80.0}
    *_, loop = load("gpu").with_ratios([*figures, loop])
    assert loop["ratios"]["stack 5, bare"] == 20.0


@pytest.mark.long
@pytest.mark.slow
def test_gpu_measures_two_parts_and_reports_them(tmp_path):
    command = [sys.executable, BENCHMARKS / "gpu.py", "--quick", "--device", "cpu"]
    command += ["--output_folder", tmp_path, "--only", "steps", "loop"]
    command += ["--llm", "sample", "nowhere", "--num_workers", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())
    steps = {x["variant"]: x for x in results["figures"] if x["part"] == "steps"}
    (loop,) = (x for x in results["figures"] if x["part"] == "loop")
    # Of the LLM that is not there it is said so; the rest goes on.
    assert "nowhere" in steps.pop("all that is left")["failed"]
    for figure in [*steps.values(), loop]:
        assert figure["audio_s_per_s"] > 0
        assert figure["operators"] > 0
    base = steps["stack 10 + MLP, LLM"]["audio_s_per_s"]
    for figure in steps.values():
        audio = figure["batch"] * 12.0
        assert figure["audio_s_per_s"] == pytest.approx(1e3 * audio / figure["ms"])
        ratio = figure["audio_s_per_s"] / base
        assert figure["ratios"]["stack 10"] == pytest.approx(ratio)
    assert loop["loader_audio_s_per_s"] > loop["audio_s_per_s"]
    for name, anchor in results["anchors"].items():
        if "loop" in anchor["compared"]:
            ratio = loop["audio_s_per_s"] / anchor["audio_s_per_s"]
            assert loop["ratios"][name] == pytest.approx(ratio)
    ratio = loop["audio_s_per_s"] / base
    assert loop["ratios"]["stack 10, bare"] == pytest.approx(ratio)
    report = (tmp_path / "gpu.md").read_text()
    assert all(f"| {name} |" in report for name in [*steps, "stage 1"])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"gpu.json", "gpu.md", "steps.log", "loop.log"}


# --- Speech that is still going on ----------------------------------------------------


def test_live_measures_how_late_and_how_well_words_are_heard(
    load, monkeypatch, small_corpus, tiny_speech_lm_folder, tmp_path
):
    live = load("live")
    data = ["--data_folder", str(small_corpus), "--split", "test-a", "--limit", "4"]
    line = ["--model", str(tiny_speech_lm_folder), *data, "--join", "2"]
    words = [("the", 0.1, 0.3), ("cat", 0.5, 0.7)]
    monkeypatch.setattr(
        live, "find_words", lambda _, utterances: {x.id: words for x in utterances}
    )
    # As if a word ended with each segment, of which there are five a second.
    monkeypatch.setattr(
        live,
        "timed_words",
        lambda speech, _: [
            ("the" if i == 1 else "cat" if i == 3 else "x", 0.0, end)
            for i, end in enumerate(speech.ends)
        ],
    )
    figures = live.main([*line, "--output", str(tmp_path / "live.jsonl")])
    assert (figures["utterances"], figures["audio s"]) == (2, 4.0)
    assert figures["offline WER %"] > 0 < figures["live WER %"]
    # Each is out a step and a look-ahead after the next has begun, or sooner.
    least, most = 0.32, 0.64 + 0.32
    for name in ("median", "95 %", "most"):
        assert least < figures[f"latency of words s, {name}"] < most
    assert figures["CPU s for a second"] > 0 < figures["real-time factor"]
    assert json.loads((tmp_path / "live.jsonl").read_text()) == figures
