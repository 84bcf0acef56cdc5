"""Whole runs of the recipes, on tiny models and a corpus of noise.

Runs that come to their end go through a recipe's train.py in this process; those that
are killed have processes of their own (see runs.py).
"""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from ssr_plugin.cli import main as ssr
from ssr_plugin.data.manifest import read_manifest
from ssr_plugin.data.shards import ShardSplit
from ssr_plugin.metrics.curves import FIGURES
from ssr_plugin.training.brain import StageBrain

import runs

SPLIT_KEYS = {
    "segments",
    "cosine",
    "mse",
    "token_accuracy",
    "retrieval_wer",
    "retrieval_wer_whisper",
    "nll",
    "vectors_per_second",
    "vectors_per_token",
    "utterances",
    "skipped",
}
# What may differ from run to run.
OF_THE_PROCESS = {"wall_s", "audio_s_per_s", "peak_rss_mb"}
TRAIN_KEYS = {"epochs"} | OF_THE_PROCESS


def figures(folder):
    """All numbers of a run folder's metrics.json that must not vary."""
    metrics = json.loads((folder / "metrics.json").read_text())
    train = metrics["train"]
    metrics["train"] = {k: v for k, v in train.items() if k not in OF_THE_PROCESS}
    return metrics


def fingerprints(folder):
    """A hash of each file of a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory, small_run):
    """One run to its end: (the overrides it was given, what main returned)."""
    overrides = small_run(tmp_path_factory.mktemp("run"))
    argv = runs.arguments(**overrides)
    return overrides, runs.run("librispeech", argv, pictures=True)


@pytest.fixture(scope="module")
def killable():
    """Runs recipes in processes that may be killed."""
    killable = runs.Killable()
    yield killable
    killable.close()


# --- What a run leaves -------------------------------------------------------------


def test_metrics_have_the_documented_keys(run):
    overrides, returned = run
    metrics = json.loads((overrides["output_folder"] / "metrics.json").read_text())
    assert metrics == returned
    assert set(metrics) == {"train", "valid", "test-a"}
    for split in ("valid", "test-a"):
        assert set(metrics[split]) >= SPLIT_KEYS
        assert set(metrics[split]["nll"]) >= {"text", "speech", "none"}
        assert metrics[split]["segments"] == "forced"
        assert metrics[split]["utterances"] == 10
        assert metrics[split]["skipped"] == 0
        assert metrics[split]["vectors_per_token"] == 1
    assert set(metrics["train"]) >= TRAIN_KEYS
    assert metrics["train"]["epochs"] == 3
    assert metrics["train"]["audio_s_per_s"] > 0


def test_a_run_leaves_its_log_its_settings_its_curves_and_pictures(run):
    folder = run[0]["output_folder"]
    log = (folder / "log.txt").read_text()
    assert "epoch 3: " in log and "said: " in log and "read: " in log
    assert "number_of_epochs: 3" in (folder / "hyperparams.yaml").read_text()
    (events,) = (folder / "tensorboard").glob("events*")
    assert events.stat().st_size > 0
    (path, *_) = (folder / "checkpoints").glob("*/history.ckpt")
    noted = {key for figures in json.loads(path.read_text()) for key in figures}
    assert noted - {"epoch"} <= FIGURES.keys(), "a curve without a title in words"
    for name in ("utterance", "similarity", "learning_curves"):
        assert (folder / "pictures" / f"{name}.png").read_bytes()[1:4] == b"PNG"


# --- The same again ----------------------------------------------------------------


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others(
    run, small_run, tmp_path
):
    expected = figures(run[0]["output_folder"])
    for name, seed in (("same", 1234), ("other", 7)):
        argv = runs.arguments(**small_run(tmp_path / name, seed=seed))
        runs.run("librispeech", argv)
        assert (figures(tmp_path / name / "run") == expected) == (name == "same")


def test_the_same_command_after_the_end_reports_the_same(run):
    folder = run[0]["output_folder"]
    expected = figures(folder)
    (folder / "metrics.json").unlink()
    runs.run("librispeech", runs.arguments(**run[0]))
    assert figures(folder) == expected


def test_features_encoded_in_every_epoch_give_what_cached_ones_give(
    small_run, tmp_path
):
    found = {}
    for cached in (True, False):
        folder = tmp_path / str(cached)
        # The LLM's help makes more of small differences.
        overrides = small_run(folder, cache_features=cached, lm_fusion_steps=0)
        found[cached] = runs.run("librispeech", runs.arguments(**overrides))
        assert (folder / "cache" / "features").exists() == cached
    for split in ("valid", "test-a"):
        # Those on disk are rounded to float16.
        assert found[False][split]["cosine"] == pytest.approx(
            found[True][split]["cosine"], abs=0.02
        )


# --- Frozen is frozen --------------------------------------------------------------


def test_encoder_and_llm_are_not_trained_not_changed_and_not_saved(
    small_run, tmp_path, monkeypatch
):
    before, brains = [], []

    def fit_epochs(brain, *arguments):
        before.extend(frozen_state(brain))
        brains.append(brain)
        original(brain, *arguments)

    def frozen_state(brain):
        return [
            (f"{name}.{key}", value.clone())
            for name in ("encoder", "llm")
            for key, value in brain.modules[name].state_dict().items()
            # The rest of the LLM is loaded at the end, for its loss.
            if not key.startswith("model.")
        ]

    original = StageBrain.fit_epochs
    monkeypatch.setattr(StageBrain, "fit_epochs", fit_epochs)
    overrides = small_run(tmp_path, cache_features=False)
    sources = [overrides["encoder_source"], overrides["llm_source"]]
    files = [fingerprints(source) for source in sources]
    runs.run("librispeech", runs.arguments(**overrides))

    assert files == [fingerprints(source) for source in sources]
    (brain,) = brains
    after = dict(frozen_state(brain))
    assert len(before) > 20
    assert all(torch.equal(value, after[name]) for name, value in before)
    frozen = [p for n in ("encoder", "llm") for p in brain.modules[n].parameters()]
    assert not any(p.requires_grad or p.grad is not None for p in frozen)
    assert not (brain.modules["encoder"].training or brain.modules["llm"].training)

    optimized = {id(p) for g in brain.optimizer.param_groups for p in g["params"]}
    assert optimized == {id(p) for p in brain.modules["connector"].parameters()}
    trained = sum(p.numel() * 4 for p in brain.modules["connector"].parameters())
    for checkpoint in brain.checkpointer.list_checkpoints():
        saved = torch.load(checkpoint.path / "connector.ckpt", weights_only=True)
        assert set(saved) <= set(brain.modules["connector"].state_dict())
        size = sum(path.stat().st_size for path in checkpoint.path.iterdir())
        # Parameters, and two moments of each; the encoder alone would be as much.
        assert size < 3.2 * trained + 50_000


# --- Killed, and started again -----------------------------------------------------

BEFORE_TRAINING = [
    ("ssr_plugin.data.prepare:write_manifest", 2),
    ("ssr_plugin.alignment.readers:FileAligner.align", 2),
    ("ssr_plugin.encoders.feature_cache:FeatureCache._write", 2),
]
IN_TRAINING = [
    # The checkpoint of step 2 is there.
    ("ssr_plugin.training.distill_brain:DistillBrain.fit_batch", 4),
    # Amid a checkpoint: the connector is written, the optimizer is not.
    ("torch:save", 2),
    # Amid the first validation.
    ("ssr_plugin.metrics.vector_metrics:VectorMetrics.add", 5),
    # Two checkpoints are there, and the older one is still to go.
    ("shutil:rmtree", 2),
]
AFTER_TRAINING = [
    ("ssr_plugin.training.distill_brain:DistillBrain.score", 2),
    ("ssr_plugin.training.run_report:write_json", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "places, options",
    [
        (BEFORE_TRAINING + IN_TRAINING + AFTER_TRAINING, {}),
        pytest.param(
            IN_TRAINING,
            {"num_workers": 2, "grad_accumulation_factor": 2},
            marks=pytest.mark.long,
        ),
    ],
    ids=["one_process", "with_workers"],
)
def test_a_run_killed_again_and_again_ends_like_an_unbroken_one(
    run, small_run, killable, tmp_path, places, options
):
    whole = run[0]["output_folder"]
    if options:
        overrides = small_run(tmp_path / "whole", **options)
        whole = overrides["output_folder"]
        runs.run("librispeech", runs.arguments(**overrides))
    argv = runs.arguments(**small_run(tmp_path, ckpt_interval_steps=2, **options))
    for place, count in places:
        status = killable.run("librispeech", argv, place, count)
        assert status == -9, f"never came to call {count} of {place}"
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert killable.run("librispeech", argv) == 0
    assert figures(tmp_path / "run") == figures(whole)


@pytest.mark.long
@pytest.mark.slow
def test_a_run_killed_at_any_time_ends_like_an_unbroken_one(
    run, small_run, killable, tmp_path
):
    argv = runs.arguments(**small_run(tmp_path, ckpt_interval_steps=2))
    wall = run[1]["train"]["wall_s"]
    killable.run_killed_at_any_time("librispeech", argv, wall)
    assert figures(tmp_path / "run") == figures(run[0]["output_folder"])


def epochs_of(folder):
    """What the last checkpoint of a run knows of each epoch."""
    *_, last = sorted((folder / "checkpoints").glob("CKPT*"))
    return json.loads((last / "history.ckpt").read_text())


@pytest.mark.long
@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(small_run, killable, tmp_path):
    # Steps of two batches; an epoch has seven, of which one comes twice.
    options = {"test_splits": [], "score_with_llm": False}
    alone = options | {"grad_accumulation_factor": 2, "ckpt_interval_steps": 2}
    runs.run("librispeech", runs.arguments(**small_run(tmp_path / "whole", **alone)))
    together = options | {"ckpt_interval_steps": 1}
    argv = [runs.arguments(**small_run(tmp_path, **x)) for x in (alone, together)]
    step = "ssr_plugin.training.distill_brain:DistillBrain.fit_batch"
    # Each is killed amid an epoch.
    assert killable.run("librispeech", argv[1], step, 3, processes=2) == -9
    assert killable.run("librispeech", argv[0], step, 7) == -9
    assert killable.run("librispeech", argv[1], processes=2) == 0
    expected = epochs_of(tmp_path / "whole" / "run")
    found = epochs_of(tmp_path / "run")
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


# --- From shards -------------------------------------------------------------------

#: Each utterance four times.
COPIES = {
    "speed_perturbation": [1.0, 0.9],
    "noisy_copies": {"kinds": ["babble", "white"], "snr": [20], "num_talkers": 1},
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory, small_corpus, tiny_encoder_folder):
    """The small corpus as shards by ``ssr prepare``: folder of "frames", of "audio"."""
    base = tmp_path_factory.mktemp("shards")
    kinds = {
        "frames": ["--frames", str(tiny_encoder_folder), "--no-audio"],
        "audio": ["--shard-size", "3"],
    }
    for kind, words in kinds.items():
        words += ["--aligner", "files", "--num-workers", "0"]
        words += ["--aligner-option", f"source={small_corpus / 'words.jsonl'}"]
        data = [str(small_corpus / "LibriSpeech"), str(base / kind)]
        with runs._restored():
            assert ssr(["prepare", *data, *words]) == 0
    return {kind: base / kind for kind in kinds}


def test_frames_in_shards_give_what_their_corpus_gives(
    run, small_run, shards, tmp_path
):
    shard = {"data_folder": shards["frames"]}
    overrides = small_run(tmp_path, **shard)
    assert runs.run("librispeech", runs.arguments(**overrides))["train"]["epochs"] == 3
    assert figures(tmp_path / "run") == figures(run[0]["output_folder"])
    assert not (tmp_path / "run" / "manifests").exists()
    # Audio in other shards, for the same run, is not what its checkpoints know.
    argv = runs.arguments(**{**overrides, "data_folder": shards["audio"]})
    with pytest.raises(SystemExit, match="it was trained on other shards"):
        runs.run("librispeech", argv)


def test_another_data_set_is_trained_on_beside_the_first_from_files_and_from_shards(
    small_run, small_corpus, shards, tmp_path
):
    options = {"number_of_epochs": 1, "score_with_llm": False, "lm_fusion_steps": 0}
    options |= {"test_splits": [], "cache_folder": tmp_path / "cache"}
    other = {"data_folder": str(small_corpus), "dataset": "librispeech"}
    extra = [{**other, "splits": ["test-a"]}]
    of_files, of_shards = tmp_path / "files", tmp_path / "shards"
    argv = runs.arguments(**small_run(of_files, extra_train=extra, **options))
    metrics = runs.run("librispeech", argv)
    assert set(metrics) == {"train", "valid"} and metrics["valid"]["utterances"] == 10
    rows = read_manifest(of_files / "run" / "manifests" / "train.csv").values()
    assert {row["spk_id"] for row in rows} == set("123478")
    # Files are read in the order of their ids, in which those of test-a are last.
    options["data_folder"] = shards["frames"]
    folder = shutil.copytree(shards["frames"], tmp_path / "copy")
    extra = [{"data_folder": str(folder), "splits": "test-a"}]
    argv = runs.arguments(**small_run(of_shards, extra_train=extra, **options))
    runs.run("librispeech", argv)
    assert figures(of_shards / "run") == figures(of_files / "run")


@pytest.mark.long
def test_copies_made_of_shards_give_what_copies_of_their_corpus_give(
    small_run, shards, tmp_path
):
    # The encoder runs in each step: nothing is rounded but copies that are files.
    options = {**COPIES, "number_of_epochs": 1, "cache_features": False}
    options |= {"test_splits": [], "score_with_llm": False, "lm_fusion_steps": 0}
    of_folder, of_shards = tmp_path / "folder", tmp_path / "shards"
    runs.run("librispeech", runs.arguments(**small_run(of_folder, **options)))
    options["data_folder"] = shards["audio"]
    runs.run("librispeech", runs.arguments(**small_run(of_shards, **options)))
    expected, found = figures(of_folder / "run"), figures(of_shards / "run")
    assert found["train"] == expected["train"]
    assert found.keys() == expected.keys() == {"train", "valid", "valid noisy"}
    for split in ("valid", "valid noisy"):
        assert found[split].keys() == expected[split].keys()
        for key, value in expected[split].items():
            close = pytest.approx(value, rel=1e-4) if type(value) is float else value
            assert found[split][key] == close, key
    # No copy of training data is written.
    files = {x: len([*(x / "cache").rglob("*.flac")]) for x in (of_folder, of_shards)}
    assert files[of_shards] == found["valid noisy"]["utterances"] < files[of_folder]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_run_from_shards_killed_amid_an_epoch_ends_like_an_unbroken_one(
    small_run, shards, killable, tmp_path, monkeypatch, processes
):
    read, record = [], ShardSplit.record

    def note(split, row):
        read.append((split.folder.name, row))
        return record(split, row)

    monkeypatch.setattr(ShardSplit, "record", note)
    # Several buffers of several shards each; audio, which is encoded in each step, at
    # another speed and in noise, too.
    options = {"data_folder": shards["audio"], "shuffle_buffer": 6, "batch_seconds": 2}
    options |= {"num_workers": 2, "number_of_epochs": 1, "lm_fusion_steps": 0, **COPIES}
    options |= {"test_splits": [], "score_with_llm": False}
    extra = {"data_folder": str(shards["audio"]), "splits": "test-a"}
    options["extra_train"] = [extra]
    argv = runs.arguments(**small_run(tmp_path / "whole", **options))
    if processes == 1:
        runs.run("librispeech", argv)
        # Validation data, and their copies in noise, are of records that are read once.
        held = sorted(row for folder, row in read if folder == "valid")
        assert held == [*range(10)]
    else:
        assert killable.run("librispeech", argv, processes=processes) == 0
    argv = runs.arguments(**small_run(tmp_path, ckpt_interval_steps=2, **options))
    step = "ssr_plugin.training.distill_brain:DistillBrain.fit_batch"
    assert killable.run("librispeech", argv, step, 17, processes=processes) == -9
    assert killable.run("librispeech", argv, processes=processes) == 0
    expected = figures(tmp_path / "run")
    assert expected == figures(tmp_path / "whole" / "run")
    # One process reports what several report.
    runs.run("librispeech", [*argv, "--test_only"])
    assert figures(tmp_path / "run") == expected


@pytest.mark.parametrize(
    "options, told",
    [
        ({"train_splits": "train-a"}, "no split 'train-a'; there are: test-a, train"),
        ({"valid_splits": []}, "valid_splits: .* finds none of the splits"),
        (
            {"speed_perturbation": [0.9, 1.0]},
            "speed_perturbation: .* keep frames alone, and copies are made of audio",
        ),
        ({"noisy_copies": COPIES["noisy_copies"]}, "noisy_copies: .* made of audio"),
        ({"encoder_layer": 1}, "not those of encoder_source .*: other layer"),
    ],
)
def test_what_shards_cannot_give_is_told(small_run, shards, tmp_path, options, told):
    overrides = small_run(tmp_path, data_folder=shards["frames"], **options)
    with pytest.raises(SystemExit, match=told):
        runs.run("librispeech", runs.arguments(**overrides))


@pytest.mark.parametrize(
    "entry, told",
    [
        ({"data_folder": "files"}, "extra_train: .* is none, and .* of shards"),
        ({"data_folder": "frames"}, "extra_train: .* hold the same utterances"),
        ({"data_folder": "frames", "dataset": "csv"}, "extra_train: .* no dataset"),
        ({"data_folder": "audio", "splits": "test-a"}, "/frames keep no audio, and"),
    ],
)
def test_what_cannot_be_trained_on_beside_shards_is_told(
    small_run, shards, tmp_path, entry, told
):
    folder = shards.get(entry["data_folder"], tmp_path)
    extra = [{**entry, "data_folder": str(folder)}]
    shard = {"data_folder": shards["frames"], "test_splits": [], "extra_train": extra}
    with pytest.raises(SystemExit, match=told):
        runs.run("librispeech", runs.arguments(**small_run(tmp_path, **shard)))


def test_a_missing_shard_is_named_before_any_model_is_looked_for(
    small_run, shards, tmp_path
):
    folder = shutil.copytree(shards["audio"], tmp_path / "copy")
    (folder / "train" / "000001.tar").unlink()
    overrides = small_run(tmp_path, data_folder=folder, encoder_source="no encoder")
    with pytest.raises(SystemExit, match=r"shard .*train/000001\.tar is missing"):
        runs.run("librispeech", runs.arguments(**overrides))


# --- Other data sets, connectors and numbers of processes --------------------------


def test_ljspeech_trains(small_run, tmp_path, write_audio):
    names = [f"LJ{chapter:03}-000{i}" for chapter in (1, 50) for i in range(8)]
    for i, name in enumerate(names):
        write_audio(tmp_path / "LJSpeech-1.1" / "wavs" / f"{name}.wav", 1.0, seed=i)
    rows = [f"{name}|The CAT|the cat sat" for name in names]
    (tmp_path / "LJSpeech-1.1" / "metadata.csv").write_text("\n".join(rows))
    units = [("the", 0.0, 0.3), ("cat", 0.3, 0.6), ("sat", 0.6, 1.0)]
    words = tmp_path / "words.jsonl"
    words.write_text(
        "".join(json.dumps({"id": name, "words": units}) + "\n" for name in names)
    )
    overrides = small_run(
        tmp_path,
        data_folder=tmp_path,
        aligner_options={"files": {"source": str(words)}},
        number_of_epochs=1,
        valid_share=0.2,
    )
    metrics = runs.run("ljspeech", runs.arguments(**overrides))
    # Two of eight were held out: there is but one speaker.
    assert metrics["valid"]["utterances"] == 2
    assert metrics["test"]["utterances"] == 8


def test_any_csv_trains_and_gives_what_its_corpus_gives(run, small_run, tmp_path):
    manifests = run[0]["output_folder"] / "manifests"
    for name, manifest in (("train", "train"), ("dev", "valid"), ("test", "test-a")):
        rows = list(csv.DictReader((manifests / f"{manifest}.csv").open()))
        with (tmp_path / f"{name}.csv").open("w") as file:
            print("utt_id,path,speaker,sentence", file=file)
            for row in rows:
                columns = row["ID"], row["wav"], row["spk_id"], row["wrd"]
                print(*columns, sep=",", file=file)
    overrides = small_run(tmp_path, data_folder=tmp_path, dataset="csv")
    metrics = runs.run("template", runs.arguments(**overrides))
    assert metrics["valid"] == run[1]["valid"]
    assert metrics["test"] == run[1]["test-a"]


@pytest.mark.parametrize("yaml", ["distill.yaml", "hparams/distill.yaml"])
def test_ssr_train_gives_in_any_folder_what_the_recipe_gives(
    run, small_run, tmp_path, monkeypatch, yaml
):
    monkeypatch.chdir(tmp_path)
    (_, *words) = runs.arguments(**small_run(tmp_path, dataset="librispeech"))
    with runs._restored():
        assert ssr(["train", yaml, *words]) == 0
    assert figures(tmp_path / "run") == figures(run[0]["output_folder"])


def command_line(small_run, folder, path=(), **overrides):
    """Runs train.py as a user does, in a process of its own."""
    argv = runs.arguments(**small_run(folder, **overrides))
    script = runs.PROJECT / "recipes" / "librispeech" / "train.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [*path, runs.PROJECT]))
    command = [sys.executable, script, *argv]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.long
@pytest.mark.slow
def test_the_connector_of_an_installed_extension_trains_by_its_name(
    small_run, tmp_path, extension_site
):
    done = command_line(small_run, tmp_path, path=[extension_site], connector="toy")
    assert "extension 'b_broken' (ssr_broken:setup) is skipped" in done.stderr
    (best, *_) = (tmp_path / "run" / "checkpoints").glob("CKPT*")
    saved = torch.load(best / "connector.ckpt", weights_only=True)
    assert {name: list(x.shape) for name, x in saved.items()} == {
        "project.weight": [16, 32],
        "project.bias": [16],
    }
    assert figures(tmp_path / "run")["valid"]["utterances"] == 10


def test_testing_only_needs_a_checkpoint(small_run, tmp_path):
    argv = runs.arguments(**small_run(tmp_path)) + ["--test_only"]
    with pytest.raises(SystemExit, match="no checkpoint in .*: train first"):
        runs.run("librispeech", argv)


# --- Other languages ----------------------------------------------------------------


def test_another_language_has_its_aligner_trained_first_and_its_own_rates(
    tmp_path, small_run
):
    overrides = small_run(tmp_path, language="zh-CN", aligner="auto")
    del overrides["aligner_options"]
    overrides |= {"aligner_training": {"number_of_epochs": 1}, "number_of_epochs": 1}
    metrics = runs.run("librispeech", runs.arguments(**overrides))
    assert metrics["train"]["language"] == "zh-CN"
    assert metrics["test-a"]["retrieval_cer"] > 0
    assert not [key for key in metrics["test-a"] if "wer" in key]
    folder = overrides["output_folder"]
    trained = fingerprints(folder / "aligner_training")
    assert "segmenter.json" in trained
    overrides["number_of_epochs"] = 2
    metrics = runs.run("librispeech", runs.arguments(**overrides))
    assert metrics["train"]["epochs"] == 2
    assert fingerprints(folder / "aligner_training") == trained
