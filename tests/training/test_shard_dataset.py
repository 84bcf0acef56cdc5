"""What a training reads of a record in a shard."""

import pytest

from ssr_plugin.data.shards import (
    ShardError,
    Shards,
    ShardSample,
    write_list,
    write_shard,
)
from ssr_plugin.training.shard_dataset import read_alignment


@pytest.mark.parametrize(
    "change",
    [{"units": [["no", 0.1, 0.4, 0]]}, {"units": [["the", 0.1]]}, {"kind": 1}],
)
def test_an_alignment_that_is_none_is_told_with_its_shard(tmp_path, change):
    fields = {"kind": "word", "duration": 0.5, "units": [["the", 0.1, 0.4, 0]]}
    samples = [
        ShardSample(name, "the", "1", 0.5, 16000, alignment, b"-", ".wav")
        for name, alignment in (("a", fields), ("b", {**fields, **change}))
    ]
    entry = write_shard(tmp_path / "train", "000000", samples, {})
    write_list(tmp_path, {"train": [entry]}, {}, {})
    split = Shards(tmp_path)["train"]
    assert read_alignment(split, 0, split.record(0)).units[0].text == "the"
    with pytest.raises(ShardError, match=r"000000\.tar is damaged \(b: .*ssr prepare"):
        read_alignment(split, 1, split.record(1))
    with pytest.raises(ShardError, match=r"is damaged \('hypothesis'\)"):
        read_alignment(split, 0, split.record(0), "hypothesis")
