"""What the loader's workers plan: new each epoch, and the same after a restart."""

import numpy as np
import pytest
import torch

from ssr_plugin.connectors.ssr_encoder import SSRPlanner
from ssr_plugin.nnet.spelling import Spelling
from ssr_plugin.segmenters.base import Segments
from ssr_plugin.training.augment import Strengths
from ssr_plugin.training.batches import collate
from ssr_plugin.training.planning import (
    CONNECTOR,
    DistillCollate,
    TrainingCollate,
    plan_targets,
)

V = 30
STRENGTHS = Strengths(
    mean_swap=1.0, frame_dropout=0.2, time_masks=2.0, boundary_jitter=2.0
)


def example(name, length):
    ends = np.arange(9, length, 10)
    segments = Segments(ends % V, ends - 9, ends)
    features = torch.randn(length, 4).half()
    return {
        "id": name,
        "duration": length / 50,
        "input": features,
        "num_frames": length,
        "segments": segments,
    }


EXAMPLES = [example("a", 100), example("b", 70), example("c", 35)]


def distill_collate(seed=1, count=12):
    spelling = Spelling([f"w{i}" for i in range(V)])
    planner = SSRPlanner("token", spelling=spelling)
    return DistillCollate(STRENGTHS, seed, planner, torch.arange(10), V, count)


def same(one, other):
    assert list(one.tensors) == list(other.tensors)
    return all(torch.equal(one.tensors[k], other.tensors[k]) for k in one.tensors)


@pytest.mark.parametrize(
    "make", [lambda: TrainingCollate(STRENGTHS, 1), distill_collate]
)
def test_a_plan_depends_on_seed_epoch_and_utterances_alone(make):
    collate_one, collate_other = make(), make()
    first = collate_one(EXAMPLES)
    torch.manual_seed(99)
    assert same(first, collate_other(EXAMPLES))
    collate_other.epoch = 1
    assert not same(first, collate_other(EXAMPLES))


def test_features_travel_in_the_type_they_are_stored_in():
    assert collate(EXAMPLES).inputs.dtype == torch.float16


def test_features_are_zero_at_padding():
    batch = collate(EXAMPLES)
    for row, length in enumerate(batch.lengths.tolist()):
        assert batch.inputs[row, :length].abs().min() > 0
        assert (batch.inputs[row, length:] == 0).all()


def test_the_segments_of_a_plan_are_the_jittered_ones_and_the_batch_keeps_its_own():
    batch, plain = distill_collate()(EXAMPLES), collate(EXAMPLES)
    assert torch.equal(batch.boundaries, plain.boundaries)
    planned = batch.tensors["segment_boundaries"]
    assert torch.equal(planned, batch.tensors["jittered_boundaries"])
    assert not torch.equal(planned, plain.boundaries)


def test_every_target_is_found_among_the_candidates():
    batch = distill_collate()(EXAMPLES)
    tokens, candidates = batch.tokens, batch.tensors["candidates"]
    assert (candidates.diff() > 0).all()
    index = batch.tensors["target_index"]
    assert torch.equal(candidates[index[tokens >= 0]], tokens[tokens >= 0])
    assert (index[tokens < 0] == -100).all()
    assert batch.tensors["target_weight"].sum().item() == pytest.approx(1)


def test_a_segment_of_no_token_stands_after_all_candidates():
    plan = plan_targets(torch.tensor([[3, V, -1]]), V, torch.tensor([1, 3, 5]))
    assert plan["target_index"].tolist() == [[1, 3, -100]]
    assert plan["target_weight"].tolist() == [[1.0, 0.0, 0.0]]
    assert plan["target_count"].tolist() == [2.0, 1.0]


def test_without_cross_entropy_there_are_no_candidates():
    tensors = distill_collate(count=None)(EXAMPLES).tensors
    assert "candidates" not in tensors and "target_index" not in tensors
    assert f"{CONNECTOR}grams" not in tensors and f"{CONNECTOR}frame" in tensors
