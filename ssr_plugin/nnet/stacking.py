"""Neighbouring frames of a segment side by side, as planned on the host."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ssr_plugin.nnet.lengths import bucketed_length


def plan_stacking(
    boundaries: Tensor, num_frames: int, size: int = 1
) -> dict[str, Tensor]:
    """Which frames go together into each of P positions.

    It counts from a segment's last frame back, and fills up with zeros before its
    first, so that no frame of another segment gets in.

    Arguments
    ---------
    boundaries : torch.Tensor
        [B, N] int, on the CPU, padded with -1. Segments follow each other without a
        gap.
    num_frames : int
        T, frames of a row of the features, padding included.
    size : int
        How many frames go together.

    Returns
    -------
    dict of torch.Tensor
        ``source`` [B * P * size] int, the index of a frame among all B * T;
        ``present`` [B, P, size, 1] bool, where there is one; ``block`` [B, P] int,
        the segment that a position is in, -1 at padding; ``end`` [B, N] int, the last
        position of each segment, 0 at padding.

    Example
    -------
    >>> plan = plan_stacking(torch.tensor([[2, 3]]), num_frames=4, size=2)
    >>> stack_frames(torch.arange(1, 5).view(1, 4, 1), plan)[0, :3].tolist()
    [[0, 1], [2, 3], [0, 4]]
    >>> plan["end"].tolist(), plan["block"][0, :4].tolist()
    ([[1, 2]], [0, 0, 1, -1])
    """
    ends = boundaries.numpy().astype(np.int64)
    valid = ends >= 0
    before = np.concatenate([np.full((len(ends), 1), -1), ends[:, :-1]], axis=1)
    length = np.where(valid, ends - before, 0)
    count = -(-length // size)
    last = count.cumsum(1) - 1
    width = bucketed_length(max(int(count.sum(1).max(initial=0)), 1))

    rows, columns = np.nonzero(valid)
    counts = count[rows, columns]
    # Each position: its segment, and how many come before that segment's last.
    segment = np.repeat(np.arange(len(rows)), counts)
    left = np.repeat(counts.cumsum(), counts) - np.arange(len(segment)) - 1
    row, column = rows[segment], columns[segment]
    place = last[row, column] - left
    block = np.full((len(ends), width), -1, dtype=np.int32)
    block[row, place] = column
    frame = (ends[row, column] - left * size)[:, None] - np.arange(size)[::-1]
    inside = frame > before[row, column][:, None]
    source = np.zeros((len(ends), width, size), dtype=np.int32)
    source[row, place] = np.where(inside, row[:, None] * num_frames + frame, 0)
    present = np.zeros((len(ends), width, size, 1), dtype=bool)
    present[row, place] = inside[..., None]
    return {
        "source": torch.from_numpy(source).flatten(),
        "present": torch.from_numpy(present),
        "block": torch.from_numpy(block),
        "end": torch.from_numpy(np.where(valid, last, 0)),
    }


def stack_frames(features: Tensor, plan: Mapping[str, Tensor]) -> Tensor:
    """Puts frames side by side.

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D]
    plan : dict of torch.Tensor
        Of :func:`plan_stacking`, on the same device.

    Returns
    -------
    torch.Tensor
        [B, P, size * D]; zeros where there is no frame.
    """
    present = plan["present"]
    frames = features.flatten(0, 1).index_select(0, plan["source"])
    frames = frames.view(*present.shape[:3], -1).masked_fill(~present, 0)
    return frames.flatten(2)
