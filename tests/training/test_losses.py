"""Stage-1 losses against values worked out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.nnet.candidates import distance_logits, draw_candidates
from ssr_plugin.training.losses import (
    cosine_distance,
    relative_squared_error,
    squared_error,
)

Z = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
E = torch.tensor([[1.0, 0.0], [4.0, 3.0]])


def test_the_squared_error_is_summed_over_dimensions_and_averaged_over_tokens():
    assert squared_error(Z, E).item() == (4 + 16) / 2


def test_the_relative_squared_error_does_not_depend_on_the_scale():
    relative = relative_squared_error(Z, E)
    assert relative.item() == pytest.approx(10 / 13)
    assert relative_squared_error(50 * Z, 50 * E).item() == pytest.approx(10 / 13)


def test_the_relative_squared_error_of_zero_embeddings_is_finite():
    assert math.isfinite(relative_squared_error(Z, torch.zeros_like(E)).item())


def test_the_cosine_distance_is_averaged_over_tokens():
    cosines = [1 / math.sqrt(5), 9 / 15]
    assert cosine_distance(Z, E).item() == pytest.approx(1 - sum(cosines) / 2)


def test_cosine_distance_with_a_center_ignores_what_all_embeddings_share():
    torch.manual_seed(0)
    mean = 10 * torch.ones(32)
    z, h = torch.randn(2, 50, 32)
    assert cosine_distance(z + mean, h + mean) < 0.02
    centred = cosine_distance(z + mean, h + mean, center=mean)
    assert centred.item() == pytest.approx(cosine_distance(z, h).item(), abs=1e-4)


@pytest.mark.parametrize(
    "loss", [squared_error, relative_squared_error, cosine_distance]
)
def test_losses_of_vectors_that_equal_the_embeddings_are_zero(loss):
    assert loss(E, E).item() == pytest.approx(0, abs=1e-6)


PLAIN = {
    squared_error: lambda z, h: (z - h).square().sum(-1),
    relative_squared_error: lambda z, h: (
        (z - h).square().sum(-1) / (WEIGHT * h.square().sum(-1)).sum()
    ),
    cosine_distance: lambda z, h: 1 - F.cosine_similarity(z, h, dim=-1),
}
WEIGHT = torch.tensor([[0.5, 0.2, 0.0], [0.1, 0.2, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize("loss", PLAIN)
def test_losses_are_weighted_sums_of_the_plain_formula_with_its_gradient(loss):
    torch.manual_seed(0)
    z, h = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    z.requires_grad_()
    found, expected = loss(z, h, weight=WEIGHT), (PLAIN[loss](z, h) * WEIGHT).sum()
    torch.testing.assert_close(found, expected)
    # In another unit, as a loss with a weight is.
    (ours,) = torch.autograd.grad(3 * found, z)
    (theirs,) = torch.autograd.grad(3 * expected, z)
    torch.testing.assert_close(ours, theirs)
    assert not ours[WEIGHT == 0].any()


def test_a_centered_cosine_distance_has_the_plain_formulas_gradient():
    torch.manual_seed(0)
    z, h = torch.randn(2, 5, 4, dtype=torch.float64)
    center = torch.randn(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda z: cosine_distance(z, h, center), z.requires_grad_()
    )


def test_distance_logits_differ_as_the_squared_distances_do():
    torch.manual_seed(0)
    z, table = torch.randn(5, 8), torch.randn(11, 8)
    distances = torch.cdist(z, table).square()
    expected = F.log_softmax(-distances, dim=-1)
    norms = table.square().sum(-1)
    for logits in (distance_logits(z, table), distance_logits(z, table, norms)):
        logits = F.log_softmax(logits, dim=-1)
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_distance_logits_are_highest_at_the_tokens_own_embedding():
    torch.manual_seed(0)
    table = torch.randn(11, 8)
    assert torch.equal(distance_logits(table, table).argmax(-1), torch.arange(11))


def test_distance_logits_of_a_vector_equally_far_from_all_are_equal():
    logits = distance_logits(torch.zeros(1, 4), torch.eye(4))
    assert logits.unique().numel() == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_distance_logits_of_a_table_in_half_precision_are_much_the_same(dtype):
    torch.manual_seed(0)
    table, z = torch.randn(11, 8).to(dtype), torch.randn(5, 8)
    logits = distance_logits(z, table)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(
        logits, distance_logits(z, table.float()), atol=0.1, rtol=0.02
    )


@given(
    st.lists(st.integers(0, 19), min_size=1),
    st.sets(st.integers(0, 19), min_size=1),
    st.integers(0, 25),
)
def test_candidates_are_sorted_distinct_and_hold_the_targets(targets, seen, count):
    targets, seen = torch.tensor(targets), torch.tensor(sorted(seen))
    candidates = draw_candidates(targets, seen, 20, count).tolist()
    assert candidates == sorted(set(candidates))
    assert set(targets.tolist()) <= set(candidates) <= set(range(20))
    if count == 0 or count >= 20:
        assert len(candidates) == 20


def test_half_of_the_drawn_candidates_are_seen_in_training():
    seen = torch.arange(1000, 1100)
    candidates = draw_candidates(torch.tensor([0]), seen, 100_000, 100)
    assert 50 <= int(torch.isin(candidates, seen).sum()) <= 60


def test_candidates_change_from_draw_to_draw():
    torch.manual_seed(0)
    targets, seen = torch.tensor([3]), torch.arange(50)
    first, second = (draw_candidates(targets, seen, 100, 10) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("start", [torch.zeros, torch.ones])
def test_loss_gradients_are_finite_where_vectors_are_zero_or_perfect(start):
    table = torch.ones(6, 4)
    z = start(3, 4).requires_grad_()
    h, targets = table[:3], torch.tensor([0, 1, 2])
    loss = squared_error(z, h) + cosine_distance(z, h, center=table.mean(0))
    (loss + F.cross_entropy(distance_logits(z, table), targets)).backward()
    assert torch.isfinite(z.grad).all()
