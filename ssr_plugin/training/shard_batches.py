"""Which utterances of a corpus of shards make a batch, and in which order.

The corpus is cut into *pieces*, runs of utterances that are read in sequence. In each
epoch the pieces are put in another order, divided among the processes that train, and
taken some at a time into a *buffer*. What is in a buffer is shuffled and batched by
length, as a small corpus is batched as a whole (SpeechBrain's ``DynamicBatchSampler``);
a corpus that fits into one buffer has the batches that it would have from a folder.

All that follows from the seed, the epoch and the durations alone, and how many batches
a buffer gives is known beforehand. So the middle of an epoch is found at once, nothing
is kept but numbers, and all processes make the same number of steps.
"""

import json
import logging
import pathlib
from typing import NamedTuple

import numpy as np
import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)

from ssr_plugin.files import digest
from ssr_plugin.training.batches import length_batches

# Utterances of a piece, at most.
_PIECE = 64
# So many pieces, at least, are in a buffer, and has each process.
_FEWEST_PIECES = 8
# Durations that are read at a time.
_CHUNK = 1 << 20


class BatchRef(NamedTuple):
    """A batch that is still to be made: of which epoch and buffer, and which of it."""

    epoch: int
    buffer: int
    number: int


class ShardPlan:
    """The batches of one process.

    Arguments
    ---------
    durations : numpy.ndarray
        [N] s, of all utterances.
    shard_starts : numpy.ndarray
        [S + 1] int, the first utterance of each shard, and behind the last.
    batch_seconds : float
        Audio in a batch, padding included.
    seed : int
    rank, world_size : int
        Which process this is, and how many there are.
    buffer : int
        Utterances that are shuffled together.

    Raises
    ------
    ValueError
        If there are fewer utterances than processes.

    Example
    -------
    >>> plan = ShardPlan(np.full(100, 2.0), np.array([0, 60, 100]), 10.0, seed=1)
    >>> plan.num_batches(epoch=1)
    25
    >>> len(plan.batch(BatchRef(epoch=1, buffer=0, number=0)))
    4
    """

    def __init__(
        self,
        durations,
        shard_starts,
        batch_seconds,
        seed,
        rank=0,
        world_size=1,
        buffer=4096,
    ):
        if len(durations) < world_size:
            raise ValueError(
                f"the training data has {len(durations)} utterances, fewer than the "
                f"{world_size} processes that train: start fewer"
            )
        self.durations = durations
        self.batch_seconds = batch_seconds
        self.seed = seed
        self.rank, self.world_size = rank, world_size
        self.buffer = buffer
        fewest = min(buffer, len(durations) // world_size) // _FEWEST_PIECES
        size = max(min(fewest, _PIECE), 1)
        self._starts, self._stops = _cut(shard_starts, size)
        self._pieces_in_buffer = max(buffer // size, 1)
        self._batch_sizes, self._lengths = self._count_lengths()
        self._orders = {}
        self._batches = {}

    def _count_lengths(self):
        """Of each kind of length: utterances of a batch, and how many a piece has."""
        sampler = length_batches([1.0], self.batch_seconds, self.seed)
        boundaries, sizes = sampler._bucket_boundaries, sampler._bucket_lens
        counts = np.zeros((len(self._starts), len(sizes)), dtype=np.int64)
        # Pieces cover all utterances in their order: chunks of whole pieces.
        first = 0
        while first < len(self._starts):
            limit = self._starts[first] + _CHUNK
            stop = max(np.searchsorted(self._stops, limit, side="right"), first + 1)
            begin, end = self._starts[first], self._stops[stop - 1]
            kinds = np.searchsorted(boundaries, self.durations[begin:end])
            pieces = np.repeat(
                np.arange(stop - first),
                self._stops[first:stop] - self._starts[first:stop],
            )
            flat = np.bincount(
                pieces * len(sizes) + kinds, minlength=(stop - first) * len(sizes)
            )
            counts[first:stop] = flat.reshape(stop - first, len(sizes))
            first = stop
        return np.array(sizes), counts

    def _order(self, epoch):
        """Pieces of each buffer, and batches up to each, of this process's; and the
        batches of the process that has most."""
        if epoch not in self._orders:
            generator = np.random.default_rng([self.seed, epoch])
            order = generator.permutation(len(self._starts))
            most = 0
            for rank in range(self.world_size):
                pieces = order[rank :: self.world_size]
                begins = np.arange(0, len(pieces), self._pieces_in_buffer)
                counts = np.add.reduceat(self._lengths[pieces], begins, axis=0)
                batches = (-(-counts // self._batch_sizes)).sum(1)
                most = max(most, int(batches.sum()))
                if rank == self.rank:
                    buffers = np.split(pieces, begins[1:])
                    ends = np.cumsum(batches)
            # Validation of one epoch and training of the next.
            self._orders = {epoch: (buffers, ends, most)}
        return self._orders[epoch]

    def num_batches(self, epoch):
        """How many steps all processes make: those of the one with most batches."""
        return self._order(epoch)[2]

    def refs(self, epoch):
        """The batches of an epoch, in their order.

        A process that has fewer than another begins anew with its first ones.
        """
        _, ends, most = self._order(epoch)
        begins = np.concatenate([[0], ends[:-1]])
        made = 0
        while made < most:
            for buffer, (begin, end) in enumerate(zip(begins, ends, strict=True)):
                for number in range(int(end - begin)):
                    if made == most:
                        return
                    yield BatchRef(epoch, buffer, number)
                    made += 1

    def pieces(self, epoch, buffer):
        """The runs [first, stop) of utterances that a buffer is filled with; none
        behind the last buffer."""
        buffers = self._order(epoch)[0]
        if buffer >= len(buffers):
            return []
        pieces = np.sort(buffers[buffer])
        return list(
            zip(
                self._starts[pieces].tolist(), self._stops[pieces].tolist(), strict=True
            )
        )

    def batch(self, ref):
        """The utterances of a batch."""
        key = (ref.epoch, ref.buffer)
        if key not in self._batches:
            # The buffer before is still needed where processes share the reading.
            while len(self._batches) > 1:
                self._batches.pop(next(iter(self._batches)))
            self._batches[key] = self._shuffle(*key)
        return self._batches[key][ref.number]

    def following(self, ref):
        """A batch, and the others of its buffer, from it on and round."""
        self.batch(ref)
        count = len(self._batches[ref.epoch, ref.buffer])
        for number in range(ref.number, ref.number + count):
            yield ref._replace(number=number % count)

    def _shuffle(self, epoch, buffer):
        """The batches of a buffer."""
        runs = self.pieces(epoch, buffer)
        rows = np.concatenate([np.arange(first, stop) for first, stop in runs])
        # That of the first buffer of one process is what a folder's data would have.
        seed = self.seed
        if buffer or self.rank:
            seed = int(digest(self.seed, self.rank, buffer), 16) % (1 << 32)
        # SpeechBrain tells of each; here that is once for some thousand utterances.
        logger = logging.getLogger("speechbrain.dataio.sampler")
        level = logger.level
        logger.setLevel(logging.WARNING)
        try:
            sampler = length_batches(
                self.durations[rows].tolist(), self.batch_seconds, seed, epoch=epoch
            )
            batches = [rows[batch] for batch in list(sampler)]
        finally:
            logger.setLevel(level)
        _, ends, _ = self._order(epoch)
        planned = int(ends[buffer] - (ends[buffer - 1] if buffer else 0))
        if len(batches) != planned:
            raise RuntimeError(
                f"buffer {buffer} gives {len(batches)} batches, not {planned}: this "
                f"version of SpeechBrain batches in another way"
            )
        return batches

    def __getstate__(self):
        return {**self.__dict__, "_batches": {}}


def _cut(shard_starts, size):
    """First and stop of each piece: shards in runs of at most ``size`` utterances."""
    starts = [
        np.arange(first, stop, size)
        for first, stop in zip(shard_starts[:-1], shard_starts[1:], strict=True)
    ]
    stops = [
        np.append(firsts[1:], stop)
        for firsts, stop in zip(starts, shard_starts[1:], strict=True)
    ]
    return np.concatenate(starts), np.concatenate(stops)


class ShardBatchSampler(torch.utils.data.Sampler):
    """The order of batches, for a data loader; each is made by who reads it.

    Arguments
    ---------
    plan : ShardPlan
    """

    def __init__(self, plan):
        self.plan = plan
        self.epoch = 0

    def set_epoch(self, epoch):
        """Which epoch comes next."""
        self.epoch = epoch

    def __len__(self):
        return self.plan.num_batches(self.epoch)

    def __iter__(self):
        return self.plan.refs(self.epoch)


@register_checkpoint_hooks
class SameShards:
    """Keeps in a checkpoint which shards it was trained on, and by how many processes.

    The middle of an epoch is a number of batches. With other shards, or other shares of
    them, that would be another place, and utterances would be left out or come twice.

    Arguments
    ---------
    shards : str
        Digest of the shards.
    plan : ShardPlan

    Example
    -------
    >>> plan = ShardPlan(np.full(100, 2.0), np.array([0, 60, 100]), 10.0, seed=1)
    >>> path = getfixture("tmp_path") / "shards"
    >>> SameShards("a", plan).save(path)
    >>> SameShards("b", plan).load(path, end_of_epoch=True)
    Traceback (most recent call last):
        ...
    ValueError: it was trained on other shards: ...
    """

    def __init__(self, shards, plan):
        self._state = {
            "shards": shards,
            "batch_seconds": plan.batch_seconds,
            "seed": plan.seed,
            "shuffle_buffer": plan.buffer,
            "world_size": plan.world_size,
        }

    @mark_as_saver
    def save(self, path):
        """Writes what the order of batches depends on."""
        pathlib.Path(path).write_text(json.dumps(self._state))

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Compares it.

        Raises
        ------
        ValueError
            If it was trained on other shards or, in the middle of an epoch, with other
            batches or by another number of processes.
        """
        saved = json.loads(pathlib.Path(path).read_text())
        if saved["shards"] != self._state["shards"]:
            raise ValueError(
                "it was trained on other shards: name the data_folder that it was "
                "trained on, which must not have changed"
            )
        if end_of_epoch:
            return
        for key, what in (
            ("world_size", "processes"),
            ("batch_seconds", "batch_seconds"),
            ("seed", "seed"),
            ("shuffle_buffer", "shuffle_buffer"),
        ):
            if saved[key] != self._state[key]:
                raise ValueError(
                    f"it is of the middle of an epoch, with {what} {saved[key]}, and "
                    f"this run has {self._state[key]}: its place is lost. Go on with "
                    f"{saved[key]}"
                )
