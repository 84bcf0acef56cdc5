"""Integrate-and-fire loses no weight, keeps the order, and is its slow definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssr_plugin.nnet.firing import (
    fire,
    firing_frames,
    integrate,
    quantity_loss,
    scale_weights,
)

anything = settings(max_examples=100, deadline=None)
# Sums of 64ths are exact, and often whole numbers.
exact_weights = st.lists(st.integers(0, 64).map(lambda n: n / 64), max_size=30)
weights_of = exact_weights | st.lists(st.floats(0, 1, width=32), max_size=30)


def slow_shares(weights, count):
    """[N, T]: how much of [i, i + 1) accumulates during frame t."""
    ends = weights.cumsum(0)
    begins = ends - weights
    i = torch.arange(count).unsqueeze(1)
    return (torch.minimum(ends, i + 1) - torch.maximum(begins, i)).clamp_min(0)


def row_of(weights):
    return torch.tensor([weights], dtype=torch.float64)


@anything
@given(weights_of, st.integers(0, 12))
def test_integrated_vectors_are_those_of_the_slow_definition(weights, count):
    weights = row_of(weights)
    features = torch.randn(1, weights.shape[1], 3, dtype=torch.float64)
    expected = slow_shares(weights[0], count) @ features[0]
    vectors = integrate(features, weights, count)
    torch.testing.assert_close(vectors[0], expected, atol=1e-9, rtol=0)


@anything
@given(weights_of, st.integers(0, 12))
def test_fired_pieces_are_in_order_and_lose_no_weight(weights, count):
    frame, vector, width = (x[0] for x in fire(row_of(weights), count))
    assert (width >= 0).all()
    assert (frame.diff() >= 0).all()
    assert (vector.diff() >= 0).all()
    total = sum(weights)
    for t, weight in enumerate(weights):
        assert width[frame == t].sum().item() == pytest.approx(weight, abs=1e-9)
    for i in range(count):
        share = width[(vector == i) & (frame < len(weights))].sum().item()
        assert share == pytest.approx(min(max(total - i, 0), 1), abs=1e-9)


@anything
@given(
    st.lists(
        st.lists(st.floats(1 / 64, 1, width=32), min_size=1, max_size=20),
        min_size=1,
        max_size=4,
    ),
    st.data(),
)
def test_scaled_weights_give_each_row_its_own_number_of_whole_vectors(rows, data):
    counts = torch.tensor([data.draw(st.integers(0, 9)) for _ in rows])
    weights = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True
    )
    scaled = scale_weights(weights, counts)
    torch.testing.assert_close(scaled.sum(1), counts.double())
    ones = torch.ones(*weights.shape, 1)
    vectors = integrate(ones, scaled, int(counts.max()))
    for row, count in zip(vectors.squeeze(2), counts.tolist(), strict=True):
        torch.testing.assert_close(row[:count], torch.ones(count))
        assert (row[count:].abs() < 1e-6).all()


@anything
@given(weights_of, st.integers(0, 12), st.integers(1, 5))
def test_integrate_is_not_changed_by_frames_without_weight(weights, count, more):
    features = torch.randn(1, len(weights) + more, 2)
    padded = integrate(features, row_of([*weights, *[0.0] * more]), count)
    alone = integrate(features[:, : len(weights)], row_of(weights), count)
    torch.testing.assert_close(padded, alone)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_gradients_of_integrate_are_those_of_the_slow_definition(count):
    torch.manual_seed(count)
    weights = torch.rand(1, 12, dtype=torch.float64, requires_grad=True)
    features = torch.randn(1, 12, 3, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(count, 3, dtype=torch.float64)
    slow = slow_shares(weights[0], count) @ features[0]
    fast = integrate(features, weights, count)[0]
    expected, found = (
        torch.autograd.grad((vectors * direction).sum(), (weights, features))
        for vectors in (slow, fast)
    )
    torch.testing.assert_close(found, expected)


def test_integrate_lets_one_frame_fire_several_times():
    frames = torch.tensor([[[2.0], [4.0]]])
    vectors = integrate(frames, torch.tensor([[2.5, 0.5]]), 3)
    assert vectors.squeeze().tolist() == [2.0, 2.0, 3.0]


def test_integrate_takes_no_frames_and_no_vectors():
    assert integrate(torch.zeros(2, 0, 3), torch.zeros(2, 0), 0).shape == (2, 0, 3)
    assert integrate(torch.ones(2, 4, 3), torch.ones(2, 4), 0).shape == (2, 0, 3)
    assert (integrate(torch.zeros(2, 0, 3), torch.zeros(2, 0), 2) == 0).all()
    assert scale_weights(torch.zeros(1, 0), torch.tensor([0])).shape == (1, 0)
    assert (scale_weights(torch.zeros(1, 3), torch.tensor([2])) == 0).all()


def test_integrate_keeps_its_precision_over_an_hour_and_fits_into_memory():
    torch.manual_seed(0)
    weights = torch.rand(1, 180_000)
    scaled = scale_weights(weights, torch.tensor([12_000]))
    vectors = integrate(torch.ones(1, 180_000, 1), scaled, 12_000)
    assert (vectors - 1).abs().max() < 1e-5


def test_the_quantity_loss_is_the_mean_relative_error_of_rows_with_vectors():
    weights = torch.tensor([[0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [0.3, 0.3, 0.3]])
    loss = quantity_loss(weights, torch.tensor([3, 2, 0]))
    assert loss.item() == pytest.approx((0.5 + 0.5) / 2)
    assert quantity_loss(weights, torch.zeros(3, dtype=torch.long)) == 0


def slow_firing(weights, threshold):
    fired, frames, total = 0, [], 0.0
    for frame, weight in enumerate(weights):
        total += weight
        if total // threshold > fired:
            fired = total // threshold
            frames.append(frame)
    if weights and total - fired * threshold >= threshold / 2:
        frames = sorted({*frames, len(weights) - 1})
    return frames


@anything
@given(exact_weights, st.sampled_from([0.25, 0.5, 1.0, 2.0]))
def test_firing_frames_are_those_of_the_slow_definition(weights, threshold):
    assert firing_frames(weights, threshold) == slow_firing(weights, threshold)


@anything
@given(weights_of)
def test_firing_frames_are_boundaries(weights):
    frames = firing_frames(torch.tensor(weights, requires_grad=True))
    assert all(0 <= frame < len(weights) for frame in frames)
    assert all(a < b for a, b in zip(frames, frames[1:], strict=False))


@anything
@given(exact_weights, st.sampled_from([0.5, 2.0, 8.0]))
def test_the_threshold_of_firing_frames_is_a_scale(weights, factor):
    scaled = [factor * weight for weight in weights]
    assert firing_frames(scaled, factor) == firing_frames(weights)


def test_firing_frames_do_not_miss_a_whole_number_by_rounding():
    assert firing_frames([0.1] * 20) == [9, 19]
    assert firing_frames(torch.full((20,), 0.1)) == [9, 19]


def test_firing_frames_have_a_half_at_the_end_and_no_less():
    assert firing_frames([1.0, 0.25, 0.25]) == [0, 2]
    assert firing_frames([1.0, 0.25, 0.125]) == [0]
    # The last frame has fired already.
    assert firing_frames([0.9, 0.75]) == [1]
    assert firing_frames([0.25]) == []
    assert firing_frames([0.5]) == [0]
    assert firing_frames([]) == []


def test_scaled_weights_fire_once_for_each_vector():
    torch.manual_seed(0)
    weights = 0.1 * torch.rand(1, 200)
    scaled = scale_weights(weights, torch.tensor([17]))
    assert len(firing_frames(scaled[0])) == 17
