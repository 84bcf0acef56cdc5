"""Whole runs that train segmenters, and connectors on the segments that those find."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from ssr_plugin import SpeechLM
from ssr_plugin.evaluation.harness.records import Records
from ssr_plugin.evaluation.run_evaluation import main as evaluate
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.metrics.curves import FIGURES
from ssr_plugin.training import distill_brain
from ssr_plugin.training.brain import StageBrain

import runs

TRAINED = ["subword_ctc", "boundary"]
# Of weights with which text gains something, on both of the splits that are scored.
HELPED_SEED = 3
TINY = {"width": 16, "num_heads": 2, "num_layers": 1}
BOUNDARY_KEYS = {
    "boundary_mae_ms",
    "boundary_precision",
    "boundary_recall",
    "boundary_f1",
    "count_error",
    "segments_per_token",
    "hypothesis_wer",
    "hypothesis_wer_whisper",
}
# What may differ from run to run.
OF_THE_PROCESS = {"wall_s", "audio_s_per_s", "peak_rss_mb"}


def figures(folder):
    """All numbers of a run folder's metrics.json that must not vary."""
    metrics = json.loads((folder / "metrics.json").read_text())
    train = metrics["train"]
    metrics["train"] = {k: v for k, v in train.items() if k not in OF_THE_PROCESS}
    return metrics


@pytest.fixture(scope="module")
def segmenter_run(tmp_path_factory, small_run):
    """``segmenter_run(folder, **overrides)``: those of hparams/segmenter.yaml.

    Caches are shared with all other runs of this module.
    """
    cache = tmp_path_factory.mktemp("cache")

    def overrides(folder, segmenter="subword_ctc", **others):
        settings = {
            "cache_folder": cache,
            "segmenter": segmenter,
            "segmenter_options": {segmenter: TINY},
            "number_of_epochs": 2,
            **others,
        }
        settings = small_run(folder, **settings)
        del settings["connector_options"]
        return settings

    return overrides


@pytest.fixture(scope="module")
def trained(tmp_path_factory, segmenter_run):
    """Runs to their end, by segmenter: (the overrides, what main returned)."""
    found = {}
    for name in TRAINED:
        overrides = segmenter_run(tmp_path_factory.mktemp(name), name)
        argv = runs.arguments("segmenter", **overrides)
        found[name] = overrides, runs.run("librispeech", argv, pictures=True)
    return found


@pytest.fixture(scope="module")
def distill_run(trained, small_run):
    """``distill_run(folder, segmenter, **overrides)``: those of hparams/distill.yaml.

    ``segmenter`` is that of ``trained``, or any other value of the key. Half of the
    utterances are trained on what it finds.
    """

    def overrides(folder, segmenter, **others):
        cache = trained["boundary"][0]["cache_folder"]
        if segmenter in trained:
            segmenter = trained[segmenter][0]["output_folder"]
        settings = {"number_of_epochs": 2, "score_with_llm": False, **others}
        settings.setdefault("predicted_share", 0.5)
        return small_run(folder, segmenter=segmenter, cache_folder=cache, **settings)

    return overrides


@pytest.fixture(scope="module")
def killable():
    """Runs recipes in processes that may be killed."""
    killable = runs.Killable()
    yield killable
    killable.close()


def train_segmenter(overrides):
    """Runs hparams/segmenter.yaml; returns the metrics."""
    return runs.run("librispeech", runs.arguments("segmenter", **overrides))


def train_connector(overrides, pictures=False):
    """Runs hparams/distill.yaml; returns the metrics."""
    return runs.run("librispeech", runs.arguments(**overrides), pictures)


# --- What a segmenter's run leaves -------------------------------------------------


@pytest.mark.parametrize("name", TRAINED)
def test_metrics_are_of_predicted_segments(trained, name):
    overrides, returned = trained[name]
    metrics = json.loads((overrides["output_folder"] / "metrics.json").read_text())
    assert metrics == returned
    assert set(metrics) == {"train", "valid", "test-a"}
    for split in ("valid", "test-a"):
        assert set(metrics[split]) == {"segments", "skipped", *BOUNDARY_KEYS}
        assert metrics[split]["segments"] == "predicted"
        assert metrics[split]["skipped"] == 0
        assert 0 <= metrics[split]["boundary_f1"] <= 100
        # Only one of the two says what it heard.
        heard = metrics[split]["hypothesis_wer"] is not None
        assert heard == (name == "subword_ctc")
    assert metrics["train"]["epochs"] == 2
    assert metrics["train"]["audio_s_per_s"] > 0


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_leaves_the_segmenter_its_log_and_pictures(
    trained, name, tiny_llm_folder
):
    folder = trained[name][0]["output_folder"]
    settings = json.loads((folder / "segmenter.json").read_text())
    assert settings["segmenter"] == name
    assert settings["options"].items() >= TINY.items()
    assert settings["llm"]["source"] == str(tiny_llm_folder)
    weights = load_file(folder / "segmenter.safetensors")
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    # Neither encoder nor LLM is in it.
    assert not any(key.startswith(("encoder", "llm", "tokenizer")) for key in weights)
    assert "epoch 2: " in (folder / "log.txt").read_text()
    (events,) = (folder / "tensorboard").glob("events*")
    assert events.stat().st_size > 0
    (path, *_) = (folder / "checkpoints").glob("*/history.ckpt")
    noted = {key for figures in json.loads(path.read_text()) for key in figures}
    assert noted - {"epoch"} <= FIGURES.keys(), "a curve without a title in words"
    for picture in ("learning_curves", "segments"):
        assert (folder / "pictures" / f"{picture}.png").read_bytes()[1:4] == b"PNG"


def test_the_segmenter_of_the_best_epoch_is_the_one_that_is_kept(trained):
    overrides, metrics = trained["boundary"]
    folder = overrides["output_folder"]
    scores = {
        path.parent: yaml.safe_load(path.read_text())["boundary_f1"]
        for path in (folder / "checkpoints").glob("*/CKPT.yaml")
    }
    best = max(scores, key=scores.get)
    assert metrics["valid"]["boundary_f1"] == scores[best]
    kept = load_file(folder / "segmenter.safetensors")
    weights = torch.load(best / "segmenter.ckpt", weights_only=True)
    assert set(weights) == set(kept)
    assert all(torch.equal(weights[key], kept[key]) for key in kept)


@pytest.mark.parametrize(
    "name, seed, same",
    [
        ("boundary", 1234, True),
        ("boundary", 7, False),
        pytest.param("subword_ctc", 1234, True, marks=pytest.mark.slow),
    ],
)
def test_the_same_seed_gives_the_same_metrics_and_another_seed_others(
    trained, segmenter_run, tmp_path, name, seed, same
):
    # It finds nothing in the caches, which must not matter.
    overrides = segmenter_run(tmp_path, name, seed=seed, cache_folder=tmp_path / "c")
    train_segmenter(overrides)
    expected = figures(trained[name][0]["output_folder"])
    assert (figures(overrides["output_folder"]) == expected) == same


@pytest.mark.slow
@pytest.mark.parametrize("name", ["char_ctc", "cif"])
def test_other_segmenters_train_by_their_names(segmenter_run, tmp_path, name):
    metrics = train_segmenter(segmenter_run(tmp_path, name, number_of_epochs=1))
    assert metrics["valid"]["segments"] == "predicted"
    assert (metrics["valid"]["hypothesis_wer"] is None) == (name == "cif")


def test_a_segmenter_that_is_not_trained_cannot_be_trained(segmenter_run, tmp_path):
    overrides = segmenter_run(tmp_path, "fixed", segmenter_options={})
    with pytest.raises(SystemExit, match="error: .*'fixed'"):
        train_segmenter(overrides)


# --- Connectors on found segments --------------------------------------------------


@pytest.fixture(scope="module")
def mixture(tmp_path_factory, distill_run):
    """A connector's run on a mixture: (the overrides, what main returned, counts).

    Counted are the utterances whose found segments were taught a token.
    """
    calls, brains = [], []

    def count(found, reference, null):
        calls.append(len(found))
        return assign(found, reference, null)

    def fit_epochs(brain, *arguments):
        brains.append(brain)
        fit(brain, *arguments)

    assign, fit = distill_brain.assign_tokens, StageBrain.fit_epochs
    folder = tmp_path_factory.mktemp("mixture")
    overrides = distill_run(folder, "subword_ctc", score_with_llm=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill_brain, "assign_tokens", count)
        patch.setattr(StageBrain, "fit_epochs", fit_epochs)
        metrics = train_connector(overrides, pictures=True)
    return overrides, metrics, len(calls), brains[0]


def test_what_used_the_transcript_says_forced_and_the_rest_predicted(mixture):
    overrides, returned, *_ = mixture
    metrics = json.loads((overrides["output_folder"] / "metrics.json").read_text())
    assert metrics == returned
    splits = {"valid", "test-a"}
    assert set(metrics) == {"train", *splits, *(f"{name} predicted" for name in splits)}
    for name, scores in metrics.items():
        if name == "train":
            continue
        predicted = name.endswith(" predicted")
        assert scores["segments"] == ("predicted" if predicted else "forced")
        assert scores["utterances"] == 10
        # Found segments are not those of the tokens, one by one.
        assert (scores["token_accuracy"] is None) == predicted
        assert (scores["vectors_per_token"] == 1) != predicted
        assert scores["retrieval_wer"] is not None
        assert set(scores["nll"]) >= {"text", "speech", "none", "gain_kept"}
        # What a hypothesis gives is known without transcript alone.
        assert ("cascade" in scores["nll"]) == predicted
        assert ("ahead_interval" in scores["nll"]) == predicted
    log = (overrides["output_folder"] / "log.txt").read_text()
    assert "test-a (forced) " in log and "test-a (predicted) " in log
    assert "test-a (forced segments): " in log
    assert "test-a (predicted segments): " in log
    picture = overrides["output_folder"] / "pictures" / "segments.png"
    assert picture.read_bytes()[1:4] == b"PNG"


def test_a_run_is_a_speech_lm_that_reads_as_the_run_did(mixture):
    overrides, metrics, *_ = mixture
    lm = SpeechLM.from_pretrained(overrides["output_folder"], encoder_dtype="float32")
    assert lm.metrics == metrics
    files = sorted(overrides["data_folder"].glob("**/test-a/*/*/*.flac"))
    spoken = lm.embed(list(files))
    assert {speech.segmentation for speech in spoken} == {"predicted"}
    seconds = sum(speech.seconds for speech in spoken)
    rate = sum(map(len, spoken)) / seconds
    expected = metrics["test-a predicted"]["vectors_per_second"]
    assert rate == pytest.approx(expected, rel=0.05)


@pytest.fixture(scope="module")
def helped(tmp_path_factory, small_run, tiny_llm_folder):
    """A run with an LLM that happens to gain by first halves: (overrides, metrics)."""
    folder = tmp_path_factory.mktemp("helped")
    shutil.copytree(tiny_llm_folder, folder / "llm")
    model = TextLLM(tiny_llm_folder).load_model()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(HELPED_SEED)
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder / "llm")
    overrides = small_run(
        folder,
        llm_source=folder / "llm",
        segmenter="subword_ctc",
        segmenter_options={"subword_ctc": TINY},
        segmenter_training={"number_of_epochs": 8},
    )
    return overrides, train_connector(overrides)


@pytest.mark.parametrize("split", ["test-a", "valid"])
def test_the_benchmark_of_second_halves_gives_what_the_run_reported(
    helped, tmp_path, split
):
    """On a test split, and on the speakers held out, by the run's own manifest."""
    overrides, metrics = helped
    folder = overrides["output_folder"]
    settings = {
        "model": folder,
        "dataset": "csv",
        "data_folder": folder / "manifests",
        "test_splits": [split],
        "output_folder": tmp_path,
        "benchmarks": ["second_half", "segments"],
        "conditions": [
            *("none", "text", "cascade", "predicted", "forced"),
            *("predicted_lm_fusion", "forced_lm_fusion"),
        ],
        **{k: overrides[k] for k in ("cache_folder", "aligner", "aligner_options")},
    }
    with runs._restored():
        found = evaluate(argv=runs.arguments("evaluate", **settings))["benchmarks"]

    def figure(metric, condition):
        return found[f"second_half {metric}"]["conditions"][condition][metric]

    for cut in ("forced", "predicted"):
        reported = metrics[split if cut == "forced" else f"{split} predicted"]
        nll = reported["nll"]
        fused = f"{cut}_lm_fusion"
        names = {"text": "text", "none": "none", "speech": cut, "lm_fusion": fused}
        kept = {"gain_kept": cut, "lm_fusion_kept": fused}
        if cut == "predicted":
            names["cascade"] = kept["cascade_kept"] = "cascade"
            assert figure("ahead", cut) == pytest.approx(nll["ahead"], rel=1e-3)
        for name, condition in names.items():
            assert figure("nll", condition) == pytest.approx(nll[name], rel=1e-5)
        for name, condition in kept.items():
            assert figure("gain_kept", condition) == pytest.approx(nll[name], rel=1e-3)
    # The run counts a token that is no word as one, too.
    for rule in ("reading_wer", "reading_wer_whisper"):
        read = found[f"segments {rule}"]["conditions"]
        assert found[f"second_half {rule}"]["conditions"] == read
        assert len(read) == 5
    records = [*Records(tmp_path / "answers" / "second_half.jsonl")]
    assert len(records) == 10 and all(record["speaker"] for record in records)


def test_about_half_of_the_utterances_are_trained_on_found_segments(mixture):
    _, _, count, _ = mixture
    # Of 2 epochs of 20.
    assert 10 <= count <= 30


def test_the_segmenter_is_not_trained_not_changed_and_not_saved(mixture, trained):
    overrides, _, _, brain = mixture
    folder = trained["subword_ctc"][0]["output_folder"]
    kept = load_file(folder / "segmenter.safetensors")
    now = brain.segmenter.state_dict()
    assert set(now) == set(kept)
    assert all(torch.equal(now[key], kept[key]) for key in kept)
    assert not brain.segmenter.training
    assert not any(
        p.requires_grad or p.grad is not None for p in brain.segmenter.parameters()
    )
    optimized = {id(p) for g in brain.optimizer.param_groups for p in g["params"]}
    assert optimized == {id(p) for p in brain.modules["connector"].parameters()}
    for path in (overrides["output_folder"] / "checkpoints").glob("*/*.ckpt"):
        assert "segmenter" not in path.name


def test_without_a_share_of_found_segments_training_is_on_forced_ones_alone(
    distill_run, tmp_path, monkeypatch
):
    def refuse(*arguments):
        raise AssertionError("found segments were trained on")

    monkeypatch.setattr(distill_brain, "assign_tokens", refuse)
    settings = {"connector": "mean", "predicted_share": 0, "number_of_epochs": 1}
    found = train_connector(distill_run(tmp_path / "a", "boundary", **settings))
    forced = train_connector(distill_run(tmp_path / "b", "forced", **settings))
    assert found["valid"] == forced["valid"]
    assert found["test-a predicted"]["segments"] == "predicted"
    assert set(forced) == {"train", "valid", "test-a"}


def test_a_segmenter_that_finds_nothing_leaves_nothing_to_read(
    trained, distill_run, tmp_path
):
    folder = shutil.copytree(trained["subword_ctc"][0]["output_folder"], tmp_path / "s")
    path = folder / "segmenter.safetensors"
    weights = load_file(path)
    weights["blank.bias"] += 1e6
    save_file(weights, path)
    settings = {"number_of_epochs": 1, "score_with_llm": True}
    metrics = train_connector(distill_run(tmp_path, folder, **settings))
    scores = metrics["test-a predicted"]
    assert scores["vectors_per_token"] == 0
    assert scores["retrieval_wer"] == 100
    assert scores["nll"]["speech"] == scores["nll"]["none"]
    assert metrics["test-a"]["vectors_per_token"] == 1


def error(overrides):
    """The message that a connector's run ends with."""
    with pytest.raises(SystemExit) as stopped:
        train_connector(overrides)
    message = str(stopped.value)
    assert message.startswith("error: ") and "Traceback" not in message
    return message


# --- A segmenter that is trained first ---------------------------------------------


@pytest.fixture(scope="module")
def first_run(distill_run, tmp_path_factory):
    """Overrides of a connector's run that names a segmenter to be trained."""

    def overrides(name):
        folder = tmp_path_factory.mktemp(name)
        training = {"number_of_epochs": 2, "batch_seconds": 4}
        return distill_run(
            folder,
            "subword_ctc",
            segmenter_options={"subword_ctc": TINY},
            segmenter_training=training,
            predicted_share=0,
        ) | {"segmenter": "subword_ctc"}

    return overrides


def test_a_segmenter_that_is_named_is_trained_before_the_connector(first_run):
    overrides = first_run("named")
    metrics = train_connector(overrides)
    assert {"valid", "valid predicted"} <= set(metrics)
    folder = overrides["output_folder"]
    told = json.loads((folder / "segmenter_training" / "metrics.json").read_text())
    assert told["train"]["epochs"] == 2
    lm = SpeechLM.from_pretrained(folder)
    speech = lm.embed((torch.rand(16000) - 0.5, 16000))
    assert speech.segmentation == "predicted"
    before = (folder / "segmenter_training" / "segmenter.safetensors").stat().st_mtime
    assert train_connector(overrides)["valid predicted"] == metrics["valid predicted"]
    after = (folder / "segmenter_training" / "segmenter.safetensors").stat().st_mtime
    assert after == before, "it was trained again"


@pytest.mark.long
def test_a_run_killed_while_the_segmenter_is_trained_ends_like_an_unbroken_one(
    first_run, killable
):
    expected = train_connector(first_run("unbroken"))
    overrides = first_run("killed")
    argv = runs.arguments(**overrides)
    for name in (
        "ssr_plugin.training.segmenter_brain:SegmenterBrain.fit_batch",
        "ssr_plugin.training.distill_brain:DistillBrain.fit_batch",
    ):
        assert killable.run("librispeech", argv, place=name, count=3) == -9
    assert killable.run("librispeech", argv) == 0
    metrics = json.loads((overrides["output_folder"] / "metrics.json").read_text())
    for split in ("valid", "valid predicted", "test-a predicted"):
        assert metrics[split] == expected[split]


def test_a_folder_without_a_segmenter_is_named(distill_run, tmp_path):
    message = error(distill_run(tmp_path, tmp_path))
    assert f"'{tmp_path}' holds no trained segmenter" in message


def test_a_segmenter_of_another_layer_is_refused(distill_run, tmp_path):
    message = error(distill_run(tmp_path, "boundary", encoder_layer=1))
    assert "set encoder_layer to it" in message


# --- Rivals, on fixed segments and through the LLM ---------------------------------

RIVAL = {
    "connector": "stack_mlp",
    "connector_options": {"stack_mlp": {"hidden_size": 32}},
    "predicted_share": 1,
    "llm_weight": 1,
}
THROUGH_LLM_ALONE = {"mse_weight": 0, "cosine_weight": 0, "ce_weight": 0}


def test_a_rival_trains_on_fixed_segments_through_the_llm(distill_run, tmp_path):
    settings = {**RIVAL, **THROUGH_LLM_ALONE, "number_of_epochs": 1}
    settings["score_with_llm"] = True
    metrics = train_connector(distill_run(tmp_path, "fixed", **settings))
    predicted = metrics["test-a predicted"]
    assert predicted["segments"] == "predicted"
    # 5 a second; the utterances have 49 frames.
    assert predicted["vectors_per_second"] == pytest.approx(5, rel=0.05)
    assert "lm_fusion" not in predicted
    assert metrics["test-a"]["segments"] == "forced"
    assert predicted["prompted_wer"] > 0


def test_the_best_of_a_rival_is_what_the_llm_makes_most_of(distill_run, tmp_path):
    settings = {**RIVAL, **THROUGH_LLM_ALONE, "lr": 0.05, "number_of_epochs": 3}
    train_connector(distill_run(tmp_path, "fixed", **settings))
    # Where the last epoch is not the best, both have a checkpoint.
    histories = (tmp_path / "run" / "checkpoints").glob("*/history.ckpt")
    epochs = max((json.loads(path.read_text()) for path in histories), key=len)
    assert all("token_accuracy" not in epoch for epoch in epochs)
    losses = [epoch["loss"] for epoch in epochs]
    kept = (tmp_path / "run" / "checkpoints").glob("*/CKPT.yaml")
    told = [yaml.safe_load(path.read_text())["loss"] for path in kept]
    assert min(losses) == pytest.approx(min(told))


def test_a_rival_that_cannot_say_nothing_is_not_taught_to(
    distill_run, tmp_path, monkeypatch
):
    losses = []
    objectives = distill_brain.DistillBrain.compute_objectives

    def watch(brain, predictions, batch, stage):
        losses.append(objectives(brain, predictions, batch, stage))
        return losses[-1]

    monkeypatch.setattr(distill_brain.DistillBrain, "compute_objectives", watch)
    settings = {**RIVAL, "llm_weight": 0, "number_of_epochs": 1}
    train_connector(distill_run(tmp_path, "fixed", **settings))
    assert all(torch.isfinite(loss) and loss < 100 for loss in losses)


# --- Killed, and started again -----------------------------------------------------

PLACES = [
    ("ssr_plugin.encoders.feature_cache:FeatureCache._write", 2),
    ("ssr_plugin.training.segmenter_brain:SegmenterBrain.fit_batch", 4),
    # Amid a checkpoint.
    ("torch:save", 2),
    # Amid the first validation.
    ("ssr_plugin.metrics.segmentation_metrics:SegmentationMetrics.add", 5),
    ("shutil:rmtree", 2),
    ("ssr_plugin.training.segmenter_brain:SegmenterBrain.score", 2),
    ("ssr_plugin.training.segmenter_stage:save_segmenter", 1),
]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_run_killed_again_and_again_ends_like_an_unbroken_one(
    trained, segmenter_run, killable, tmp_path, name
):
    settings = {"ckpt_interval_steps": 2, "cache_folder": tmp_path / "cache"}
    argv = runs.arguments("segmenter", **segmenter_run(tmp_path, name, **settings))
    for place, count in PLACES:
        status = killable.run("librispeech", argv, place, count)
        assert status == -9, f"never came to call {count} of {place}"
    assert not (tmp_path / "run" / "segmenter.json").exists()
    assert killable.run("librispeech", argv) == 0
    check_equal(tmp_path / "run", trained[name][0]["output_folder"])


@pytest.mark.long
@pytest.mark.slow
def test_a_run_killed_at_any_time_ends_like_an_unbroken_one(
    trained, segmenter_run, killable, tmp_path
):
    settings = {"ckpt_interval_steps": 2, "cache_folder": tmp_path / "cache"}
    argv = runs.arguments("segmenter", **segmenter_run(tmp_path, **settings))
    whole, metrics = trained["subword_ctc"]
    wall = metrics["train"]["wall_s"]
    killable.run_killed_at_any_time("librispeech", argv, wall)
    check_equal(tmp_path / "run", whole["output_folder"])


def check_equal(folder, other):
    """Two runs of a segmenter ended in the same figures and weights."""
    assert figures(folder) == figures(other)
    one, two = (load_file(path / "segmenter.safetensors") for path in (folder, other))
    assert set(one) == set(two)
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.long
@pytest.mark.slow
def test_a_connector_killed_on_a_mixture_ends_like_an_unbroken_one(
    mixture, distill_run, killable, tmp_path
):
    settings = {"ckpt_interval_steps": 2, "score_with_llm": True}
    argv = runs.arguments(**distill_run(tmp_path, "subword_ctc", **settings))
    for place, count in [
        ("ssr_plugin.training.distill_brain:DistillBrain.fit_batch", 4),
        ("torch:save", 2),
        ("ssr_plugin.training.distill_brain:DistillBrain.score", 2),
    ]:
        assert killable.run("librispeech", argv, place, count) == -9
    assert killable.run("librispeech", argv) == 0
    assert figures(tmp_path / "run") == figures(mixture[0]["output_folder"])


# --- Several processes -------------------------------------------------------------


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_train_the_named_segmenter_and_then_the_connector(first_run):
    overrides = first_run("together")
    argv = runs.arguments(**overrides)
    runs.run_by_two("librispeech", argv, 180)
    folder = overrides["output_folder"]
    expected = figures(folder)
    assert {"valid", "valid predicted"} <= set(expected)
    for log in ("log.txt", "segmenter_training/log.txt"):
        assert (folder / log).read_text().count("epoch 2: ") == 1
    runs.run("librispeech", runs.arguments(**overrides) + ["--test_only"])
    assert figures(folder) == expected
