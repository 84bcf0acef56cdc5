"""Pooling in blocks: what one segment at a time gives, whatever the lengths."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssr_plugin.nnet.pooling import gather_blocks, plan_pooling, pool_blocks


def segments_of(rows):
    """Boundaries and starts, padded, of rows of (gap before, length)."""
    widest = max(map(len, rows))
    boundaries = torch.full((len(rows), widest), -1)
    starts = boundaries.clone()
    for row, segments in enumerate(rows):
        frame = 0
        for column, (gap, length) in enumerate(segments):
            starts[row, column] = frame + gap
            frame += gap + length
            boundaries[row, column] = frame - 1
    return boundaries, starts


SEGMENT = st.tuples(st.integers(0, 3), st.integers(1, 40))
ROWS = st.lists(st.lists(SEGMENT, max_size=25), min_size=1, max_size=4)


@settings(deadline=None)
@given(ROWS)
def test_pooling_in_blocks_is_that_of_one_segment_at_a_time(rows):
    boundaries, starts = segments_of(rows)
    num_frames = int(boundaries.max()) + 3 if boundaries.numel() else 3
    torch.manual_seed(len(rows))
    features = torch.randn(len(rows), num_frames, 3)
    plan = plan_pooling(boundaries, starts, num_frames)
    x = gather_blocks(features, plan)
    scores = x @ torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, -1.0]])
    pooled = pool_blocks(x, scores, plan).view(*boundaries.shape, 2, 3)
    for row, column in torch.nonzero(boundaries >= 0).tolist():
        own = features[row, starts[row, column] : boundaries[row, column] + 1]
        weights = (own @ torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, -1.0]])).softmax(0)
        torch.testing.assert_close(pooled[row, column], weights.T @ own)


def test_a_block_has_room_for_the_longest_segment():
    plan = plan_pooling(torch.tensor([[9, 609]]), torch.tensor([[0, 10]]), 700)
    assert plan["outside"].shape[1] == 640
    assert (plan["outside"] == 0).sum() == 610


def test_numbers_of_blocks_are_few():
    shapes = set()
    for count in range(1, 60):
        boundaries = 15 * torch.arange(1, count + 1).unsqueeze(0) - 1
        plan = plan_pooling(boundaries, boundaries - 14, 15 * count)
        shapes.add(plan["outside"].shape)
    assert len(shapes) == 1


def test_frames_outside_all_segments_take_no_part():
    plan = plan_pooling(torch.tensor([[3, -1]]), torch.tensor([[2, -1]]), 6)
    inside = (plan["outside"] == 0).any(-1)
    frames = plan["frame"].view(inside.shape)[inside]
    assert frames.tolist() == [2, 3]
