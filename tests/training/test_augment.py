"""What training does to features and segments."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.training import augment


def change(features, lengths, seed=0, **strengths):
    strengths = augment.Strengths(**strengths)
    generator = torch.Generator().manual_seed(seed)
    changes = augment.draw_changes(lengths, features.shape[1], strengths, generator)
    return augment.change_frames(features, **changes, frame_noise=strengths.frame_noise)


def test_a_swap_exchanges_means_and_changes_nothing_else():
    torch.manual_seed(0)
    features = torch.randn(4, 6, 3) + torch.arange(4.0).view(4, 1, 1)
    lengths = torch.tensor([6, 6, 6, 6])
    changed = change(features, lengths, mean_swap=1.0)
    shift = changed - features
    assert shift.abs().max() > 0.1
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift))
    means = features.mean((1, 2))
    assert changed.mean((1, 2)).min() >= means.min() - 1e-5
    assert changed.mean((1, 2)).max() <= means.max() + 1e-5


def test_means_are_those_of_frames_that_are_no_padding():
    features = torch.zeros(2, 4, 1)
    features[0, :2], features[1] = 1.0, 1.0
    changed = change(features, torch.tensor([2, 4]), mean_swap=1.0)
    torch.testing.assert_close(changed, features)


@pytest.mark.parametrize("half", [False, True])
def test_changes_are_those_of_the_plain_formula_whatever_autocast_says(half):
    torch.manual_seed(0)
    lengths = torch.tensor([7, 5, 2])
    valid = torch.arange(8) < lengths.unsqueeze(1)
    features = (3 * torch.randn(3, 8, 4) + 5) * valid.unsqueeze(-1)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        changed = change(
            features, lengths, mean_swap=1.5, frame_noise=0.2, frame_dropout=0.3
        )

    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(0)
    other = torch.randperm(3, generator=generator)
    share = 1.5 * torch.rand(3, 1, generator=generator)
    means = features.sum(1) / lengths.unsqueeze(1)
    expected = features + (share * (means[other] - means)).unsqueeze(1)
    deviation = features[valid].std(correction=0)
    expected = expected + 0.2 * deviation * torch.randn(features.shape)
    expected[torch.rand(3, 8, generator=generator) < 0.3] = 0.0
    torch.testing.assert_close(changed, expected)


def test_changes_of_strength_zero_change_nothing():
    features, lengths = torch.randn(2, 5, 3), torch.tensor([5, 5])
    torch.testing.assert_close(change(features, lengths), features)


def test_noise_is_a_multiple_of_the_deviation_of_frames_that_are_no_padding():
    torch.manual_seed(0)
    features = 3.0 + 2.0 * torch.randn(8, 400, 16)
    features[:, 200:] = 0.0
    noise = change(features, torch.full((8,), 200), frame_noise=0.1) - features
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)


def test_noise_of_a_single_number_is_finite():
    changed = change(torch.ones(1, 1, 1), torch.tensor([1]), frame_noise=0.5)
    assert changed.isfinite().all()


def test_masked_and_dropped_frames_are_zero():
    features, lengths = torch.ones(1, 400, 2), torch.tensor([400])
    dropped = change(features, lengths, frame_dropout=0.25)[..., 0]
    assert 0.65 < dropped.mean() < 0.85
    masked = change(features, lengths, time_masks=1.0, time_mask_frames=10)[0, :, 0]
    assert 360 <= int(masked.sum()) < 400
    # In runs: there are few ends.
    assert masked.diff().abs().sum() <= 8


def test_what_is_drawn_depends_on_the_generator_alone():
    features, lengths = torch.randn(3, 50, 2), torch.tensor([50, 40, 30])
    strengths = {"mean_swap": 1.0, "frame_dropout": 0.3, "time_masks": 4.0}
    one, same, other = (
        change(features, lengths, seed, **strengths) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


@given(st.data())
def test_jittered_boundaries_are_still_those_of_segments(data):
    frames = data.draw(st.integers(1, 30))
    ends = sorted(data.draw(st.sets(st.integers(0, frames - 1), min_size=1)))
    starts = [
        data.draw(st.integers(before + 1, end))
        for before, end in zip([-1, *ends], ends, strict=False)
    ]
    padding = [-1] * data.draw(st.integers(0, 3))
    boundaries = torch.tensor([ends + padding])
    moved, first = augment.jitter_boundaries(
        boundaries,
        torch.tensor([starts + padding]),
        torch.tensor([frames]),
        data.draw(st.floats(0, 10)),
    )
    assert ((moved == -1) == (boundaries == -1)).all()
    moved, first = moved[0, : len(ends)], first[0, : len(ends)]
    assert (moved.diff() > 0).all() and moved[-1] < frames
    assert (first >= 0).all() and (first <= moved).all()
    assert (first[1:] > moved[:-1]).all()
