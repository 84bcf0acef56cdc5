"""A batch's segments as one list without padding, and back.

``S`` is the number of segments of all rows together, ``F`` that of the frames in them.
Segments are listed row by row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssr_plugin.nnet.lengths import absolute_lengths
from ssr_plugin.nnet.segments import contiguous_starts, segment_of_frame


def list_segments(
    boundaries: Tensor, starts: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each segment of a batch lies.

    Arguments
    ---------
    boundaries : torch.Tensor
        [B, N] int, the last frame of each segment, padded with -1.
    starts : torch.Tensor or None
        [B, N] int, the first frame of each segment; by default the frame after the
        boundary before it.

    Returns
    -------
    row, first, last : torch.Tensor
        [S] int each: the row it is in, and its first and last frame.

    Example
    -------
    >>> list_segments(torch.tensor([[2, 5], [4, -1]]))
    (tensor([0, 0, 1]), tensor([0, 3, 0]), tensor([2, 5, 4]))
    """
    if starts is None:
        starts = contiguous_starts(boundaries)
    valid = boundaries >= 0
    return torch.nonzero(valid)[:, 0], starts[valid], boundaries[valid]


def list_frames(
    features: Tensor, boundaries: Tensor, starts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The frames that are in a segment.

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D]
    boundaries, starts : torch.Tensor
        As in :func:`list_segments`.

    Returns
    -------
    frames : torch.Tensor
        [F, D]
    segment : torch.Tensor
        [F] int, the index of its segment in the list.

    Example
    -------
    >>> features = torch.arange(12.0).view(2, 6, 1)
    >>> frames, segment = list_frames(features, torch.tensor([[1, 2], [1, -1]]))
    >>> frames.squeeze(1), segment
    (tensor([0., 1., 2., 6., 7.]), tensor([0, 0, 1, 2, 2]))
    """
    if starts is None:
        starts = contiguous_starts(boundaries)
    index = segment_of_frame(boundaries, starts, features.shape[1])
    row, frame = torch.nonzero(index >= 0, as_tuple=True)
    counts = (boundaries >= 0).sum(1)
    before = counts.cumsum(0) - counts
    return features[row, frame], before[row] + index[row, frame]


def true_indices(mask: Tensor, device: torch.device) -> Tensor:
    """Where a mask on the CPU is true, counted through; the device is asked nothing.

    Arguments
    ---------
    mask : torch.Tensor
        [...] bool, on the CPU.
    device : torch.device
        Where the result shall be.

    Returns
    -------
    torch.Tensor
        [M] int

    Example
    -------
    >>> mask = torch.tensor([[True, False], [False, True]])
    >>> true_indices(mask, torch.device("cpu")).tolist()
    [0, 3]
    """
    return mask.flatten().nonzero()[:, 0].to(device, non_blocking=True)


def place_vectors(vectors: Tensor, boundaries: Tensor) -> Tensor:
    """Puts listed vectors where their segments are in the batch.

    Arguments
    ---------
    vectors : torch.Tensor
        [S, H]
    boundaries : torch.Tensor
        [B, N] int, padded with -1.

    Returns
    -------
    torch.Tensor
        [B, N, H]; zeros at padding.

    Example
    -------
    >>> place_vectors(torch.ones(1, 2), torch.tensor([[4], [-1]])).tolist()
    [[[1.0, 1.0]], [[0.0, 0.0]]]
    """
    placed = vectors.new_zeros(*boundaries.shape, vectors.shape[-1])
    return placed.masked_scatter((boundaries >= 0).unsqueeze(-1), vectors)


def segmented_lengths(boundaries: Tensor) -> Tensor:
    """How many frames each row has up to the end of its last segment.

    Arguments
    ---------
    boundaries : torch.Tensor
        [B, N] int, padded with -1.

    Returns
    -------
    torch.Tensor
        [B] int

    Example
    -------
    >>> segmented_lengths(torch.tensor([[2, 5], [4, -1], [-1, -1]]))
    tensor([6, 5, 0])
    """
    # A column more, since there is no highest of none.
    return F.pad(boundaries, (1, 0), value=-1).amax(1) + 1


def zero_after(x: Tensor, lengths: Tensor) -> Tensor:
    """Sets to zero what comes after the end of each row.

    Arguments
    ---------
    x : torch.Tensor
        [B, T, ...]
    lengths : torch.Tensor
        [B] int; or floats, shares of T.

    Returns
    -------
    torch.Tensor
        [B, T, ...]

    Example
    -------
    >>> zero_after(torch.ones(2, 3), torch.tensor([2, 0]))
    tensor([[1., 1., 0.],
            [0., 0., 0.]])
    """
    lengths = absolute_lengths(lengths, x.shape[1])
    after = torch.arange(x.shape[1], device=x.device) >= lengths.unsqueeze(1)
    return x.masked_fill(after.view(*after.shape, *[1] * (x.dim() - 2)), 0.0)
