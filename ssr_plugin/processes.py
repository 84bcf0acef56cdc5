"""Processes that work for this one: how many, and when they end."""

import concurrent.futures
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

#: Set to a number, it is how many processes read audio, whatever the machine has.
NUM_WORKERS_VARIABLE = "SSR_NUM_WORKERS"

# More processes than this read faster than any one GPU encodes.
_MOST_READERS = 12
# How often a process looks whether its parent is there, s.
_LOOK_SECONDS = 1.0


def usable_cores() -> int:
    """How many of the machine's cores this process may use.

    Example
    -------
    >>> usable_cores() >= 1
    True
    """
    # Only Linux says which.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def can_fork() -> bool:
    """Whether processes can be started at once, from any script.

    A forked process starts in milliseconds. Others import the user's script again,
    which must then be written for it. On macOS forks are not safe. A process that is
    itself a worker ("daemonic") may start none.
    """
    return (
        "fork" in multiprocessing.get_all_start_methods()
        and os.uname().sysname != "Darwin"
        and not multiprocessing.current_process().daemon
    )


def num_readers(device: "torch.device | str" = "cuda") -> int:
    """How many processes read audio, unless the user says.

    For a GPU all cores but one, which feeds it, and at most 12; ``torchrun``'s
    processes share them. For a CPU only the cores that torch's threads leave free: its
    threads wait for each other, and much longer where another process has their core.
    The environment variable ``SSR_NUM_WORKERS`` replaces that number. It is 0, this
    process itself, where none can be forked.

    Arguments
    ---------
    device : torch.device or str
        What works on the audio.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If the variable is no number of processes.

    Example
    -------
    >>> import os
    >>> getfixture("monkeypatch").setenv("SSR_NUM_WORKERS", "3")
    >>> num_readers()
    3
    """
    if not can_fork():
        return 0
    given = os.environ.get(NUM_WORKERS_VARIABLE)
    if given is not None:
        if not given.isdecimal():
            raise ValueError(
                f"{NUM_WORKERS_VARIABLE} is '{given}': give a number of processes, 0 "
                f"or more"
            )
        return int(given)
    import torch

    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    busy = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    return max(min(usable_cores() // max(sharing, 1) - busy, _MOST_READERS), 0)


def exit_with_parent() -> None:
    """Ends this process, a worker, when its parent has ended, even if that was killed.

    A killed parent cannot tell its workers to stop; they would wait for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a worker has a parent"

    def watch() -> None:
        # A forked process keeps the pipes of those before it open, so that the pipe
        # alone does not tell; on Windows the parent's id does not.
        while os.getppid() == parent.pid:
            if multiprocessing.connection.wait([parent.sentinel], _LOOK_SECONDS):
                break
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work_on(
    work: Callable[[Item], Any],
    items: Sequence[Item],
    num_workers: int,
    start: Callable[[], None] | None = None,
) -> Iterator[tuple[Item, Any]]:
    """Has processes work on items; they are started for that, and end with it.

    Arguments
    ---------
    work : callable
        ``work(item)``; sent to each process once, pickled.
    items : list
    num_workers : int
        Processes at most.
    start : callable or None
        Called in each process before it works.

    Yields
    ------
    item, result
        As they end.

    Raises
    ------
    concurrent.futures.BrokenExecutor
        If a process dies.

    Example
    -------
    >>> sorted(work_on(len, ["a", "bcd"], num_workers=1))
    [('a', 1), ('bcd', 3)]
    """
    # Spawned, not forked: the caller may have started torch's threads already, and a
    # fork of them hangs.
    pool = concurrent.futures.ProcessPoolExecutor(
        min(num_workers, len(items)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(work, start),
    )
    try:
        running = {pool.submit(_work, item): item for item in items}
        for future in concurrent.futures.as_completed(running):
            yield running[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: Callable[[Any], Any]


def _start_worker(work: Callable[[Any], Any], start: Callable[[], None] | None) -> None:
    global _worker
    _worker = work
    if start is not None:
        start()
    exit_with_parent()


def _work(item: Any) -> Any:
    return _worker(item)
