"""Changes to features and segments in training, for speech unlike the training data.

Pure functions of tensors. Features are cached, so these change the encoder's frames,
not the audio: that is cheap, and new at every step.
"""

import torch

from ssr_plugin.nnet.frames import frame_mask
from ssr_plugin.nnet.lengths import absolute_lengths


def swap_means(features, lengths, amount):
    """Moves each utterance's mean frame towards, or past, that of another.

    Speaker and channel shift all frames of an utterance in the same way. With the mean
    of another utterance of the batch, it sounds like another speaker.

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D]
    lengths : torch.Tensor
        [B] int; or floats, shares of T.
    amount : float
        How far at most: each utterance draws a share from 0 to this; 1 is all the way.

    Returns
    -------
    torch.Tensor
        [B, T, D]; padding changes too.

    Example
    -------
    >>> x = torch.tensor([[[1.0], [3.0]], [[1.0], [3.0]]])
    >>> bool((swap_means(x, torch.tensor([2, 2]), 1.0) == x).all())
    True
    """
    lengths = absolute_lengths(lengths, features.shape[1])
    mask = frame_mask(lengths, features.shape[1]).unsqueeze(-1)
    means = (features * mask).sum(1) / lengths.clamp_min(1).unsqueeze(1)
    batch = len(features)
    other = means[torch.randperm(batch).to(features.device)]
    share = amount * torch.rand(batch, 1).to(features)
    return features + (share * (other - means)).unsqueeze(1)


def add_noise(features, lengths, amount):
    """Adds Gaussian noise.

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D]
    lengths : torch.Tensor
        [B] int; or floats, shares of T.
    amount : float
        Its standard deviation, as a multiple of the features' own (over the batch).

    Returns
    -------
    torch.Tensor
        [B, T, D]

    Example
    -------
    >>> add_noise(torch.zeros(1, 2, 3), torch.tensor([2]), 0.1).abs().max()
    tensor(0.)
    """
    std = features[frame_mask(lengths, features.shape[1])].std()
    return features + amount * std * torch.randn(features.shape).to(features)


def drop_frames(features, share):
    """Sets whole frames to zero.

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D]
    share : float
        Of the frames.

    Returns
    -------
    torch.Tensor
        [B, T, D]

    Example
    -------
    >>> drop_frames(torch.ones(1, 4, 2), 1.0).sum()
    tensor(0.)
    """
    dropped = torch.rand(features.shape[:2]).to(features.device) < share
    return features.masked_fill(dropped.unsqueeze(-1), 0.0)


def jitter_boundaries(boundaries, starts, lengths, frames):
    """Moves boundaries a little, as if another aligner had set them.

    Arguments
    ---------
    boundaries, starts : torch.Tensor
        [B, N] int, padded with -1.
    lengths : torch.Tensor
        [B] int, frames of each utterance, counted.
    frames : float
        Standard deviation of the shift, in frames.

    Returns
    -------
    boundaries, starts : torch.Tensor
        [B, N] int: still strictly increasing, inside the utterance, each segment with
        a frame of its own. Gaps between segments stay as long as they fit.

    Example
    -------
    >>> boundaries, starts = torch.tensor([[2, 5, -1]]), torch.tensor([[0, 3, -1]])
    >>> jitter_boundaries(boundaries, starts, torch.tensor([6]), 0.0)
    (tensor([[ 2,  5, -1]]), tensor([[ 0,  3, -1]]))
    """
    lengths = absolute_lengths(lengths)
    valid = boundaries >= 0
    count = valid.sum(1, keepdim=True)
    order = torch.arange(boundaries.shape[1], device=boundaries.device)
    shift = (frames * torch.randn(boundaries.shape)).round().long().to(boundaries)
    moved = torch.where(valid, boundaries + shift, 0).clamp_min(0)
    # Strictly increasing from the left, then room for those to the right.
    moved = torch.cummax((moved - order).clamp_min(0), dim=1).values + order
    moved = torch.minimum(moved, lengths.unsqueeze(1) - count + order)
    gap = starts - torch.cat([starts[:, :1], boundaries[:, :-1] + 1], dim=1)
    start = torch.cat([starts[:, :1], moved[:, :-1] + 1], dim=1) + gap
    start = torch.minimum(start, moved)
    return torch.where(valid, moved, -1), torch.where(valid, start, -1)


def mask_time(features, lengths, count, longest):
    """Sets runs of frames to zero, as SpecAugment does (arXiv 1904.08779).

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D]
    lengths : torch.Tensor
        [B] int; or floats, shares of T.
    count : float
        Runs for each 100 frames of an utterance, rounded down.
    longest : int
        Most frames of a run; the length of each is drawn.

    Returns
    -------
    torch.Tensor
        [B, T, D]

    Example
    -------
    >>> x = mask_time(torch.ones(1, 200, 2), torch.tensor([200]), 1.0, 10)
    >>> 180 <= int(x[..., 0].sum()) < 200
    True
    """
    lengths = absolute_lengths(lengths, features.shape[1])
    max_runs = int(count * features.shape[1] / 100)
    shape = (len(features), max_runs, 1)
    active = torch.arange(max_runs) < (count * lengths.cpu() / 100).long().unsqueeze(1)
    size = torch.randint(1, max(longest, 1) + 1, shape) * active.unsqueeze(-1)
    start = (torch.rand(shape) * lengths.cpu().view(-1, 1, 1)).long()
    frame = torch.arange(features.shape[1])
    masked = ((frame >= start) & (frame < start + size)).any(1).to(features.device)
    return features.masked_fill(masked.unsqueeze(-1), 0.0)


def augment_frames(features, lengths, hparams):
    """All changes to frames, by the strengths that a YAML sets.

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D]
    lengths : torch.Tensor
        [B] int; or floats, shares of T.
    hparams : object
        ``mean_swap``, ``noise``, ``frame_dropout``, ``time_masks`` and
        ``time_mask_frames``.

    Returns
    -------
    torch.Tensor
        [B, T, D]
    """
    features = swap_means(features, lengths, hparams.mean_swap)
    features = add_noise(features, lengths, hparams.noise)
    features = mask_time(
        features, lengths, hparams.time_masks, hparams.time_mask_frames
    )
    return drop_frames(features, hparams.frame_dropout)
