"""Whole runs of stage 2, on tiny models and a corpus of noise."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ssr_plugin import SpeechLM
from ssr_plugin.cli import main as ssr
from ssr_plugin.metrics.curves import describe_figure
from ssr_plugin.training import finetune_brain as finetune_module
from ssr_plugin.training import text_data
from ssr_plugin.training.brain import StageBrain

import runs

# What may differ from run to run.
OF_THE_PROCESS = {"wall_s", "audio_s_per_s", "peak_rss_mb"}
SCORES = {"nll", "prompted_wer", "prompted_wer_whisper", "utterances"}
FORCED_SCORES = {"speech_loss", "text_loss"}


def figures(folder):
    """All numbers of a run folder's metrics.json that must not vary."""
    metrics = json.loads((folder / "metrics.json").read_text())
    train = metrics["train"]
    metrics["train"] = {k: v for k, v in train.items() if k not in OF_THE_PROCESS}
    return metrics


@pytest.fixture(scope="module")
def finetune_run(tmp_path_factory, small_run, tiny_speech_lm_folder):
    """``finetune_run(folder, **overrides)``: those of hparams/finetune.yaml.

    Caches are shared by all runs of this module.
    """
    cache = tmp_path_factory.mktemp("cache")
    text = tmp_path_factory.mktemp("text") / "heldout.txt"
    text.write_text("the cat sat\na b c d e f g h\n" * 5)

    def overrides(folder, **others):
        settings = small_run(
            folder,
            cache_folder=cache,
            stage1=tiny_speech_lm_folder,
            text_heldout=text,
            text_tokens=400,
            text_block=16,
            number_of_epochs=2,
        )
        for key in ("encoder_source", "llm_source", "connector_options"):
            del settings[key]
        return {**settings, **others}

    return overrides


def finetune(overrides):
    """Runs hparams/finetune.yaml; returns the metrics."""
    return runs.run("librispeech", runs.arguments("finetune", **overrides))


@pytest.fixture(scope="module")
def killable():
    """Runs recipes in processes that may be killed."""
    killable = runs.Killable()
    yield killable
    killable.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory, finetune_run):
    """One run to its end: (the overrides it was given, what main returned)."""
    overrides = finetune_run(tmp_path_factory.mktemp("run"))
    argv = runs.arguments("finetune", **overrides)
    return overrides, runs.run("librispeech", argv, pictures=True)


# --- What a run leaves -------------------------------------------------------------


def test_metrics_tell_before_and_after_and_which_segments(run):
    overrides, returned = run
    metrics = json.loads((overrides["output_folder"] / "metrics.json").read_text())
    assert metrics == returned
    splits = {"valid", "test-a"}
    names = {*splits, *(f"{name} predicted" for name in splits)}
    assert set(metrics) == {"train", "text", *names}
    for name in names:
        predicted = name.endswith(" predicted")
        assert metrics[name]["segments"] == ("predicted" if predicted else "forced")
        assert metrics[name]["skipped"] == 0
        wanted = SCORES if predicted else SCORES | FORCED_SCORES
        assert set(metrics[name]) == wanted | {"segments", "skipped", "before"}
        assert set(metrics[name]["before"]) == wanted
        assert metrics[name]["utterances"] == 10
        assert set(metrics[name]["nll"]) >= {"text", "speech", "none"}
        assert metrics[name]["nll"] != metrics[name]["before"]["nll"]
    assert metrics["text"]["perplexity"] != metrics["text"]["before"]["perplexity"]
    assert metrics["text"]["heldout"] == str(overrides["text_heldout"])
    assert metrics["train"]["epochs"] == 2
    assert metrics["train"]["audio_s_per_s"] > 0


def test_a_run_leaves_its_log_its_curves_and_a_model_to_use(run):
    overrides, metrics = run
    folder = overrides["output_folder"]
    log = (folder / "log.txt").read_text()
    assert "epoch 2: " in log and "text_perplexity" in log
    for task in ("listening", "transcription", "continuation"):
        assert f"  {task}_loss " in log
    assert "test-a (forced segments), before -> after: speech loss " in log
    assert "test-a (predicted segments), before -> after: prompted wer " in log
    assert "text, before -> after: perplexity " in log
    (events,) = (folder / "tensorboard").glob("events*")
    assert events.stat().st_size > 0
    picture = folder / "pictures" / "learning_curves.png"
    assert picture.read_bytes()[1:4] == b"PNG"
    lm = SpeechLM.from_pretrained(folder)
    assert lm.tuned.kind == "lora" and lm.metrics == metrics
    assert isinstance(lm.transcribe((torch.rand(16000), 16000), prompt="\n"), str)


def test_the_curves_begin_with_the_llm_as_it_was(run):
    overrides, metrics = run
    (path, *_) = (overrides["output_folder"] / "checkpoints").glob("*/history.ckpt")
    first, second, *_ = json.loads(path.read_text())
    assert first.pop("epoch") == 0 and second.pop("epoch") == 1
    assert second.keys() - first.keys() == {"lr", "train_loss"}
    for key in second:
        told = describe_figure(key)
        assert told.unit != "no unit" or key == "lr", f"a curve of no unit: {key}"
    before = metrics["text"]["before"]["perplexity"]
    assert first["text_perplexity"] == pytest.approx(before, rel=1e-4)
    before = metrics["valid"]["before"]["speech_loss"]
    assert first["listening_loss"] == pytest.approx(before, rel=1e-4)
    assert "epoch 0: loss " in (overrides["output_folder"] / "log.txt").read_text()


def test_the_model_of_the_best_epoch_is_the_one_that_is_kept(run):
    folder = run[0]["output_folder"]
    losses = {
        path.parent: yaml.safe_load(path.read_text())["loss"]
        for path in (folder / "checkpoints").glob("*/CKPT.yaml")
    }
    best = torch.load(min(losses, key=losses.get) / "tuned.ckpt", weights_only=True)
    kept = load_file(folder / "tuned" / "adapter_model.safetensors")
    assert len(best) == len(kept) > 10
    for name, weight in best.items():
        name = name.removeprefix("llm.model.").replace(".default.", ".")
        assert torch.equal(weight, kept[f"base_model.model.{name}"])


@pytest.mark.parametrize("seed, same", [(1234, True), (7, False)])
def test_the_same_seed_gives_the_same_metrics_and_another_seed_others(
    run, finetune_run, tmp_path, seed, same
):
    # It finds nothing in the caches, which must not matter.
    finetune(finetune_run(tmp_path, seed=seed, cache_folder=tmp_path / "cache"))
    assert (figures(tmp_path / "run") == figures(run[0]["output_folder"])) == same


def test_shards_give_what_their_corpus_gives(
    run, finetune_run, small_corpus, tiny_encoder_folder, tmp_path
):
    words = ["--frames", str(tiny_encoder_folder), "--no-audio", "--aligner", "files"]
    words += ["--aligner-option", f"source={small_corpus / 'words.jsonl'}"]
    data = [str(small_corpus / "LibriSpeech"), str(tmp_path / "shards")]
    with runs._restored():
        assert ssr(["prepare", *data, *words, "--num-workers", "0"]) == 0
    overrides = finetune_run(tmp_path, data_folder=tmp_path / "shards")
    finetune(overrides)
    assert figures(tmp_path / "run") == figures(run[0]["output_folder"])


def test_the_same_command_after_the_end_reports_the_same(run):
    folder = run[0]["output_folder"]
    expected = figures(folder)
    (folder / "metrics.json").unlink()
    finetune(run[0])
    assert figures(folder) == expected


# --- Frozen is frozen --------------------------------------------------------------


def test_adapters_alone_are_trained_and_saved(finetune_run, tmp_path, monkeypatch):
    before, brains = {}, []

    def fit_epochs(brain, *arguments):
        brains.append(brain)
        before.update({k: v.clone() for k, v in frozen(brain).items()})
        fit(brain, *arguments)

    def frozen(brain):
        return {k: v for k, v in brain.lm.named_parameters() if ".lora_" not in k}

    fit = StageBrain.fit_epochs
    monkeypatch.setattr(StageBrain, "fit_epochs", fit_epochs)
    finetune(finetune_run(tmp_path, cache_features=False))
    (brain,) = brains
    after = frozen(brain)
    kinds = {name.split(".")[1] for name in before}  # embedder.encoder...
    assert kinds == {"encoder", "llm", "connector"} and before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(p.requires_grad or p.grad is not None for p in after.values())
    assert not (brain.lm.connector.training or brain.modules["encoder"].training)

    tuned = brain.modules["tuned"]
    adapters = [p for name, p in tuned.named_parameters() if ".lora_" in name]
    optimized = {id(p) for g in brain.optimizer.param_groups for p in g["params"]}
    assert optimized == {id(p) for p in adapters}
    trained = sum(p.numel() * 4 for p in adapters)
    for checkpoint in brain.checkpointer.list_checkpoints():
        saved = torch.load(checkpoint.path / "tuned.ckpt", weights_only=True)
        assert set(saved) == tuned.trained
        size = sum(path.stat().st_size for path in checkpoint.path.iterdir())
        # Parameters, and two moments of each, with names.
        assert size < 3.2 * trained + 50_000


# --- Ways to tune ------------------------------------------------------------------


def test_vanilla_tuning_reads_no_text(finetune_run, tmp_path, monkeypatch):
    monkeypatch.setattr(text_data, "sample_documents", pytest.fail)
    monkeypatch.setattr(text_data.Text, "draw", pytest.fail)
    metrics = finetune(finetune_run(tmp_path, text_ratio=0, number_of_epochs=1))
    assert metrics["text"]["perplexity"] != metrics["text"]["before"]["perplexity"]


def test_text_of_ones_own_is_learnt(finetune_run, tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat\na b c d e f g h\n" * 40)
    learn = {"text_weight": 1, "text_kl_weight": 0, "lr": 0.02, "number_of_epochs": 6}
    source = {"text_source": tmp_path / "text.txt", "text_ratio": 2}
    # It is read as if it were heard, too.
    heard = {"pseudo_speech_ratio": 0.5, "pseudo_speech_source": tmp_path / "text.txt"}
    metrics = finetune(finetune_run(tmp_path, **source, **learn, **heard))
    found = metrics["text"]["perplexity"]
    assert found < 0.95 * metrics["text"]["before"]["perplexity"]


def test_without_found_segments_all_is_forced(finetune_run, tmp_path, monkeypatch):
    def embed_predicted(brain, ids, features, lengths, reference, options):
        assert options.use_lm, "predicted segments were trained on"
        return embed(brain, ids, features, lengths, reference, options)

    embed = finetune_module.FinetuneBrain._embed_predicted
    monkeypatch.setattr(
        finetune_module.FinetuneBrain, "_embed_predicted", embed_predicted
    )
    finetune(finetune_run(tmp_path, predicted_share=0, number_of_epochs=1))


def test_the_whole_llm_can_be_tuned(finetune_run, tmp_path):
    metrics = finetune(finetune_run(tmp_path, tuning="full", number_of_epochs=1))
    assert metrics["valid"]["speech_loss"] != metrics["valid"]["before"]["speech_loss"]
    lm = SpeechLM.from_pretrained(tmp_path / "run")
    assert lm.tuned.kind == "full"
    for path in (tmp_path / "run" / "checkpoints").glob("*/tuned.ckpt"):
        names = torch.load(path, weights_only=True)
        assert not any("embed_tokens" in name for name in names)


def test_nothing_tuned_is_measured_alone(finetune_run, tmp_path, run):
    metrics = finetune(finetune_run(tmp_path, tuning="none"))
    assert metrics["train"]["epochs"] == metrics["train"]["trained_parameters"] == 0
    for name in ("valid", "test-a predicted", "text"):
        before = metrics[name]["before"]
        assert before == run[1][name]["before"]
        assert {key: metrics[name][key] for key in before} == before
    assert SpeechLM.from_pretrained(tmp_path / "run").tuned is None


@pytest.mark.parametrize(
    "options",
    [{"gradient_checkpointing": True}, {"grad_accumulation_factor": 2}],
    ids=str,
)
def test_memory_can_be_saved(finetune_run, tmp_path, options):
    metrics = finetune(finetune_run(tmp_path, number_of_epochs=1, **options))
    assert metrics["train"]["epochs"] == 1


# --- Killed, and started again -----------------------------------------------------

PLACES = [
    ("ssr_plugin.training.text_data:sample_documents", 1),
    ("ssr_plugin.training.finetune_brain:FinetuneBrain.fit_batch", 4),
    # Amid a checkpoint.
    ("torch:save", 2),
    # Amid the first validation.
    ("ssr_plugin.training.finetune_brain:document_loss", 1),
    ("shutil:rmtree", 2),
    ("ssr_plugin.training.finetune_brain:FinetuneBrain.score", 2),
    ("ssr_plugin.training.finetune_stage:save_speech_lm", 1),
]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_run_killed_again_and_again_ends_like_an_unbroken_one(
    finetune_run, killable, tmp_path, kind
):
    settings = {"tuning": kind, "ckpt_interval_steps": 2}
    whole = finetune_run(tmp_path / "whole", **settings)
    finetune(whole)
    settings["cache_folder"] = tmp_path / "cache"
    argv = runs.arguments("finetune", **finetune_run(tmp_path, **settings))
    for place, count in PLACES:
        status = killable.run("librispeech", argv, place, count)
        assert status == -9, f"never came to call {count} of {place}"
    assert not (tmp_path / "run" / "speech_lm.json").exists()
    assert killable.run("librispeech", argv) == 0
    check_equal(tmp_path / "run", whole["output_folder"])


@pytest.mark.long
@pytest.mark.slow
def test_a_run_killed_at_any_time_ends_like_an_unbroken_one(
    run, finetune_run, killable, tmp_path
):
    settings = {"ckpt_interval_steps": 2, "num_workers": 2}
    # The text is written anew, too.
    settings["cache_folder"] = tmp_path / "cache"
    argv = runs.arguments("finetune", **finetune_run(tmp_path, **settings))
    wall = run[1]["train"]["wall_s"]
    killable.run_killed_at_any_time("librispeech", argv, wall)
    check_equal(tmp_path / "run", run[0]["output_folder"])


def check_equal(folder, other):
    """Two runs ended in the same figures and weights."""
    assert figures(folder) == figures(other)
    (one,) = (folder / "tuned").glob("*.safetensors")
    (two,) = (other / "tuned").glob("*.safetensors")
    one, two = load_file(one), load_file(two)
    assert set(one) == set(two)
    assert all(torch.equal(one[key], two[key]) for key in one)


# --- Several processes -------------------------------------------------------------


LONG = pytest.mark.long


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, parallel",
    [
        ("lora", "fsdp"),
        pytest.param("lora", "ddp", marks=LONG),
        pytest.param("full", "fsdp", marks=LONG),
        pytest.param("full", "ddp", marks=LONG),
    ],
)
def test_two_processes_tune_together_and_report_what_one_reports(
    finetune_run, killable, tmp_path, kind, parallel
):
    settings = {"tuning": kind, "parallel": parallel}
    overrides = finetune_run(tmp_path, cache_folder=tmp_path / "cache", **settings)
    argv = runs.arguments("finetune", **overrides)
    assert killable.run("librispeech", argv, processes=2) == 0
    assert (tmp_path / "run" / "log.txt").read_text().count("epoch 2: ") == 1
    expected = figures(tmp_path / "run")
    lm = SpeechLM.from_pretrained(tmp_path / "run")
    assert lm.tuned.kind == kind
    # One process reads what two wrote.
    runs.run("librispeech", [*argv, "--test_only"])
    assert figures(tmp_path / "run") == expected


@pytest.mark.long
@pytest.mark.slow
def test_an_llm_in_parts_goes_on_with_another_number_of_processes(
    finetune_run, killable, tmp_path
):
    options = {"test_splits": [], "parallel": "fsdp"}
    alone = options | {"grad_accumulation_factor": 2, "ckpt_interval_steps": 2}
    finetune(finetune_run(tmp_path / "whole", **alone))
    together = options | {"ckpt_interval_steps": 1}
    argv = [
        runs.arguments("finetune", **finetune_run(tmp_path, **x))
        for x in (alone, together)
    ]
    step = "ssr_plugin.training.finetune_brain:FinetuneBrain.fit_batch"
    assert killable.run("librispeech", argv[1], step, 3, processes=2) == -9
    assert killable.run("librispeech", argv[0], step, 7) == -9
    assert killable.run("librispeech", argv[1], processes=2) == 0
    expected, found = (
        load_file(folder / "run" / "tuned" / "adapter_model.safetensors")
        for folder in (tmp_path / "whole", tmp_path)
    )
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-4, rtol=1e-3)
    losses = [
        json.loads((folder / "run" / "metrics.json").read_text())["valid"]
        for folder in (tmp_path / "whole", tmp_path)
    ]
    for key in ("speech_loss", "text_loss"):
        assert losses[0][key] == pytest.approx(losses[1][key], rel=1e-4)


# --- Bad input ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "others, message",
    [
        ({"stage1": "/nowhere/distill"}, "stage1: there is no folder .*distill.yaml"),
        ({"text_source": "/nowhere.txt"}, "text_source: .*no text file"),
        ({"parallel": "zero3"}, "parallel: 'zero3' is unknown; it may be ddp, fsdp"),
        ({"quantization": "8bit"}, "quantization: '8bit' is none to tune on"),
        (
            {"quantization": "4bit", "tuning": "full"},
            "quantization: .* set tuning: lora",
        ),
        (
            {"quantization": "4bit", "parallel": "fsdp"},
            "quantization: .* set parallel: ddp",
        ),
        ({"tuning": "qlora"}, "tuning: qlora, .* none, lora, full"),
        (
            {"tuning_options": {"lora": {"target_modules": ["w_q"]}}},
            "tuning: lora, tuning_options: .*w_q.* q_proj",
        ),
        (
            {"templates": {"listening": {"share": -1}}},
            "templates: listening: its share",
        ),
        (
            {"templates": {"a": {"format": "{text}", "share": 1}}},
            "templates: a: its format",
        ),
    ],
)
def test_bad_settings_end_with_a_message_that_names_them(
    finetune_run, tmp_path, others, message
):
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        finetune(finetune_run(tmp_path, **others))


def test_a_gpu_that_is_too_small_is_told_by_the_keys_to_lower(
    finetune_run, tmp_path, monkeypatch
):
    def overflow(*arguments, **stage):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(finetune_module.FinetuneBrain, "compute_objectives", overflow)
    message = "error: the GPU's memory is too small: lower batch_seconds .*CUDA out"
    with pytest.raises(SystemExit, match=f"^{message}") as stopped:
        finetune(finetune_run(tmp_path, text_ratio=0))
    assert "\n" not in str(stopped.value)
    cause = stopped.value.__cause__.__cause__
    assert isinstance(cause, torch.cuda.OutOfMemoryError)


def test_an_empty_text_is_named(finetune_run, tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SystemExit, match="text_heldout: there is no text in .*empty"):
        finetune(finetune_run(tmp_path, text_heldout=tmp_path / "empty.txt"))


def test_settings_of_another_run_are_refused_in_its_folder(run, finetune_run):
    folder = run[0]["output_folder"].parent
    options = {"lora": {"r": 3}}
    with pytest.raises(SystemExit, match="has other settings: tuning_options is"):
        finetune(finetune_run(folder, tuning_options=options))
