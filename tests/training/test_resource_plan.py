"""Steps, disk and hours of a plan follow from the hours of speech and the GPUs."""

import math

import pytest

from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.data.shards import ShardSample, write_list, write_shard
from ssr_plugin.hparams import make_job
from ssr_plugin.training.batch_size import choose_batch
from ssr_plugin.training.resource_plan import (
    Corpus,
    Hardware,
    plan_distill,
    plan_encoder,
    prepared_data,
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


NOISE = {"kinds": ["white"], "copies": 2}


def test_copies_multiply_what_is_encoded_trained_on_and_kept(settings):
    changed = settings | {"speed_perturbation": [1.0, 0.8], "noisy_copies": NOISE}
    # Each utterance in silence and in two noises, at its own speed and slower.
    times = 3 * (1 + 1 / 0.8)
    corpus, hardware = Corpus(hours=10), Hardware()
    (plain, one), (stage, more) = (
        plan_distill(x | {"batch_seconds": 40.0}, corpus, hardware)
        for x in (settings, changed)
    )
    assert more.disk == pytest.approx(times * one.disk)
    assert more.hours == pytest.approx(times * one.hours)
    assert stage.hours == pytest.approx(times * plain.hours)
    epochs = settings["number_of_epochs"]
    assert stage.steps == math.ceil(times * corpus.seconds / 40.0) * epochs
    # FLAC files, at one speed: less than their samples of two bytes, and not much less.
    samples = corpus.seconds * 2 * 16000 * 2
    assert one.noisy_disk == 0 and 0.6 < more.noisy_disk / samples < 0.8


def test_hours_are_those_of_the_manifest_that_a_run_prepared(tmp_path):
    settings = {"output_folder": tmp_path, "data_folder": str(tmp_path)}
    assert prepared_data(settings) is None
    rows = [(str(i), 9.0 * i, "a.wav", "anna", "text") for i in (1, 2, 3)]
    write_manifest(tmp_path / "manifests" / "train.csv", rows)
    found = prepared_data(settings)
    assert (found.hours, found.utterance_seconds) == (54 / 3600, 18.0)


def test_hours_of_shards_are_theirs_and_those_of_extra_ones(settings, tmp_path):
    for folder, seconds in (("a", [3.0, 5.0]), ("b", [1.0])):
        splits = {}
        for name in ("train", "valid"):
            samples = [
                ShardSample(f"{folder}{name}{x}", "hi", "1", x, 16000, {}, b"", ".wav")
                for x in seconds
            ]
            splits[name] = [write_shard(tmp_path / folder / name, "0", samples, {})]
        frames = {"source": "encoder", "cache_dtype": "int8"} if folder == "a" else None
        write_list(tmp_path / folder, splits, {}, {"audio": True, "frames": frames})
    settings = settings | {"data_folder": str(tmp_path / "a")}
    extra = [{"data_folder": str(tmp_path / "b")}]

    def found(**others):
        return prepared_data(settings | {"test_splits": []} | others)

    assert found().hours * 3600 == 8.0 and found().utterance_seconds == 4.0
    assert found().settings == {"cache_features": True, "cache_dtype": "int8"}
    # Audio is read where it is changed, or where some of the shards keep no frames.
    assert not found(speed_perturbation=[1.0, 0.8]).settings["cache_features"]
    both = found(extra_train=extra)
    assert both.hours * 3600 == 10.0 and not both.settings["cache_features"]
    # Copies in noise are no files.
    noisy = plan_encoder(settings | {"noisy_copies": NOISE}, Corpus(1), Hardware())
    assert noisy.noisy_disk == 0
