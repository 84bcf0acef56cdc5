"""Steps, disk and hours of a plan follow from the hours of speech and the GPUs."""

import pytest

from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.hparams import make_job
from ssr_plugin.training.batch_size import choose_batch
from ssr_plugin.training.resource_plan import (
    Corpus,
    Hardware,
    hours_of,
    plan_distill,
    plan_encoder,
)


@pytest.fixture(scope="module")
def settings():
    return make_job("distill.yaml", {}).settings


def test_a_plan_takes_the_batch_that_the_training_takes(settings):
    corpus = Corpus(hours=20)
    for hardware in (Hardware(gpus=2, gpu_memory=40e9), Hardware(gpus=0)):
        stage, _ = plan_distill(settings, corpus, hardware)
        audio = corpus.seconds * settings["number_of_epochs"]
        batch = choose_batch(audio, hardware.memory, hardware.processes)
        assert stage.batch_seconds == batch
        per_epoch = -(-corpus.seconds // (batch * hardware.processes))
        assert stage.steps == per_epoch * settings["number_of_epochs"]
        # Only several processes exchange gradients, and no CPU was timed.
        copies = stage.cost.gradients if hardware.gpus == 2 else 0
        assert stage.reduction == copies and stage.peak == stage.cost.peak + copies
        assert (stage.hours is None) == (hardware.gpus == 0)


def test_frames_that_are_not_kept_cost_no_disk_and_their_time_in_every_epoch(settings):
    corpus, hardware = Corpus(hours=10), Hardware()
    kept, encoder = plan_distill(settings, corpus, hardware)
    uncached = settings | {"cache_features": False}
    again, other = plan_distill(uncached, corpus, hardware)
    assert encoder.cached and not other.cached
    epochs = settings["number_of_epochs"]
    assert again.hours == pytest.approx(kept.hours + epochs * encoder.hours)
    # 10 h of the sample's encoder: 50 frames a second, 192 numbers of two bytes.
    assert encoder.disk == 10 * 3600 * 50 * 192 * 2


def test_speed_perturbation_multiplies_what_is_encoded(settings):
    one, three = (
        plan_encoder(settings | {"speed_perturbation": speeds}, Corpus(10), Hardware())
        for speeds in ([1.0], [0.9, 1.0, 1.1])
    )
    assert three.disk == 3 * one.disk
    assert three.hours == pytest.approx(3 * one.hours)


def test_hours_are_those_of_the_manifest_that_a_run_prepared(tmp_path):
    assert hours_of({"output_folder": tmp_path}) is None
    rows = [(str(i), 9.0 * i, "a.wav", "anna", "text") for i in (1, 2, 3)]
    write_manifest(tmp_path / "manifests" / "train.csv", rows)
    assert hours_of({"output_folder": tmp_path}) == (54 / 3600, 18.0)
