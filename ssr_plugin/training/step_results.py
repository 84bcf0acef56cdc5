"""What training steps gave, kept on the device until it is read.

To read a number from a GPU is to wait until it has done all that was asked of it, while
nothing new is asked. So losses and gradient norms stay there, and are read for many
steps at once.
"""

import dataclasses
import math
import time

import torch
from speechbrain.utils.distributed import is_distributed_initialized


@dataclasses.dataclass
class _UnreadBatch:
    """A batch that was trained on.

    Arguments
    ---------
    index : int
        Of the batch in its epoch, from 1.
    ids : list of str
    loss : torch.Tensor
        A scalar.
    norm : torch.Tensor or None
        Of the gradient, if the optimizer stepped after this batch: a scalar.
    """

    index: int
    ids: list
    loss: torch.Tensor
    norm: torch.Tensor | None


@dataclasses.dataclass(frozen=True)
class ReadStep:
    """A step of the optimizer, over one batch or several.

    Arguments
    ---------
    index : int
        Of its last batch in the epoch, from 1.
    ids : list of str
        Of a step that was left out, the utterances of the batches whose loss is not
        finite; if all losses are finite and the gradient is not, of all its batches.
        Else empty.
    finite : bool
        Whether it was taken: its losses and its gradient are finite.
    loss_finite : bool
        Whether its losses are finite.
    """

    index: int
    ids: list
    finite: bool
    loss_finite: bool


@dataclasses.dataclass(frozen=True)
class ReadResults:
    """What was read.

    Arguments
    ---------
    losses : list of (int, float)
        Index and loss of each batch; of several processes, their mean.
    steps : list of ReadStep
        The steps that ended with one of these batches, the same in all processes.
    audio_seconds, wall_seconds : float
        Audio in these batches, and the time from the start of the first of them until
        they were read, s.
    """

    losses: list
    steps: list
    audio_seconds: float
    wall_seconds: float


class StepResults:
    """Keeps losses and gradient norms on the device, and reads many at once.

    Arguments
    ---------
    norms_decide : bool
        Whether a gradient that is not finite makes a step one that is left out. Not so
        with a gradient scaler, which now and then tries a scale that is too large.

    Example
    -------
    >>> results = StepResults()
    >>> nan, one = torch.tensor(float("nan")), torch.tensor(1.0)
    >>> results.start()
    >>> results.add(1, ["utterance1"], 2.5, loss=one, norm=one)
    >>> results.add(2, ["utterance2"], 2.5, loss=nan, norm=nan)
    >>> read = results.read()
    >>> read.losses, read.audio_seconds
    ([(1, 1.0), (2, nan)], 5.0)
    >>> [step for step in read.steps if not step.finite]
    [ReadStep(index=2, ids=['utterance2'], finite=False, loss_finite=False)]
    """

    def __init__(self, norms_decide=True):
        self.norms_decide = norms_decide
        self._unread = []
        self._audio_seconds = 0.0
        self._started = None
        # Batches that were read, whose optimizer's step was not.
        self._open = []

    def start(self):
        """Says that a batch is begun."""
        if self._started is None:
            self._started = time.perf_counter()

    def add(self, index, ids, seconds, loss, norm=None):
        """Keeps what a batch gave.

        Arguments
        ---------
        index : int
            Of the batch in its epoch, from 1.
        ids : list of str
        seconds : float
            Of its audio.
        loss : torch.Tensor
            A scalar.
        norm : torch.Tensor or None
            Of the gradient, if the optimizer stepped after this batch: a scalar.
        """
        self._unread.append(_UnreadBatch(index, ids, loss, norm))
        self._audio_seconds += seconds

    def read(self):
        """Waits for the device and reads what was kept.

        All processes of a training call it after the same batches.

        Returns
        -------
        ReadResults
        """
        batches, self._unread = self._unread, []
        values = iter(
            torch.stack(
                [
                    value
                    for batch in batches
                    for value in (batch.loss, batch.norm)
                    if value is not None
                ]
            ).tolist()
            if batches
            else ()
        )
        losses, steps = [], []
        for batch in batches:
            loss = next(values)
            losses.append((batch.index, loss))
            self._open.append((batch.ids, math.isfinite(loss)))
            if batch.norm is not None:
                steps.append(self._close(batch.index, math.isfinite(next(values))))
        wall_seconds = 0.0
        if self._started is not None:
            wall_seconds = time.perf_counter() - self._started
        audio_seconds = self._audio_seconds
        self._started, self._audio_seconds = None, 0.0
        losses, steps = _of_all(losses, steps)
        return ReadResults(losses, steps, audio_seconds, wall_seconds)

    def drop_open(self):
        """Forgets batches that no step of the optimizer will follow: an epoch ended."""
        self._open = []

    def _close(self, index, norm_finite):
        """The step of the batches that are open."""
        batches, self._open = self._open, []
        loss_finite = all(finite for _, finite in batches)
        finite = loss_finite and (norm_finite or not self.norms_decide)
        ids = [
            name
            for names, batch_finite in batches
            if not finite and (loss_finite or not batch_finite)
            for name in names
        ]
        return ReadStep(index, ids, finite, loss_finite)


def _of_all(losses, steps):
    """What all processes together say of the same batches and steps."""
    if not is_distributed_initialized():
        return losses, steps
    found = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, (losses, steps))
    losses_of_all, steps_of_all = zip(*found, strict=True)
    means = [
        (versions[0][0], sum(loss for _, loss in versions) / len(versions))
        for versions in zip(*losses_of_all, strict=True)
    ]
    return means, [_merge(versions) for versions in zip(*steps_of_all, strict=True)]


def _merge(versions):
    """One step, as each process has it.

    Where one has a loss that is not finite, the gradients of all are not: that one is
    the cause.
    """
    culprits = [step for step in versions if not step.loss_finite]
    return ReadStep(
        versions[0].index,
        [name for step in culprits or versions for name in step.ids],
        all(step.finite for step in versions),
        not culprits,
    )
