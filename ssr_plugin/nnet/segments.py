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
