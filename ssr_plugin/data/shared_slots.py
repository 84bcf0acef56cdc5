"""Memory that a process shares with those that it forks, used again and again."""

import mmap

import numpy as np
import numpy.typing as npt


class SharedSlots:
    """Slots of samples, which forked processes fill and this one reads.

    A piece of shared memory of its own for each hand-over must be opened, mapped and
    found page by page. Slots are that once. They are no files: what a container allows
    ``/dev/shm`` does not bound them. Memory that was never written to takes none.

    Arguments
    ---------
    count : int
        Slots, at least 1.
    size : int
        Samples of each, at least 1.

    Attributes
    ----------
    size : int

    Example
    -------
    >>> slots = SharedSlots(count=1, size=4)
    >>> slot = slots.take()
    >>> slots.samples(slot, 2)[:] = 0.5
    >>> slots.take() is None, slots.samples(slot, 3).tolist()
    (True, [0.5, 0.5, 0.0])
    >>> slots.give_back(slot)
    >>> slots.take() == slot
    True
    """

    def __init__(self, count: int, size: int) -> None:
        self.size = size
        # Of no file, and shared: a fork has the same.
        memory = mmap.mmap(-1, count * size * 4)
        self._samples = np.frombuffer(memory, dtype=np.float32).reshape(count, size)
        # The last to come back goes first: its memory is there.
        self._free = list(range(count))

    def take(self) -> int | None:
        """A slot that nobody uses; None if there is none."""
        return self._free.pop() if self._free else None

    def give_back(self, slot: int) -> None:
        """Lets others use a slot."""
        self._free.append(slot)

    def samples(self, slot: int, count: int) -> npt.NDArray[np.float32]:
        """The first samples of a slot, [S]: the memory itself."""
        samples: npt.NDArray[np.float32] = self._samples[slot, :count]
        return samples
