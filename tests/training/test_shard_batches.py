"""ShardPlan: each utterance once, the same steps for all, any place found at once."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssr_plugin.training.batches import length_batches
from ssr_plugin.training.shard_batches import (
    BatchRef,
    SameShards,
    ShardBatchSampler,
    ShardPlan,
)


def make_plan(sizes, seed=1, rank=0, world_size=1, buffer=4096, batch_seconds=20.0):
    durations = np.random.default_rng(0).uniform(0.3, 25.0, sum(sizes))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return ShardPlan(durations, starts, batch_seconds, seed, rank, world_size, buffer)


def rows_of(plan, epoch):
    return [tuple(plan.batch(ref).tolist()) for ref in plan.refs(epoch)]


def test_a_corpus_that_fits_the_buffer_has_the_batches_of_a_folder():
    plan = make_plan([70, 1, 129], seed=7)
    for epoch in (1, 2):
        sampler = length_batches(plan.durations.tolist(), 20.0, seed=7)
        sampler.set_epoch(epoch)
        assert rows_of(plan, epoch) == [tuple(batch) for batch in list(sampler)]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    world_size=st.integers(1, 3),
    buffer=st.integers(1, 40),
    epoch=st.integers(1, 3),
)
def test_each_utterance_comes_once_and_all_processes_make_as_many_steps(
    sizes, world_size, buffer, epoch
):
    if sum(sizes) < world_size:
        sizes = [*sizes, world_size]
    plans = [
        make_plan(sizes, rank=rank, world_size=world_size, buffer=buffer)
        for rank in range(world_size)
    ]
    steps = {plan.num_batches(epoch) for plan in plans}
    assert len(steps) == 1
    found = []
    for plan in plans:
        batches = rows_of(plan, epoch)
        assert len(batches) == plan.num_batches(epoch)
        # One with fewer begins anew: what is new of it comes once.
        found += itertools.chain(*dict.fromkeys(batches))
    assert sorted(found) == list(range(sum(sizes)))


def test_a_buffer_is_of_runs_from_all_over_and_another_epoch_has_others():
    plan = make_plan([100] * 20, buffer=128)
    runs = plan.pieces(1, 0)
    assert all(
        stop - first <= 16 and first // 100 == (stop - 1) // 100 for first, stop in runs
    )
    assert len({first // 100 for first, _ in runs}) > 4
    assert plan.pieces(2, 0) != runs
    assert make_plan([100] * 20, buffer=128, seed=2).pieces(1, 0) != runs


def test_the_middle_of_an_epoch_is_found_without_what_is_before_it(monkeypatch):
    plan = make_plan([100] * 20, buffer=128)
    expected = rows_of(plan, 1)
    sampler = ShardBatchSampler(make_plan([100] * 20, buffer=128))
    sampler.set_epoch(1)
    shuffled = []
    original = ShardPlan._shuffle

    def shuffle(plan, epoch, buffer):
        shuffled.append(buffer)
        return original(plan, epoch, buffer)

    monkeypatch.setattr(ShardPlan, "_shuffle", shuffle)
    middle = len(sampler) // 2
    (ref,) = itertools.islice(sampler, middle, middle + 1)
    assert tuple(sampler.plan.batch(ref).tolist()) == expected[middle]
    assert shuffled == [ref.buffer] and ref.buffer > 3


def test_a_stand_in_is_of_the_same_buffer():
    plan = make_plan([30])
    count = plan.num_batches(1)
    numbers = [ref.number for ref in plan.following(BatchRef(1, 0, 2))]
    assert numbers == [*range(2, count), 0, 1]


def test_fewer_utterances_than_processes_are_refused():
    with pytest.raises(ValueError, match="2 utterances, fewer than the 3 processes"):
        make_plan([2], world_size=3)


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"world_size": 2}, "middle of an epoch, with processes 1, .* has 2"),
        ({"batch_seconds": 40.0}, "with batch_seconds 20.0, .* has 40.0"),
        ({"buffer": 64}, "with shuffle_buffer 4096, .* has 64"),
    ],
)
def test_a_checkpoint_from_the_middle_wants_the_same_order(tmp_path, changed, told):
    SameShards("a", make_plan([100])).save(tmp_path / "shards")
    other = SameShards("a", make_plan([100], **changed))
    with pytest.raises(ValueError, match=told):
        other.load(tmp_path / "shards", end_of_epoch=False)
    # Between two epochs nothing is lost.
    other.load(tmp_path / "shards", end_of_epoch=True)
