"""Changes to features and segments in training, for speech unlike the training data.

Features are cached, so these change the encoder's frames, not the audio: that is cheap,
and new at every step. What is small is drawn on the host (:func:`draw_changes`), by the
loader's workers; noise is drawn where the features are.
"""

import dataclasses
import math

import torch
from torch import Tensor

from ssr_plugin.nnet.lengths import absolute_lengths
from ssr_plugin.nnet.precision import without_autocast


@dataclasses.dataclass(frozen=True)
class Strengths:
    """How much is changed; the defaults change nothing.

    Arguments
    ---------
    mean_swap : float
        How far at most an utterance's mean frame goes to that of another; 1 is all the
        way.
    frame_noise : float
        Standard deviation of Gaussian noise, as a multiple of the features' own.
    frame_dropout : float
        Share of the frames that are set to zero.
    time_masks : float
        Runs of frames set to zero, for each 100 frames of an utterance, rounded down.
    time_mask_frames : int
        Most frames of such a run; the length of each is drawn.
    boundary_jitter : float
        Standard deviation of the shift of boundaries, in frames.

    Example
    -------
    >>> Strengths.of({"mean_swap": 1.5, "frame_noise": 0.2, "lr": 0.001})
    Strengths(mean_swap=1.5, frame_noise=0.2, frame_dropout=0.0, time_masks=0.0, ...)
    """

    mean_swap: float = 0.0
    frame_noise: float = 0.0
    frame_dropout: float = 0.0
    time_masks: float = 0.0
    time_mask_frames: int = 20
    boundary_jitter: float = 0.0

    @classmethod
    def of(cls, hparams):
        """Those that a YAML sets, by its keys."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: hparams[name] for name in names if name in hparams})


def draw_changes(lengths, num_frames, strengths, generator):
    """Draws what is small of the changes to frames, on the host.

    Arguments
    ---------
    lengths : torch.Tensor
        [B] int, frames of each utterance.
    num_frames : int
        T, padding included.
    strengths : Strengths
    generator : torch.Generator

    Returns
    -------
    dict of torch.Tensor
        ``mix`` [B + 1, B] float, what to make of each utterance's sum of frames: what
        is added to each utterance, so that its mean frame moves to that of another,
        and last the mean of all frames; ``masked`` [B, T] bool, frames set to zero.

    Example
    -------
    >>> generator = torch.Generator().manual_seed(0)
    >>> changes = draw_changes(torch.tensor([4, 1]), 4, Strengths(), generator)
    >>> changes["mix"].tolist(), changes["masked"].any().item()
    ([[0.0, 0.0], [0.0, 0.0], [0.20000000298023224, 0.20000000298023224]], False)
    """
    batch = len(lengths)
    other = torch.randperm(batch, generator=generator)
    share = strengths.mean_swap * torch.rand(batch, 1, generator=generator)
    own = torch.eye(batch)
    shift = share * (own[other] - own) / lengths.clamp_min(1)
    mean = torch.ones(1, batch) / lengths.sum().clamp_min(1)
    masked = draw_time_masks(
        lengths,
        num_frames,
        strengths.time_masks,
        strengths.time_mask_frames,
        generator,
    )
    if strengths.frame_dropout:
        drawn = torch.rand(batch, num_frames, generator=generator)
        masked |= drawn < strengths.frame_dropout
    return {"mix": torch.cat([shift, mean]), "masked": masked}


def draw_time_masks(lengths, num_frames, count, longest, generator):
    """Draws runs of frames to set to zero, as SpecAugment does (arXiv 1904.08779).

    Arguments
    ---------
    lengths : torch.Tensor
        [B] int, frames of each utterance.
    num_frames : int
        T
    count : float
        Runs for each 100 frames of an utterance, rounded down.
    longest : int
        Most frames of a run; the length of each is drawn.
    generator : torch.Generator

    Returns
    -------
    torch.Tensor
        [B, T] bool

    Example
    -------
    >>> generator = torch.Generator().manual_seed(0)
    >>> masked = draw_time_masks(torch.tensor([200]), 200, 1.0, 10, generator)
    >>> 0 < int(masked.sum()) <= 20
    True
    """
    max_runs = int(count * num_frames / 100)
    if not max_runs:
        return torch.zeros(len(lengths), num_frames, dtype=torch.bool)
    shape = (len(lengths), max_runs, 1)
    active = torch.arange(max_runs) < (count * lengths / 100).long().unsqueeze(1)
    size = torch.randint(1, max(longest, 1) + 1, shape, generator=generator)
    size = size * active.unsqueeze(-1)
    start = (torch.rand(shape, generator=generator) * lengths.view(-1, 1, 1)).long()
    frame = torch.arange(num_frames)
    return ((frame >= start) & (frame < start + size)).any(1)


def change_frames(
    features: Tensor, mix: Tensor, masked: Tensor, frame_noise: float = 0.0
) -> Tensor:
    """Makes the changes that :func:`draw_changes` drew, and adds noise.

    Each utterance's mean frame moves towards, or past, that of another: speaker and
    channel shift all frames of an utterance in the same way, so that it sounds like
    another speaker. Then there is noise, then some frames are set to zero.

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D] float32, zeros at padding.
    mix, masked : torch.Tensor
        Of :func:`draw_changes`, on the features' device.
    frame_noise : float
        Standard deviation of Gaussian noise, as a multiple of the features' own (over
        the batch). It is drawn on the device.

    Returns
    -------
    torch.Tensor
        [B, T, D]; padding changes too.

    Example
    -------
    >>> x, lengths = torch.tensor([[[1.0], [3.0]]]), torch.tensor([2])
    >>> changes = draw_changes(lengths, 2, Strengths(mean_swap=1.0), torch.Generator())
    >>> change_frames(x, **changes).tolist()
    [[[1.0], [3.0]]]
    """
    # Sums: padding adds nothing to them. Half precision is too coarse for means.
    with without_autocast(features.device):
        mixed = mix @ features.sum(1)
    changed = features + mixed[:-1].unsqueeze(1)
    if frame_noise:
        width = features.shape[2]
        mean = mixed[-1].mean()
        squares = torch.linalg.vector_norm(features).square() * mix[-1, 0]
        # D times the variance: the mean |frame|^2, less D times the square of the mean.
        variance = torch.addcmul(squares, mean, mean, value=-width).clamp_min_(0)
        drawn, std = torch.randn_like(features), variance.sqrt_()
        changed.addcmul_(drawn, std, value=frame_noise / math.sqrt(width))
    return changed.masked_fill_(masked.unsqueeze(-1), 0.0)


def jitter_boundaries(boundaries, starts, lengths, frames, generator=None):
    """Moves boundaries a little, as if another aligner had set them.

    Arguments
    ---------
    boundaries, starts : torch.Tensor
        [B, N] int, padded with -1, on the CPU.
    lengths : torch.Tensor
        [B] int, frames of each utterance, counted.
    frames : float
        Standard deviation of the shift, in frames.
    generator : torch.Generator or None

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
    order = torch.arange(boundaries.shape[1])
    shift = frames * torch.randn(boundaries.shape, generator=generator)
    moved = torch.where(valid, boundaries + shift.round().long(), 0).clamp_min(0)
    # Strictly increasing from the left, then room for those to the right.
    moved = torch.cummax((moved - order).clamp_min(0), dim=1).values + order
    moved = torch.minimum(moved, lengths.unsqueeze(1) - count + order)
    gap = starts - torch.cat([starts[:, :1], boundaries[:, :-1] + 1], dim=1)
    start = torch.cat([starts[:, :1], moved[:, :-1] + 1], dim=1) + gap
    start = torch.minimum(start, moved)
    return torch.where(valid, moved, -1), torch.where(valid, start, -1)
