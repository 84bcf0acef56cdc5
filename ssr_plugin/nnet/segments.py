"""Segments as tensors: which segment a frame is in, and pooling inside segments.

A batch of segments is two tensors, ``boundaries`` and ``starts``, [B, N] int: the
last and the first frame of each segment; rows with fewer segments end in -1.
"""

import torch


def pad_segments(batch, device=None):
    """Puts the segments of several utterances into one batch.

    Arguments
    ---------
    batch : list of ssr_plugin.segmenters.base.Segments
    device : torch.device

    Returns
    -------
    boundaries, starts, tokens : torch.Tensor
        [B, N] int each, padded with -1.

    Example
    -------
    >>> import numpy as np
    >>> from ssr_plugin.segmenters.base import Segments
    >>> one = Segments(np.array([7]), np.array([0]), np.array([4]))
    >>> two = Segments(np.array([7, 8]), np.array([0, 3]), np.array([2, 5]))
    >>> pad_segments([one, two])[0].tolist()
    [[4, -1], [2, 5]]
    """
    return tuple(
        torch.nn.utils.rnn.pad_sequence(
            [torch.as_tensor(array) for array in arrays],
            batch_first=True,
            padding_value=-1,
        ).to(device)
        for arrays in (
            [segments.boundaries for segments in batch],
            [segments.starts for segments in batch],
            [segments.tokens for segments in batch],
        )
    )


def contiguous_starts(boundaries: torch.Tensor) -> torch.Tensor:
    """The starts of segments that follow each other without a gap, from frame 0.

    Example
    -------
    >>> contiguous_starts(torch.tensor([[2, 5], [4, -1]])).tolist()
    [[0, 3], [0, -1]]
    """
    starts = torch.cat([torch.full_like(boundaries[:, :1], -1), boundaries[:, :-1]], 1)
    return torch.where(boundaries >= 0, starts + 1, -1)


def segment_of_frame(
    boundaries: torch.Tensor, starts: torch.Tensor, num_frames: int
) -> torch.Tensor:
    """Which segment each frame is in.

    Arguments
    ---------
    boundaries, starts : torch.Tensor
        [B, N] int, padded with -1.
    num_frames : int
        T

    Returns
    -------
    torch.Tensor
        [B, T] int: the index of the segment, -1 for a frame that is in none.

    Example
    -------
    >>> segment_of_frame(torch.tensor([[1, 4]]), torch.tensor([[0, 3]]), 6).tolist()
    [[0, 0, -1, 1, 1, -1]]
    """
    frames = torch.arange(num_frames, device=boundaries.device)
    frames = frames.expand(len(boundaries), -1).contiguous()
    if boundaries.shape[1] == 0:
        return torch.full_like(frames, -1)
    edges = torch.where(boundaries >= 0, boundaries, num_frames)
    index = torch.searchsorted(edges, frames)
    inside = index < (boundaries >= 0).sum(1, keepdim=True)
    index = index.clamp(max=boundaries.shape[1] - 1)
    inside &= frames >= starts.gather(1, index)
    return torch.where(inside, index, -1)


def stack_frames(
    features: torch.Tensor, boundaries: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Puts neighbouring frames of a segment side by side.

    It counts from a segment's last frame back, and fills up with zeros before its
    first, so that no frame of another segment gets in.

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D]
    boundaries : torch.Tensor
        [B, N] int, padded with -1. Segments follow each other without a gap.
    size : int
        How many frames go together.

    Returns
    -------
    stacked : torch.Tensor
        [B, P, size * D]; zeros at padding.
    boundaries : torch.Tensor
        [B, N] int, the last position of each segment, padded with -1.

    Example
    -------
    >>> frames = torch.arange(1, 5).view(1, 4, 1)
    >>> stacked, boundaries = stack_frames(frames, torch.tensor([[2, 3]]), 2)
    >>> stacked.tolist(), boundaries.tolist()
    ([[[0, 1], [2, 3], [0, 4]]], [[1, 2]])
    """
    starts = contiguous_starts(boundaries)
    valid = boundaries >= 0
    counts = torch.where(valid, (boundaries - starts) // size + 1, 0)
    lasts = counts.cumsum(1) - 1
    index = segment_of_frame(boundaries, starts, features.shape[1])
    row, frame = torch.nonzero(index >= 0, as_tuple=True)
    segment = index[row, frame]
    left = boundaries[row, segment] - frame
    length = int(counts.sum(1).max().clamp_min(1))
    stacked = features.new_zeros(len(features), length, size, features.shape[2])
    target = (row, lasts[row, segment] - left // size, size - 1 - left % size)
    stacked = stacked.index_put(target, features[row, frame])
    return stacked.flatten(2), torch.where(valid, lasts, -1)


def segment_softmax(
    scores: torch.Tensor, index: torch.Tensor, count: int
) -> torch.Tensor:
    """Softmax of the scores of the frames of each segment.

    Arguments
    ---------
    scores : torch.Tensor
        [F, P], P scores for each of F frames.
    index : torch.Tensor
        [F] int, the segment that a frame is in.
    count : int
        Number of segments.

    Returns
    -------
    torch.Tensor
        [F, P]; sums to 1 over the frames of a segment.

    Example
    -------
    >>> segment_softmax(torch.zeros(3, 1), torch.tensor([0, 0, 1]), 2).squeeze(1)
    tensor([0.5000, 0.5000, 1.0000])
    """
    scores = scores.float()
    rows = index.unsqueeze(1).expand_as(scores)
    highest = scores.new_full((count, scores.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, rows, scores.detach(), "amax")
    exps = (scores - highest[index]).exp()
    total = exps.new_zeros(count, scores.shape[1]).index_add(0, index, exps)
    return exps / total[index]


def weighted_sums(
    x: torch.Tensor,
    weights: torch.Tensor,
    index: torch.Tensor,
    count: int,
    block_size: int = 32,
) -> torch.Tensor:
    """Sums of the frames of each segment, once for each set of weights.

    A few neighbouring segments at a time make one matrix product, so that the cost is
    linear in the frames.

    Arguments
    ---------
    x : torch.Tensor
        [F, D]
    weights : torch.Tensor
        [F, P]
    index : torch.Tensor
        [F] int, the segment that a frame is in; never decreasing.
    count : int
        S, number of segments.
    block_size : int
        Segments to a matrix product.

    Returns
    -------
    torch.Tensor
        [S, P, D]

    Example
    -------
    >>> x, index = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 0, 1])
    >>> weighted_sums(x, torch.tensor([[1.0], [0.5], [2.0]]), index, 2).flatten()
    tensor([2., 6.])
    """
    block = index // block_size
    num_blocks = -(-count // block_size)
    size = torch.bincount(block, minlength=num_blocks)
    position = torch.arange(len(x), device=x.device) - (size.cumsum(0) - size)[block]
    longest = round_up(int(size.max()) if count else 0)
    frames = x.new_zeros(num_blocks, longest, x.shape[1])
    frames = frames.index_put((block, position), x)
    spread = weights.new_zeros(num_blocks, longest, block_size, weights.shape[1])
    spread = spread.index_put((block, position, index % block_size), weights)
    sums = spread.flatten(2).transpose(1, 2) @ frames
    merged: torch.Tensor = sums.unflatten(1, (block_size, -1)).flatten(0, 1)
    return merged[:count]


def round_up(count: int, multiple: int = 64) -> int:
    """The next multiple: kernels for a CPU are made anew for each new shape.

    Example
    -------
    >>> round_up(65), round_up(64), round_up(0)
    (128, 64, 0)
    """
    return -(-count // multiple) * multiple


def pad_rows(x: torch.Tensor) -> torch.Tensor:
    """Adds rows of zeros up to the next :func:`round_up`.

    Example
    -------
    >>> pad_rows(torch.ones(3, 2)).shape
    torch.Size([64, 2])
    """
    return torch.nn.functional.pad(x, (0, 0, 0, round_up(len(x)) - len(x)))
