"""Weighted means of the frames of each segment, in blocks that are planned on the host.

Segments are as long as speech makes them. Put one after another into blocks of about
as many frames, they are pooled by one softmax and one matrix product, whatever their
lengths, and no shape depends on what is on the device.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ssr_plugin.nnet.lengths import bucketed_length

#: Frames of a block, unless a segment is longer, and segments of one.
BLOCK_FRAMES, BLOCK_SEGMENTS = 128, 16
# Numbers of blocks come in multiples of this.
_BLOCKS = 8
# A score that a softmax gives no weight. Not minus infinity: where a block has room for
# one more segment, that would be the softmax of nothing.
_LOW = -1e30
#: Numbers of :func:`position_features`, and of those of a segment's duration.
NUM_POSITION_FEATURES, NUM_DURATION_FEATURES = 6, 2


def plan_pooling(
    boundaries: Tensor, starts: Tensor, num_frames: int
) -> dict[str, Tensor]:
    """Where the frames of each segment stand in blocks of whole segments.

    K is the number of blocks, L the frames and S the segments that one has room for.

    Arguments
    ---------
    boundaries, starts : torch.Tensor
        [B, N] int, on the CPU: the last and the first frame of each segment, padded
        with -1.
    num_frames : int
        T, frames of a row of the features, padding included.

    Returns
    -------
    dict of torch.Tensor
        ``frame`` [K * L] int, the index of the frame at each place among all B * T;
        ``outside`` [K, L, S] float, 0 for the block's segment that it is in, else what
        takes it out of a softmax; ``position`` [K, L, 6] float,
        :func:`position_features` of it; ``segment`` [B * N] int, the index of each
        segment among all K * S, 0 at padding; ``duration`` [B, N, 2] float, how long
        it is.

    Example
    -------
    >>> plan = plan_pooling(torch.tensor([[1, 4, -1]]), torch.tensor([[0, 3, -1]]), 6)
    >>> plan["frame"][:5].tolist(), (plan["outside"] == 0).int()[0, :5, :2].tolist()
    ([0, 1, 3, 4, 0], [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]])
    >>> plan["segment"].tolist(), plan["outside"].shape
    ([0, 1, 0], torch.Size([8, 128, 16]))
    """
    ends, firsts = boundaries.numpy(), starts.numpy()
    rows, columns = np.nonzero(ends >= 0)
    first = firsts[rows, columns].astype(np.int64)
    length = ends[rows, columns].astype(np.int64) - first + 1
    longest = int(length.max()) if len(length) else 1
    width = -(-max(longest, BLOCK_FRAMES) // BLOCK_FRAMES) * BLOCK_FRAMES
    room = BLOCK_SEGMENTS * width // BLOCK_FRAMES
    block, slot, place = _fill_blocks(length.tolist(), width, room)
    num_blocks = bucketed_length(int(block[-1]) + 1 if len(block) else 1, _BLOCKS)

    # Each frame of each segment: which segment, and where in it.
    index = np.repeat(np.arange(len(length)), length)
    offset = np.arange(len(index)) - np.repeat(np.cumsum(length) - length, length)
    places = (block * width + place)[index] + offset
    frame = np.zeros(num_blocks * width, dtype=np.int32)
    frame[places] = (rows * num_frames + first)[index] + offset
    outside = np.full((num_blocks * width, room), _LOW, np.float32)
    outside[places, slot[index]] = 0
    position = np.zeros((num_blocks * width, NUM_POSITION_FEATURES), np.float32)
    position[places] = position_features(offset, length[index])
    segment = np.zeros(ends.shape, dtype=np.int32)
    segment[rows, columns] = block * room + slot
    duration = np.zeros((*ends.shape, NUM_DURATION_FEATURES), np.float32)
    log = np.log1p(length.astype(np.float32)) / 4
    duration[rows, columns] = np.stack([log, log**2], axis=-1)
    return {
        "frame": torch.from_numpy(frame),
        "outside": torch.from_numpy(outside).view(num_blocks, width, room),
        "position": torch.from_numpy(position).view(num_blocks, width, -1),
        "segment": torch.from_numpy(segment).flatten(),
        "duration": torch.from_numpy(duration),
    }


def _fill_blocks(
    lengths: list[int], width: int, room: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Block, slot and first place of each segment, put one after another."""
    block, slot, place = [], [], []
    current, filled, count = 0, 0, 0
    for length in lengths:
        if filled + length > width or count == room:
            current, filled, count = current + 1, 0, 0
        block.append(current)
        slot.append(count)
        place.append(filled)
        filled, count = filled + length, count + 1
    as_array = (np.array(x, dtype=np.int64) for x in (block, slot, place))
    return tuple(as_array)  # type: ignore[return-value]


def position_features(offset: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Where in its segment a frame stands.

    Arguments
    ---------
    offset, length : numpy.ndarray
        [F] int, frames before it in the segment, and frames in the segment.

    Returns
    -------
    numpy.ndarray
        [F, 6] float32: how far along it is, the sine and cosine of that, how near to
        the segment's first and last frame, and the logarithm of the segment's length.

    Example
    -------
    >>> position_features(np.array([0]), np.array([1])).round(2).tolist()[0]
    [0.5, 1.0, -0.0, 1.0, 1.0, 0.0]
    """
    left = offset.astype(np.float32)
    length = length.astype(np.float32)
    relative = (left + np.float32(0.5)) / length
    return np.stack(
        [
            relative,
            np.sin(np.pi * relative),
            np.cos(np.pi * relative),
            np.exp(-left / 4),
            np.exp(-(length - 1 - left) / 4),
            np.log(length) / 4,
        ],
        axis=-1,
        dtype=np.float32,
    )


def gather_blocks(features: Tensor, plan: Mapping[str, Tensor]) -> Tensor:
    """The frames of a batch, in the blocks of a plan.

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D]
    plan : dict of torch.Tensor
        Of :func:`plan_pooling`, on the same device.

    Returns
    -------
    torch.Tensor
        [K, L, D]; some frame at empty places.
    """
    blocks = features.flatten(0, 1).index_select(0, plan["frame"])
    return blocks.view(*plan["outside"].shape[:2], features.shape[-1])


def pool_blocks(x: Tensor, scores: Tensor, plan: Mapping[str, Tensor]) -> Tensor:
    """Means of each segment's frames, weighted by a softmax of their scores.

    Arguments
    ---------
    x : torch.Tensor
        [K, L, D], frames in blocks.
    scores : torch.Tensor
        [K, L, P], P scores of each frame.
    plan : dict of torch.Tensor
        Of :func:`plan_pooling`.

    Returns
    -------
    torch.Tensor
        [B * N, P * D]; of no meaning at padding.

    Example
    -------
    >>> plan = plan_pooling(torch.tensor([[1, 2]]), torch.tensor([[0, 2]]), 3)
    >>> x = gather_blocks(torch.tensor([[[1.0], [3.0], [5.0]]]), plan)
    >>> pool_blocks(x, torch.zeros_like(x), plan).tolist()
    [[2.0], [5.0]]
    """
    spread = scores.float().unsqueeze(2) + plan["outside"].unsqueeze(-1)
    weights = spread.softmax(1).to(x.dtype).flatten(2)  # [K, L, S * P]
    means = (weights.transpose(1, 2) @ x).view(-1, scores.shape[-1] * x.shape[-1])
    return means.index_select(0, plan["segment"])
