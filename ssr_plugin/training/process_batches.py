"""Batches for several processes that train together, as one process would take them.

One list of batches is shared: of ``W`` processes each takes every ``W``-th. So a step
of ``W`` processes is over the same batches as one of a process that gathers the
gradients of ``W`` batches, and a run may go on with another number of processes.
"""

import pathlib

import torch
from speechbrain.utils.distributed import main_process_only


def process_of():
    """Which of the processes that train together this is, and how many they are.

    Returns
    -------
    rank, world_size : int

    Example
    -------
    >>> process_of()
    (0, 1)
    """
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def batches_done(done, there, here, accumulation=1):
    """Batches that a process has done in an epoch, after their number changed.

    Arguments
    ---------
    done : int
        Batches that each of the earlier processes did.
    there, here : int
        How many processes they were, and are.
    accumulation : int
        Batches to a step, in each of those that are.

    Returns
    -------
    int
        Of whole steps: what goes beyond them is done again.

    Example
    -------
    >>> batches_done(6, there=2, here=1, accumulation=2)
    12
    >>> batches_done(7, there=1, here=2)
    3
    """
    if there == here:
        return done
    return done * there // (here * accumulation) * accumulation


class ProcessBatches(torch.utils.data.Sampler):
    """The batches of one process.

    An epoch has whole steps, the same number in each process: where batches are missing
    at its end, its first ones come again.

    Arguments
    ---------
    batches : torch.utils.data.Sampler
        Of all processes; each makes the same.
    rank, world_size : int
        Which process this is, and how many there are.
    accumulation : int
        Batches to a step, in each process.

    Attributes
    ----------
    accumulation : int

    Example
    -------
    >>> batches = [["a"], ["b"], ["c"], ["d"], ["e"]]
    >>> [list(ProcessBatches(batches, rank, world_size=2)) for rank in (0, 1)]
    [[['a'], ['c'], ['e']], [['b'], ['d'], ['a']]]
    >>> list(ProcessBatches(batches, accumulation=2))[-2:]
    [['e'], ['a']]
    """

    def __init__(self, batches, rank=0, world_size=1, accumulation=1):
        self._batches = batches
        self._rank, self._world_size = rank, world_size
        self.accumulation = accumulation

    def __len__(self):
        step = self._world_size * self.accumulation
        return -(-len(self._batches) // step) * self.accumulation

    def __iter__(self):
        batches = list(self._batches)
        for number in range(len(self)):
            index = number * self._world_size + self._rank
            yield batches[index % len(batches)]

    def set_epoch(self, epoch):
        """Which epoch comes next."""
        self._batches.set_epoch(epoch)


@main_process_only
def save_place(loader, path):
    """A checkpoint's saver for a loader: batches that each process has done, and how
    many processes they are.

    Arguments
    ---------
    loader : speechbrain.dataio.dataloader.SaveableDataLoader
    path : path-like
    """
    loader._speechbrain_save(path)
    with open(path, "a", encoding="utf-8") as file:
        file.write(f" {process_of()[1]}")


def load_place(loader, path, end_of_epoch):
    """A checkpoint's loader for a data loader of :class:`ProcessBatches`.

    Arguments
    ---------
    loader : speechbrain.dataio.dataloader.SaveableDataLoader
    path : path-like
    end_of_epoch : bool
    """
    iterated = loader._speechbrain_iterator is not None
    done, *there = pathlib.Path(path).read_text(encoding="utf-8").split()
    if iterated or end_of_epoch or done == str(None):
        # A fresh epoch comes next, or none.
        return
    _, here = process_of()
    there = int(there[0]) if there else here
    accumulation = loader.batch_sampler.accumulation
    skipped = batches_done(int(done), there, here, accumulation)
    loader._speechbrain_recovery_skip_to = skipped
