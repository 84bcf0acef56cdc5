"""Whole runs of stage 2, on tiny models and a corpus of noise."""

import json

import pytest

import runs

# What may differ from run to run.
OF_THE_PROCESS = {"wall_s", "peak_rss_mb"}
SCORES = {"nll", "prompted_wer", "utterances"}
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
def run(tmp_path_factory, finetune_run):
    """One run to its end: (the overrides it was given, what main returned)."""
    overrides = finetune_run(tmp_path_factory.mktemp("run"))
    return overrides, finetune(overrides)


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
