"""One run in one folder: what may change."""

import json

import pytest

from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.data.prepare import Manifests
from ssr_plugin.hparams import make_job
from ssr_plugin.training import run_folder


@pytest.fixture
def folder(tmp_path):
    """That of a run with a checkpoint, which has not ended."""
    folder = tmp_path / "run"
    (folder / "checkpoints" / "CKPT+1").mkdir(parents=True)
    job().save(folder)
    return folder


def job(**overrides):
    return make_job("distill.yaml", {"number_of_epochs": 5, **overrides})


def end(folder):
    """Ends the run."""
    (folder / "metrics.json").write_text(json.dumps({"train": {"epochs": 5}}))


def check(folder, **overrides):
    run_folder.check_settings(folder, job(**overrides).settings)


@pytest.mark.parametrize("has_ended", [False, True])
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"number_of_epochs": 9},
        {"num_workers": 0, "loggers": [], "cache_folder": "elsewhere"},
        {"score_with_llm": False, "num_shown": 0, "lm_fusion_steps": 0},
        # Models and data are known by what is in them.
        {"encoder_source": "elsewhere", "data_folder": "elsewhere"},
        # Options of a component that is not in use.
        {"connector_options": {"qformer": {"num_layers": 3}}},
    ],
)
def test_what_changes_nothing_that_is_trained_may_change(folder, overrides, has_ended):
    if has_ended:
        end(folder)
    check(folder, **overrides)


@pytest.mark.parametrize(
    "key, value",
    [
        ("seed", 7),
        ("ce_weight", 0.5),
        ("connector", "mean"),
        ("connector_options", {"ssr": {"form": "frame"}}),
        ("segmenter_options", {"forced": {"silence": "next"}}),
        ("aligner", "even"),
        ("encoder_layer", 2),
        ("speed_perturbation", [0.9, 1.1]),
    ],
)
def test_what_is_trained_otherwise_is_refused_with_both_values(folder, key, value):
    with pytest.raises(ValueError, match=f"other settings: {key} is .* there, and"):
        check(folder, **{key: value})


@pytest.mark.parametrize(
    "overrides", [{"lr": 0.0001}, {"batch_seconds": 10.0}, {"precision": "fp32"}]
)
def test_a_run_that_stopped_may_be_told_what_lets_it_go_on(folder, overrides):
    check(folder, **overrides)
    end(folder)
    with pytest.raises(ValueError, match="other settings"):
        check(folder, **overrides)


def test_a_run_that_ended_cannot_have_fewer_epochs(folder):
    check(folder, number_of_epochs=3)
    end(folder)
    with pytest.raises(ValueError, match="5 epochs are done there, and 3 wanted here"):
        check(folder, number_of_epochs=3)


def test_settings_under_names_of_an_earlier_version_are_compared_too(folder):
    path = folder / "hyperparams.yaml"
    saved = path.read_text()
    assert saved.count("\nframe_noise:") == 1
    path.write_text(saved.replace("\nframe_noise:", "\nnoise:"))
    check(folder)
    with pytest.raises(ValueError, match="frame_noise is 0.2 there, and 0.0 here"):
        check(folder, frame_noise=0.0)


def test_the_segmenter_that_is_trained_cannot_change(tmp_path):
    (tmp_path / "checkpoints" / "CKPT+1").mkdir(parents=True)
    make_job("segmenter.yaml", {}).save(tmp_path)
    settings = make_job("segmenter.yaml", {"segmenter": "cif"}).settings
    with pytest.raises(ValueError, match='segmenter is "subword_ctc" there, and "cif"'):
        run_folder.check_settings(tmp_path, settings)


def test_a_folder_without_a_checkpoint_takes_any_settings(folder):
    (folder / "checkpoints" / "CKPT+1").rmdir()
    check(folder, seed=7)


def test_damaged_settings_are_named(folder):
    (folder / "hyperparams.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"hyperparams\.yaml is damaged"):
        check(folder)


# --- Data --------------------------------------------------------------------------


def manifests(folder, text="the cat", wav="a.wav"):
    paths = [folder / "manifests" / f"{name}.csv" for name in ("train", "valid")]
    for path in paths:
        write_manifest(path, [("a", 1.0, wav, "anna", text)])
    return Manifests(*paths)


@pytest.mark.parametrize("noted", [False, True])
def test_data_may_move_but_not_change(folder, noted):
    found = manifests(folder)
    # A run of an earlier version has its manifests alone.
    if noted:
        run_folder.check_data(folder, found, None)
    known = run_folder.known_data(folder)
    run_folder.check_data(folder, manifests(folder, wav="elsewhere/a.wav"), known)
    for _ in range(2):
        known = run_folder.known_data(folder)
        with pytest.raises(ValueError, match="on other data .train and valid.: give"):
            run_folder.check_data(folder, manifests(folder, text="a dog"), known)
