"""Copies of what shards hold: those of a folder, in their order, and never held."""

import numpy as np
import pytest
import torch

from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.data.audio import read_audio, read_row
from ssr_plugin.data.datasets import Utterance
from ssr_plugin.training.copy_noise import CopyNoise
from ssr_plugin.training.noisy_copies import NoisyCopies
from ssr_plugin.training.shard_batches import ShardPlan
from ssr_plugin.training.shard_copies import ShardCopies
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
