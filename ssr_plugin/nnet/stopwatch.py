"""How long parts of a work take, on the host or on a GPU."""

import collections
import contextlib
import time
from collections.abc import Iterator

import torch


class Stopwatch:
    """Adds up the time of named parts.

    On a CUDA device the parts are marked in its stream: neither the host nor the device
    waits for the other until :meth:`seconds` is asked for. A device that waits for the
    host inside a part counts that, too.

    Arguments
    ---------
    device : torch.device or str
        Where the parts run.

    Example
    -------
    >>> stopwatch = Stopwatch("cpu")
    >>> for _ in range(2):
    ...     with stopwatch("sleep"):
    ...         time.sleep(0.01)
    >>> list(stopwatch.seconds()), 0.02 <= stopwatch.seconds()["sleep"] < 1
    (['sleep'], True)
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self._seconds: dict[str, float] = collections.defaultdict(float)
        self._marks: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Counts the time of the block.

        Arguments
        ---------
        name : str
            Of the part.
        """
        if self.device.type != "cuda":
            begin = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - begin
            return
        begins, ends = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begins.record(torch.cuda.current_stream(self.device))
        yield
        ends.record(torch.cuda.current_stream(self.device))
        self._marks.append((name, begins, ends))

    def seconds(self) -> dict[str, float]:
        """Time of each part so far, s; waits for the device.

        Returns
        -------
        dict
        """
        marks, self._marks = self._marks, []
        for name, begins, ends in marks:
            ends.synchronize()
            self._seconds[name] += begins.elapsed_time(ends) / 1000
        return dict(self._seconds)
