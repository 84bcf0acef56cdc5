"""Audio that is read and decoded ahead of its use, by processes of their own.

While the device works on one batch, the next are read. PyTorch's ``DataLoader`` is not
used: where one of its processes dies, it raises an error in whatever the program does
just then, and cannot tell which file it was.
"""

import collections
import concurrent.futures
import dataclasses
import itertools
import logging
import math
import multiprocessing
import os
import pathlib
import shutil
import signal
import time
from collections.abc import (
    Callable,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from ssr_plugin.data.audio import AudioError, read_row
from ssr_plugin.data.samples import LEAST_BYTE_RATE
from ssr_plugin.data.shared_slots import SharedSlots
from ssr_plugin.media_fragments import MediaFragment
from ssr_plugin.processes import can_fork, exit_with_parent, num_readers

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Name = TypeVar("Name", bound=Hashable)

#: Audio that is read ahead at most, s: 230 MB at 16 kHz.
AHEAD_SECONDS = 3600.0
# What one process reads at a time at most: so much that handing it over costs little.
_TASK_SECONDS = 60.0
_TASK_ITEMS = 16
# Tasks of each process that are under way.
_TASKS_AHEAD = 8
# Where Linux keeps what processes share; containers often have 64 MB of it.
_SHARED_MEMORY = pathlib.Path("/dev/shm")
_BYTES_PER_SAMPLE = 4
# Those in a second of files that are larger, by their ending.
_BYTE_RATES = {".wav": 32000, ".aif": 32000, ".aiff": 32000, ".flac": 10000}


class AudioBatch(NamedTuple):
    """What became of a batch.

    Arguments
    ---------
    waveforms : dict
        Name -> [S] float32, in the order of the batch.
    errors : dict
        Name -> :class:`~ssr_plugin.data.audio.AudioError`, why it cannot be read.
    """

    waveforms: dict[Any, torch.Tensor]
    errors: dict[Any, AudioError]


def row_seconds(row: Mapping[str, Any]) -> float:
    """How long a manifest row's audio is, s: its "duration", or else an estimate.

    Example
    -------
    >>> row_seconds({"wav": "a.wav", "duration": 2.5})
    2.5
    """
    duration = row.get("duration")
    return file_seconds(row["wav"]) if duration is None else float(duration)


def file_seconds(path: str | os.PathLike[str]) -> float:
    """How long an audio file is at most, s: guessed by its size, without opening it.

    Arguments
    ---------
    path : path-like

    Returns
    -------
    float
        Up to some times too much; 0 if there is no such file.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0] * 16000, 16000)
    >>> round(file_seconds(path), 1), file_seconds("no.wav")
    (1.0, 0.0)
    """
    part = MediaFragment.parse(path)
    path = pathlib.Path(part.path)
    try:
        size = path.stat().st_size
    except OSError:
        return 0.0
    if part.start is not None and part.end is not None:
        return part.end - part.start
    if part.size is not None:
        return part.size / LEAST_BYTE_RATE
    return size / _BYTE_RATES.get(path.suffix.lower(), LEAST_BYTE_RATE)


class ReadAhead(Generic[Item]):
    """Reads batches of audio ahead of whoever uses them, in their order.

    Processes read, each some files at a time, and hand samples over in shared memory
    (:class:`~ssr_plugin.data.shared_slots.SharedSlots`), or what is too long by itself.
    Without processes, and for a few files, this process reads when it is asked. What
    cannot be read is a value, and stops nothing. If a process dies over a file, that
    file cannot be read, and others go on.

    Arguments
    ---------
    sample_rate : int
        Wanted, Hz.
    read : callable
        ``read(item, sample_rate)`` gives [S], or raises
        :class:`~ssr_plugin.data.audio.AudioError`. By default items are manifest rows
        (:func:`~ssr_plugin.data.audio.read_row`).
    seconds : callable
        ``seconds(item)`` gives about how long an item is, s, without reading it: by it
        the memory is bounded.
    num_workers : int or None
        Processes at most; 0 for none. None takes what the machine has for a GPU
        (:func:`ssr_plugin.processes.num_readers`). None are started for a few files, or
        by a process that may start none.
    sendable : callable or None
        ``sendable(item)`` tells whether an item can be pickled. Others are read by this
        process, when their turn comes. None takes all.
    ahead_seconds : float
        Audio that is read ahead at most, s. What is longer is read ahead by itself.
    pin_memory : bool
        Whether samples are put into memory that a GPU reads without waiting.

    Attributes
    ----------
    audio_seconds : float
        Audio read so far, s.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.1] * 8000, 16000)
    >>> reader = ReadAhead(16000, num_workers=1)
    >>> batches = [{"a": {"wav": path}, "b": {"wav": "no.wav"}}, {"c": {"wav": path}}]
    >>> for waveforms, errors in reader(batches):
    ...     print({name: len(wav) for name, wav in waveforms.items()}, errors)
    {'a': 8000} {'b': AudioError('there is no audio file no.wav')}
    {'c': 8000} {}
    >>> reader.audio_seconds, reader.rate > 0
    (1.0, True)
    """

    def __init__(
        self,
        sample_rate: int,
        read: Callable[[Item, int], torch.Tensor] = read_row,
        seconds: Callable[[Item], float] = row_seconds,  # type: ignore[assignment]
        num_workers: int | None = None,
        sendable: Callable[[Item], bool] | None = None,
        ahead_seconds: float = AHEAD_SECONDS,
        pin_memory: bool = False,
    ) -> None:
        self.sample_rate = sample_rate
        self.read = read
        self.seconds = seconds
        if num_workers is None:
            num_workers = num_readers()
        self.num_workers = num_workers if can_fork() else 0
        self.sendable = sendable
        # What is longer cannot be handed over, s.
        self._longest = math.inf
        if self.num_workers:
            self._longest = _shared_samples() / sample_rate
        self.ahead_seconds = min(ahead_seconds, self._longest)
        # Several tasks at least, so that one can be used while others are read.
        self._task_seconds = min(_TASK_SECONDS, self.ahead_seconds / 8)
        self.pin_memory = pin_memory
        self.audio_seconds = 0.0
        self._busy_seconds = 0.0
        self._processes = 0
        self._slots: SharedSlots | None = None

    @property
    def rate(self) -> float:
        """Seconds of audio that are read in a second, if nobody holds the readers up.

        All processes together; 0 before anything was read.
        """
        if not self._busy_seconds:
            return 0.0
        return self.audio_seconds / self._busy_seconds * max(self._processes, 1)

    def __call__(self, batches: Iterable[Mapping[Name, Item]]) -> Iterator[AudioBatch]:
        """Reads batches.

        Arguments
        ---------
        batches : iterable of dict
            Name -> item. It is asked for more as there is room: an end is not needed.

        Yields
        ------
        AudioBatch
            One for each batch, in order.
        """
        waveforms: dict[Any, torch.Tensor] = {}
        errors: dict[Any, AudioError] = {}
        for done, ends_batch in self._read(batch.items() for batch in batches):
            waveforms |= done.waveforms
            errors |= done.errors
            # Samples that are not used any more are not held here.
            done.waveforms.clear()
            if ends_batch:
                batches_read = [AudioBatch(waveforms, errors)]
                waveforms, errors = {}, {}
                yield batches_read.pop()

    def each(
        self, items: Iterable[Item]
    ) -> Generator[torch.Tensor | AudioError, None, None]:
        """Reads one item after the other.

        Arguments
        ---------
        items : iterable
            Asked for more as there is room.

        Yields
        ------
        torch.Tensor or AudioError
            [S], or why it cannot be read; in order.

        Example
        -------
        >>> reader = ReadAhead(16000)
        >>> [str(wav) for wav in reader.each([{"wav": "no.wav"}])]
        ['there is no audio file no.wav']
        """
        for done, _ in self._read([enumerate(items)]):
            for index in sorted([*done.waveforms, *done.errors]):
                if index in done.errors:
                    yield done.errors[index]
                else:
                    yield done.waveforms.pop(index)

    def _read(
        self, batches: Iterable[Iterable[tuple[Any, Item]]]
    ) -> Iterator[tuple["_Done", bool]]:
        """What became of each task, in order, and whether it ends its batch."""
        tasks = self._split(batches)
        first: list[_Task] = []
        while (
            len(first) < max(self.num_workers, 2)
            # Others are files, which take no memory yet.
            and sum(task.seconds for task in first if task.here) <= self.ahead_seconds
            and (task := next(tasks, None)) is not None
        ):
            first.append(task)
        if not first:
            return
        # No more than there is work for; a task alone is not worth a process.
        useful = sum(not task.here for task in first)
        self._processes = min(self.num_workers, useful) if useful > 1 else 0
        waiting = itertools.chain(first, tasks)
        upcoming = next(waiting, None)
        running: collections.deque[_Task] = collections.deque()
        del first
        pool = self._start()
        try:
            upcoming = self._fill(pool, running, upcoming, waiting)
            while running:
                try:
                    done = self._result(running[0])
                except concurrent.futures.BrokenExecutor:
                    pool = self._recover(running)
                    continue
                task = running.popleft()
                ends_batch = task.ends_batch
                # Those that are not started yet hold it, and it what was read.
                task.items, task.future = {}, None
                upcoming = self._fill(pool, running, upcoming, waiting)
                yield done, ends_batch
                del done
        finally:
            if pool is not None:
                # What is being read is read to its end, and nobody waits for it.
                pool.shutdown(wait=False, cancel_futures=True)

    def _split(
        self, batches: Iterable[Iterable[tuple[Any, Item]]]
    ) -> Iterator["_Task"]:
        """Batches in tasks of a process each."""
        for batch in batches:
            task = _Task({})
            for name, item in batch:
                length = self.seconds(item)
                here = length > self._longest or not (
                    self.sendable is None or self.sendable(item)
                )
                full = len(task.items) == _TASK_ITEMS
                full = full or task.seconds + length > self._task_seconds
                if task.items and (here or full):
                    yield task
                    task = _Task({})
                task.items[name] = item
                task.seconds += length
                if here:
                    task.here = True
                    yield task
                    task = _Task({})
            task.ends_batch = True
            yield task

    def _fill(
        self,
        pool: concurrent.futures.Executor | None,
        running: "collections.deque[_Task]",
        upcoming: "_Task | None",
        waiting: Iterator["_Task"],
    ) -> "_Task | None":
        """Starts as much as there is room for; returns the next that is not started."""
        ahead = sum(task.seconds for task in running)
        most = _TASKS_AHEAD * self._processes
        while upcoming is not None and (
            not running
            or (len(running) < most and ahead + upcoming.seconds <= self.ahead_seconds)
        ):
            self._submit(pool, upcoming)
            running.append(upcoming)
            ahead += upcoming.seconds
            upcoming = next(waiting, None)
        return upcoming

    def _start(self) -> concurrent.futures.Executor | None:
        if not self._processes:
            return None
        # Lengths are estimates: what does not fit is handed over by itself.
        size = math.ceil((self._task_seconds + 1.0) * self.sample_rate)
        # New ones for new processes: of those that broke, one may still write.
        self._slots = SharedSlots(_TASKS_AHEAD * self._processes, size)
        return concurrent.futures.ProcessPoolExecutor(
            self._processes,
            mp_context=multiprocessing.get_context("fork"),
            initializer=_start_worker,
            # Forked, not pickled: slots stay the same memory.
            initargs=(self.read, self.sample_rate, self._slots),
        )

    def _submit(self, pool: concurrent.futures.Executor | None, task: "_Task") -> None:
        if pool is None or task.here or not task.items:
            return
        assert self._slots is not None
        task.slots, task.slot = self._slots, self._slots.take()
        try:
            task.future = pool.submit(_read_packed, task.items, task.slot)
        except concurrent.futures.BrokenExecutor as error:
            # A process died since; it is dealt with when this task's turn comes.
            task.future = concurrent.futures.Future()
            task.future.set_exception(error)

    def _result(self, task: "_Task") -> "_Done":
        """What was read; its samples are this process's own."""
        if not task.items:
            return _Done({}, {}, 0.0)
        if task.future is None:
            done = _read_items(self.read, task.items, self.sample_rate)
        else:
            result = task.future.result()
            done = self._unpack(result, task) if isinstance(result, _Packed) else result
        if self.pin_memory:
            pinned = {name: x.pin_memory() for name, x in done.waveforms.items()}
            done = done._replace(waveforms=pinned)
        samples = sum(len(wav) for wav in done.waveforms.values())
        self.audio_seconds += samples / self.sample_rate
        self._busy_seconds += done.elapsed
        return done

    def _unpack(self, packed: "_Packed", task: "_Task") -> "_Done":
        samples = packed.samples
        if samples is None:
            assert task.slots is not None and task.slot is not None
            written = task.slots.samples(task.slot, sum(packed.lengths))
            samples = torch.from_numpy(written)
        # Copied, so that shared memory is free again.
        wavs = samples.clone().split(packed.lengths)
        if task.slots is not None and task.slot is not None:
            task.slots.give_back(task.slot)
        waveforms = dict(zip(packed.names, wavs, strict=True))
        return _Done(waveforms, packed.errors, packed.elapsed)

    def _recover(
        self, running: "collections.deque[_Task]"
    ) -> concurrent.futures.Executor | None:
        """Goes on after a process died: finds the files that kill, reads the others."""
        broken = [task for task in running if _is_broken(task)]
        # Besides what each process reads, an executor hands out one task beforehand.
        suspects = broken[: self._processes + 1]
        logger.warning(
            "A process that reads audio died. What it and its %d neighbours were to "
            "read is tried file by file.",
            len(suspects) - 1,
        )
        for task in suspects:
            if self._death(task.items) is None:
                result = _read_items(self.read, task.items, self.sample_rate)
            else:
                result = self._read_survivors(task.items)
            task.future = concurrent.futures.Future()
            task.future.set_result(result)
        pool = self._start()
        for task in broken[len(suspects) :]:
            self._submit(pool, task)
        return pool

    def _read_survivors(self, items: dict[Any, Any]) -> "_Done":
        deaths = {name: self._death({name: item}) for name, item in items.items()}
        living = {name: item for name, item in items.items() if not deaths[name]}
        done = _read_items(self.read, living, self.sample_rate)
        for name, death in deaths.items():
            if death:
                label = _label(name, items[name])
                done.errors[name] = AudioError(
                    f"the process that read {label} died ({death}): replace the file, "
                    f"or leave it out"
                )
        return done

    def _death(self, items: dict[Any, Any]) -> str | None:
        """How a process dies that reads these items; None if it lives."""
        process = multiprocessing.get_context("fork").Process(
            target=_try_reading, args=(self.read, items, self.sample_rate), daemon=True
        )
        process.start()
        process.join()
        code = process.exitcode or 0
        if code < 0:
            return signal.Signals(-code).name
        return f"exit status {code}" if code else None


@dataclasses.dataclass
class _Task:
    """Some items of a batch, which are read one after the other."""

    items: dict[Any, Any]
    seconds: float = 0.0
    here: bool = False
    ends_batch: bool = False
    future: "concurrent.futures.Future[Any] | None" = None
    # Where its samples may be written: the slots of the processes that read it, and
    # which of them.
    slots: SharedSlots | None = None
    slot: int | None = None


class _Done(NamedTuple):
    waveforms: dict[Any, torch.Tensor]
    errors: dict[Any, AudioError]
    elapsed: float


class _Packed(NamedTuple):
    """As :class:`_Done`, on its way: all samples in a slot, or else in one tensor."""

    names: list[Any]
    samples: torch.Tensor | None
    lengths: list[int]
    errors: dict[Any, AudioError]
    elapsed: float


def _read_items(
    read: Callable[[Any, int], torch.Tensor], items: dict[Any, Any], sample_rate: int
) -> _Done:
    begin = time.perf_counter()
    waveforms: dict[Any, torch.Tensor] = {}
    errors: dict[Any, AudioError] = {}
    for name, item in items.items():
        try:
            waveforms[name] = read(item, sample_rate)
        except AudioError as error:
            # Its traceback would hold samples, and cannot be sent.
            errors[name] = AudioError(*error.args)
    return _Done(waveforms, errors, time.perf_counter() - begin)


def _shared_samples() -> float:
    """How many samples may be on their way between processes."""
    if not _SHARED_MEMORY.is_dir():
        return math.inf
    # Half of what is free: others share it, too, and lengths are estimates.
    return shutil.disk_usage(_SHARED_MEMORY).free / 2 / _BYTES_PER_SAMPLE


def _is_broken(task: _Task) -> bool:
    if task.future is None:
        return False
    # Those that were not done when a process died fail at once.
    error = task.future.exception()
    return isinstance(error, concurrent.futures.BrokenExecutor)


def _label(name: Any, item: Any) -> str:
    """What messages call an item: its file, where it tells one."""
    if isinstance(item, Mapping) and "wav" in item:
        return str(item["wav"])
    return str(item if isinstance(item, str | os.PathLike) else name)


# --- In the processes that read ---------------------------------------------------

_read: Callable[[Any, int], torch.Tensor]
_sample_rate: int
_slots: SharedSlots | None


def _start_worker(
    read: Callable[[Any, int], torch.Tensor],
    sample_rate: int,
    slots: SharedSlots | None = None,
) -> None:
    global _read, _sample_rate, _slots
    _read, _sample_rate, _slots = read, sample_rate, slots
    # The parent's threads were not forked with it: torch would wait for them.
    torch.set_num_threads(1)
    # Ctrl-C reaches all processes; the parent says what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    exit_with_parent()


def _read_packed(items: dict[Any, Any], slot: int | None) -> _Packed:
    done = _read_items(_read, items, _sample_rate)
    wavs = list(done.waveforms.values())
    lengths, samples = [*map(len, wavs)], None
    if slot is not None and _slots is not None and sum(lengths) <= _slots.size:
        place = torch.from_numpy(_slots.samples(slot, sum(lengths)))
        for part, wav in zip(place.split(lengths), wavs, strict=True):
            part.copy_(wav)
    else:
        samples = torch.cat([*wavs, torch.empty(0)])
    return _Packed(list(done.waveforms), samples, lengths, done.errors, done.elapsed)


def _try_reading(
    read: Callable[[Any, int], torch.Tensor], items: dict[Any, Any], sample_rate: int
) -> None:
    _start_worker(read, sample_rate)
    # Any other error is raised where the items are read again.
    try:
        _read_items(read, items, sample_rate)
    except Exception:
        logger.debug("reading failed", exc_info=True)
