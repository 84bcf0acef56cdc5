"""JoinedShards: splits of several folders, read as one and none of them moved."""

import pickle

import numpy as np
import pytest

from ssr_plugin.data.joined_shards import JoinedShards
from ssr_plugin.data.shards import (
    ShardError,
    Shards,
    ShardSample,
    write_list,
    write_shard,
)
from ssr_plugin.training.shard_batches import ShardPlan


@pytest.fixture
def make_split(tmp_path):
    """A split of shards of a folder of its own, of so many utterances each."""

    def make(name, *sizes):
        entries, seconds = [], iter(np.arange(1, 100) / 10)
        for shard, size in enumerate(sizes):
            samples = []
            for number in range(size):
                id, frames = f"{name}{shard}{number}", np.zeros((number + 1, 2))
                sample = ShardSample(
                    id, "hi", "1", next(seconds), 16000, {}, id.encode(), ".wav", frames
                )
                samples.append(sample)
            folder = tmp_path / name / "train"
            entries.append(write_shard(folder, f"{shard:06d}", samples, {}))
        write_list(tmp_path / name, {"train": entries}, {"train": 1}, {"audio": True})
        return Shards(tmp_path / name)["train"]

    return make


def test_each_utterance_is_that_of_its_split(make_split):
    splits = [make_split("a", 3, 2), make_split("b"), make_split("c", 1, 4)]
    joined = pickle.loads(pickle.dumps(JoinedShards(splits)))
    expected = [(part, row) for part in splits for row in range(len(part))]
    assert len(joined) == len(expected) == 10 and joined.skipped == 3
    for row, (part, number) in enumerate(expected):
        record = part.record(number)
        assert joined.record(row) == record
        assert joined.part(row).folder == part.folder
        assert joined.audio_file(row) == part.audio_file(number)
        assert joined.audio(row, record) == part.audio(number, record)
        assert joined.num_frames(row) == part.num_frames(number)
        assert str(joined.damaged(row, "x")) == str(part.damaged(number, "x"))
        assert joined.frames(row).tolist() == part.frames(number).tolist()
    assert joined.starts.tolist() == [0, 3, 5, 6, 10]
    durations = np.concatenate([part.durations for part in splits])
    assert joined.durations[:].tolist() == durations.tolist()
    assert joined.durations[2:7].tolist() == durations[2:7].tolist()
    rows = np.array([9, 0, 5, 4])
    assert joined.durations[rows].tolist() == durations[rows].tolist()
    assert joined.seconds == pytest.approx(durations.sum())


def test_pieces_of_all_splits_are_mixed_and_each_is_read_from_its_own(make_split):
    joined = JoinedShards([make_split("a", 8, 8), make_split("b", 8)])
    plan = ShardPlan(joined.durations, joined.starts, 2.0, seed=1, buffer=8)
    found, mixed = [], False
    for buffer in range(3):
        names = []
        for first, stop in plan.pieces(1, buffer):
            joined.will_read(first, stop)
            names += [joined.record(row)["id"] for row in range(first, stop)]
        mixed = mixed or len({name[0] for name in names}) == 2
        found += names
    assert sorted(found) == sorted(joined.record(row)["id"] for row in range(24))
    assert mixed


def test_what_was_added_or_changed_is_another_digest_and_twice_is_refused(make_split):
    a, b, c = make_split("a", 2), make_split("b", 2), make_split("c", 3)
    digests = {JoinedShards(x).digest for x in ([a, b], [b, a], [a, c], [a])}
    assert len(digests) == 4
    with pytest.raises(ShardError, match="/a/train and .*/a/train hold the same"):
        JoinedShards([a, b, a])
