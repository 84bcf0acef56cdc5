"""ShardCorpus: which splits of shards a run trains, validates and tests on."""

import numpy as np
import pytest

from ssr_plugin.data.shards import ShardSample, write_list, write_shard
from ssr_plugin.training.shard_splits import ShardCorpus

SETTINGS = {
    "valid_splits": ["valid*"],
    "test_splits": [],
    "speed_perturbation": [1.0],
    "noisy_copies": {"kinds": []},
    "extra_train": [],
}


@pytest.fixture
def make_shards(tmp_path):
    """A folder of shards with splits of so many utterances each."""

    def make(name, **sizes):
        folder, splits = tmp_path / name, {}
        for split, size in sizes.items():
            samples = [
                ShardSample(
                    f"{name}-{split}-{i}", "hi", "1", 1.0, 16000, {}, b"..", ".wav"
                )
                for i in range(size)
            ]
            splits[split] = [write_shard(folder / split, "000000", samples, {})]
        write_list(folder, splits, dict.fromkeys(sizes, 0), {"audio": True})
        return folder

    return make


def test_all_training_splits_that_are_named_are_mixed_with_what_is_extra(make_shards):
    settings = {
        **SETTINGS,
        "data_folder": make_shards("own", first=3, second=2, other=4, valid=1),
        "train_splits": ["first", "second"],
        "extra_train": [{"data_folder": str(make_shards("more", train=2))}],
    }
    splits = ShardCorpus.open(settings).splits
    ids = [splits["train"].record(row)["id"] for row in np.arange(7)]
    assert len(splits["train"]) == 7 and len(splits["valid"]) == 1
    parts = [*["own-first"] * 3, *["own-second"] * 2, *["more-train"] * 2]
    assert [id.rpartition("-")[0] for id in ids] == parts


def test_validation_is_on_one_split(make_shards):
    settings = {
        **SETTINGS,
        "data_folder": make_shards("own", train=3, valid1=2, valid2=2),
        "train_splits": ["train"],
    }
    with pytest.raises(ValueError, match="valid1, valid2 are 2 splits of shards"):
        ShardCorpus.open(settings)


def test_extra_shards_that_the_run_has_already_are_refused(make_shards):
    folder = make_shards("own", train=3, more=2, valid=2)
    settings = {
        **SETTINGS,
        "data_folder": folder,
        "train_splits": ["train"],
        "extra_train": [{"data_folder": str(folder), "splits": ["more", "valid"]}],
    }
    with pytest.raises(ValueError, match=r"extra_train: .*valid.* the same utterances"):
        ShardCorpus.open(settings)
