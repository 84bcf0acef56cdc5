"""NoisyCopies: the same files whenever asked, each in a noise of its own."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.data.audio import read_audio
from ssr_plugin.data.speech_level import rms_level
from ssr_plugin.training import data_pipeline
from ssr_plugin.training.noisy_copies import NoisyCopies

RATE = 16000
SETTINGS = {"kinds": ["white", "babble"], "snr": [30, 10], "num_talkers": 1}


@pytest.fixture(scope="module")
def rows(tmp_path_factory, write_audio):
    folder = tmp_path_factory.mktemp("voices")
    found = {}
    for number in range(8):
        wav = write_audio(folder / f"{number}.flac", 0.5, seed=number)
        speaker = "ab"[number % 2]
        row = {"wav": str(wav), "duration": 0.5, "wrd": "HI", "spk_id": speaker}
        found[f"u{number}"] = row
    return found


def make(rows, folder, seed=1, **changes):
    return NoisyCopies(SETTINGS | changes, rows, folder, RATE, seed)


def noise_levels(rows, copies, noisy):
    """How loud each copy's noise is beside its speech, dB."""
    levels = {}
    for name, row in copies.items():
        clean = read_audio(rows[noisy.originals[name]]["wav"], RATE)
        noise = read_audio(row["wav"], RATE) - clean
        levels[name] = rms_level(clean) - rms_level(noise)
    return levels


def test_copies_say_the_same_as_loud_in_noise_of_the_levels_asked_for(rows, tmp_path):
    noisy = make(rows, tmp_path, copies=3)
    copies, problems = noisy.make()
    assert not len(problems)
    assert len(copies) == 3 * len(rows)
    for name, row in copies.items():
        original = rows[noisy.originals[name]]
        assert {**row, "wav": None} == {**original, "wav": None}
        assert soundfile.info(row["wav"]).frames == 0.5 * RATE
    levels = np.array([*noise_levels(rows, copies, noisy).values()])
    # The active level of a tone is its level.
    near = [np.abs(levels - level) < 1.5 for level in (30, 10)]
    assert all(x.any() for x in near)
    assert (near[0] | near[1]).all()


def test_the_same_copies_are_made_once(rows, tmp_path):
    copies, _ = make(rows, tmp_path).make()
    times = {row["wav"]: soundfile.read(row["wav"])[0] for row in copies.values()}
    before = {wav: (tmp_path / wav).stat().st_mtime_ns for wav in times}
    again, _ = make(rows, tmp_path).make()
    assert again == copies
    assert {x: (tmp_path / x).stat().st_mtime_ns for x in times} == before
    other, _ = make(rows, tmp_path, seed=2).make()
    assert {x["wav"] for x in other.values()}.isdisjoint(before)


def test_shards_make_what_one_process_makes(rows, tmp_path):
    whole, _ = make(rows, tmp_path / "whole").make()
    noisy = make(rows, tmp_path / "parts")
    parts = [noisy.make(shard=f"{k}/3")[0] for k in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(whole)
    merged = {name: row["wav"] for part in parts for name, row in part.items()}
    for name, row in whole.items():
        assert (soundfile.read(row["wav"])[0] == soundfile.read(merged[name])[0]).all()


def test_an_utterance_that_cannot_be_read_is_named_and_others_go_on(rows, tmp_path):
    broken = tmp_path / "broken.flac"
    broken.write_bytes(b"no audio")
    bad = {"bad": rows["u0"] | {"wav": str(broken)}}
    gone = {"gone": rows["u0"] | {"wav": str(tmp_path / "gone.flac")}}
    noisy = make(rows | bad | gone, tmp_path, kinds=["white"])
    copies, problems = noisy.make(max_skipped_share=0.5)
    assert sorted(problems.reasons) == ["noisy1-bad", "noisy1-gone"]
    assert len(copies) == len(rows)


def test_copies_are_aligned_as_what_they_are_copies_of(rows, tmp_path):
    alignment = Alignment("u1", "HI", (Unit("HI", 0.1, 0.4, 0),), "word", 0.5)
    aliases = make(rows, tmp_path).alias({"u1": alignment})
    assert list(aliases) == ["noisy1-u1"]
    assert aliases["noisy1-u1"] == alignment


def test_training_data_grow_and_validation_data_stay(rows, tmp_path):
    data = {"train": dict(rows), "valid": dict(rows)}
    alignment = Alignment("u1", "HI", (Unit("HI", 0.1, 0.4, 0),), "word", 0.5)
    alignments = {split: {"u1": alignment} for split in data}
    hparams = {
        "noisy_copies": SETTINGS,
        "cache_folder": tmp_path,
        "seed": 1,
        "max_skipped_share": 0.01,
        "encoder": SimpleNamespace(sample_rate=RATE),
    }
    skipped = {"train": {}, "valid": {}}
    data_pipeline.add_noisy_copies(data, alignments, skipped, hparams)
    assert {k: len(v) for k, v in data.items()} == {
        "train": 16,
        "valid": 8,
        data_pipeline.NOISY_VALID: 8,
    }
    assert [*alignments["train"]] == ["noisy1-u1", "u1"]
    assert alignments["valid"] == {"u1": alignment}
    assert alignments[data_pipeline.NOISY_VALID]["noisy1-u1"] == alignment


def test_loud_speech_is_made_softer_not_clipped(tmp_path):
    wave = np.sin(np.arange(8000) / 10)
    soundfile.write(tmp_path / "loud.flac", wave, RATE)
    row = {"duration": 0.5, "wrd": "HI", "spk_id": "a"}
    loud = {"a": {"wav": str(tmp_path / "loud.flac"), **row}}
    copies, _ = make(loud, tmp_path, kinds=["white"], snr=[10]).make()
    (copy,) = copies.values()
    assert np.abs(soundfile.read(copy["wav"])[0]).max() == pytest.approx(0.99, abs=1e-3)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"copies": 0}, "one or more"),
        ({"kinds": ["rain"]}, "there is no kind 'rain'"),
        ({"snr": ["loud"]}, "is no number"),
        ({"levels": [1]}, "there is no 'levels'"),
    ],
    ids=json.dumps,
)
def test_settings_that_say_nothing_are_refused(rows, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make(rows, tmp_path, **changes)
