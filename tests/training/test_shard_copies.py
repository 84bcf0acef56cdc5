"""Copies of what shards hold: those of a folder, in their order, and never held."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.data.audio import read_audio, read_row
from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.shards import Shards, ShardSample, write_list, write_shard
from ssr_plugin.training.copy_noise import CopyNoise
from ssr_plugin.training.noisy_copies import NoisyCopies
from ssr_plugin.training.shard_batches import ShardPlan
from ssr_plugin.training.shard_copies import ShardCopies
from ssr_plugin.training.shard_dataset import ShardReader
from ssr_plugin.training.speed_perturbation import add_speeds

SPEEDS = [1.0, 0.8]
NOISE = {"copies": 2, "kinds": ["white", "babble"], "snr": [10], "num_talkers": 1}
RATE = 16000


@pytest.fixture(scope="module")
def rows(tmp_path_factory, write_audio):
    folder, rows = tmp_path_factory.mktemp("voices"), {}
    for number, name in enumerate("cab"):
        wav = write_audio(folder / f"{name}.flac", 0.5 + 0.1 * number, seed=number)
        rows[name] = {"wav": str(wav), "duration": 0.5 + 0.1 * number, "wrd": "HI"}
        rows[name]["spk_id"] = str(number)
    return rows


def test_copies_of_shards_are_those_of_a_folder_in_its_order(rows, tmp_path):
    noisy = NoisyCopies(NOISE, rows, tmp_path, RATE, seed=1)
    written, _ = noisy.make()
    alignment = Alignment("x", "HI", (Unit("HI", 0.1, 0.4, 0),), "word", 0.5)
    aligned = dict.fromkeys([*rows, *written], alignment)
    expected, _ = add_speeds(rows | written, aligned, SPEEDS)

    pool = [Utterance(k, x["wav"], x["wrd"], x["spk_id"]) for k, x in rows.items()]
    copies = ShardCopies(tuple(SPEEDS), CopyNoise(NOISE, pool, seed=1))
    places = [(copy, name) for copy in range(len(copies)) for name in rows]
    assert [copies.name(*place) for place in places] == [*expected]
    plain = np.array([row["duration"] for row in rows.values()])
    durations = copies.durations(plain)
    assert durations[:].tolist() == [row["duration"] for row in expected.values()]
    assert copies.seconds * plain.sum() == pytest.approx(durations[:].sum())
    for (copy, name), row in zip(places, expected.values(), strict=True):
        record = {"id": name, "text": "HI", "speaker": rows[name]["spk_id"]}
        with open(rows[name]["wav"], "rb") as file:
            found = copies.read(copy, file.read(), record, RATE, "it")
        # A file's samples have 16 bits; played slower they are made of several.
        torch.testing.assert_close(found, read_row(row, RATE), atol=1e-4, rtol=0)
        is_changed = not torch.equal(found, read_audio(rows[name]["wav"], RATE))
        assert is_changed == (copy > 0)


@pytest.fixture
def make_reader(rows, tmp_path):
    """A reader of one utterance, with what a recogniser hears of it."""
    with open(rows["a"]["wav"], "rb") as file:
        content = file.read()
    fields = {"kind": "word", "duration": 0.6, "units": [["HI", 0.1, 0.4, 0]]}
    heard = {**fields, "text": "HO", "units": [["HO", 0.2, 0.4, 0, 0.9, []]]}
    sample = ShardSample(
        "a", "HI", "1", 0.6, RATE, fields, content, ".flac", hypothesis=heard
    )
    entry = write_shard(tmp_path / "train", "000000", [sample], {})
    write_list(tmp_path, {"train": [entry]}, {}, {"audio": True})
    split = Shards(tmp_path)["train"]
    segmenter = SimpleNamespace(segment=lambda alignment, count: alignment)
    encoder = SimpleNamespace(sample_rate=RATE, num_frames=lambda count: count // 320)

    def make(*speeds, **options):
        noise = CopyNoise({"kinds": ["white"], "snr": [10]}, [], seed=1)
        copies = ShardCopies(speeds, noise)
        return ShardReader(split, segmenter, encoder, False, copies=copies, **options)

    return make


def test_a_copy_at_another_speed_has_all_its_times_and_the_words_that_were_heard(
    make_reader, tmp_path
):
    reader = make_reader(1.0, 0.5, hears=True, heard={tmp_path})
    plain, noisy, slow, slow_noisy = map(reader.read, range(len(reader)))
    assert [x["id"] for x in (plain, slow_noisy)] == ["a", "sp0.5-noisy1-a"]
    assert (slow["duration"], slow["num_frames"], len(slow["input"])) == (
        1.2,
        60,
        19200,
    )
    (unit,) = slow["segments"].units
    assert (unit.text, unit.start, unit.end) == ("HI", 0.2, 0.8)
    (unit,) = slow["hypothesis"].units
    assert (unit.text, unit.start, unit.end) == ("HO", 0.4, 0.8)
    # In noise it hears other words, and so does another recogniser.
    assert noisy["hypothesis"] is slow_noisy["hypothesis"] is None
    assert make_reader(1.0, hears=True).read(0)["hypothesis"] is None
    assert "hypothesis" not in make_reader(1.0).read(0)


def test_frames_serve_speech_as_it_is_alone():
    assert ShardCopies().is_plain
    assert not ShardCopies((0.9,)).is_plain and not ShardCopies((1.0, 0.9)).is_plain


def test_a_plan_of_copies_is_that_of_as_many_utterances():
    plain = np.random.default_rng(0).uniform(0.3, 25.0, 500)
    copies = ShardCopies((1.0, 0.9, 1.1))
    lazy = copies.durations(plain)
    starts = np.array([0, 300, 500, 800, 1000, 1300, 1500])
    found, expected = (
        ShardPlan(durations, starts, 20.0, seed=1, buffer=200)
        for durations in (lazy, lazy[:])
    )
    refs = [*found.refs(1)]
    assert refs == [*expected.refs(1)]
    for ref in refs[::20]:
        assert found.batch(ref).tolist() == expected.batch(ref).tolist()
