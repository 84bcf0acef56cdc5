"""What training does to features and segments."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.training import augment


def test_swap_means_exchanges_means_and_changes_nothing_else():
    torch.manual_seed(0)
    features = torch.randn(4, 6, 3) + torch.arange(4.0).view(4, 1, 1)
    lengths = torch.tensor([6, 6, 6, 6])
    changed = augment.swap_means(features, lengths, 1.0)
    shift = changed - features
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift))
    means = features.mean((1, 2))
    assert changed.mean((1, 2)).min() >= means.min() - 1e-5
    assert changed.mean((1, 2)).max() <= means.max() + 1e-5


def test_swap_means_ignores_padding():
    features = torch.zeros(2, 4, 1)
    features[:, 2:] = 1000.0
    changed = augment.swap_means(features, torch.tensor([2, 2]), 1.0)
    torch.testing.assert_close(changed, features)


def test_augmentation_of_strength_zero_changes_nothing():
    features, lengths = torch.randn(2, 5, 3), torch.tensor([5, 4])
    for changed in (
        augment.swap_means(features, lengths, 0.0),
        augment.add_noise(features, lengths, 0.0),
        augment.drop_frames(features, 0.0),
    ):
        torch.testing.assert_close(changed, features)


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
