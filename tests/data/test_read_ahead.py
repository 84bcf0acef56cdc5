"""Audio read ahead by processes is what reading it here gives, whatever happens."""

import gc
import itertools
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
import torch

from ssr_plugin.data import read_ahead
from ssr_plugin.data.audio import AudioError, read_row
from ssr_plugin.data.read_ahead import AudioBatch, ReadAhead, file_seconds, row_seconds

RATE = 16000
HERE_AND_IN_PROCESSES = pytest.mark.parametrize("num_workers", [0, 1, 2])


@pytest.fixture(scope="module")
def rows(tmp_path_factory, write_audio):
    """Thirty files of 0.1 to 0.4 s."""
    folder = tmp_path_factory.mktemp("audio")
    return {
        f"utt-{i}": {
            "wav": str(write_audio(folder / f"{i}.wav", 0.1 * (1 + i % 4), seed=i))
        }
        for i in range(30)
    }


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch):
    """Processes that read three files at a time, so that there are many tasks."""
    monkeypatch.setattr(read_ahead, "_TASK_ITEMS", 3)


def batches_of(rows, size):
    names = iter(rows)
    while names_of_batch := list(itertools.islice(names, size)):
        yield {name: rows[name] for name in names_of_batch}


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def children():
    # Of earlier tests some may still end.
    return {process.pid for process in multiprocessing.active_children()}


@HERE_AND_IN_PROCESSES
@pytest.mark.parametrize("size", [1, 7, 100])
def test_batches_come_in_order_with_the_samples_that_reading_gives(
    rows, num_workers, size
):
    reader = ReadAhead(RATE, num_workers=num_workers)
    found = list(reader(batches_of(rows, size)))
    expected = list(batches_of(rows, size))
    assert [list(batch.waveforms) for batch in found] == [list(x) for x in expected]
    for batch in found:
        assert not batch.errors
        for name, wav in batch.waveforms.items():
            assert torch.equal(wav, read_row(rows[name], RATE))


@HERE_AND_IN_PROCESSES
def test_a_file_that_cannot_be_read_is_a_value_that_names_it(
    rows, num_workers, tmp_path
):
    (tmp_path / "bad.wav").write_text("no audio")
    batch = {"missing": {"wav": "no.wav"}, "bad": {"wav": str(tmp_path / "bad.wav")}}
    both = [{**batch, "good": rows["utt-0"]}, {"later": rows["utt-1"]}]
    first, second = ReadAhead(RATE, num_workers=num_workers)(both)
    assert list(first.waveforms) == ["good"]
    assert isinstance(first.errors["missing"], AudioError)
    assert str(first.errors["missing"]) == "there is no audio file no.wav"
    assert str(tmp_path / "bad.wav") in str(first.errors["bad"])
    assert list(second.waveforms) == ["later"]


@HERE_AND_IN_PROCESSES
def test_no_batches_and_batches_without_items_are_batches_as_well(rows, num_workers):
    reader = ReadAhead(RATE, num_workers=num_workers)
    assert list(reader([])) == []
    found = list(reader([{}, {"a": rows["utt-0"]}, {}]))
    assert [list(batch.waveforms) for batch in found] == [[], ["a"], []]
    assert found[0] == AudioBatch({}, {})


def read_number(number, sample_rate):
    return torch.full((number,), float(sample_rate))


@HERE_AND_IN_PROCESSES
def test_items_of_any_kind_go_through_a_function_that_reads_them(num_workers):
    reader = ReadAhead(8, read_number, seconds=lambda n: n / 8, num_workers=num_workers)
    batch = {("a", 1): 3, ("b", 2): 5}
    for waveforms, _ in reader([batch] * 3):
        assert {name: wav.tolist() for name, wav in waveforms.items()} == {
            ("a", 1): [8.0] * 3,
            ("b", 2): [8.0] * 5,
        }


@HERE_AND_IN_PROCESSES
def test_one_item_comes_after_the_other(rows, num_workers):
    items = [*rows.values()]
    items.insert(17, {"wav": "no.wav"})
    found = list(ReadAhead(RATE, num_workers=num_workers).each(iter(items)))
    assert len(found) == len(items)
    assert str(found.pop(17)) == "there is no audio file no.wav"
    for wav, row in zip(found, rows.values(), strict=True):
        assert torch.equal(wav, read_row(row, RATE))


def read_here(lock, sample_rate):
    with lock:
        return torch.ones(4)


def test_what_cannot_be_sent_to_a_process_is_read_by_this_one():
    items = {"a": 1, "lock": threading.Lock(), "b": 2}

    def read(item, sample_rate):
        return read_number(item, 8) if isinstance(item, int) else read_here(item, 8)

    reader = ReadAhead(
        8,
        read,
        seconds=lambda item: 0.0,
        num_workers=1,
        sendable=lambda item: isinstance(item, int),
    )
    for waveforms, _ in reader([items] * 2):
        assert [len(wav) for wav in waveforms.values()] == [1, 4, 2]
        assert list(waveforms) == ["a", "lock", "b"]


def read_wrongly(item, sample_rate):
    raise TypeError(f"{item} is no recording")


@HERE_AND_IN_PROCESSES
def test_an_error_that_is_not_the_files_stops_the_reading(num_workers):
    reader = ReadAhead(
        8, read_wrongly, seconds=lambda item: 0.0, num_workers=num_workers
    )
    with pytest.raises(TypeError, match="7 is no recording"):
        list(reader([{"a": 7}] * 2))


# --- Memory ------------------------------------------------------------------------


@HERE_AND_IN_PROCESSES
def test_no_more_is_read_ahead_than_was_said(num_workers):
    asked = []

    def batches():
        for number in range(40):
            asked.append(number)
            yield {number: 80}

    reader = ReadAhead(
        8,
        read_number,
        seconds=lambda n: n / 8,
        num_workers=num_workers,
        ahead_seconds=35,
    )
    for number, _ in enumerate(reader(batches())):
        # Three of 10 s are under way, and one waits for room.
        assert len(asked) <= number + 1 + 4
    assert number == 39


@HERE_AND_IN_PROCESSES
def test_what_is_longer_than_all_that_may_be_ahead_is_read_ahead_by_itself(num_workers):
    reader = ReadAhead(
        8,
        read_number,
        seconds=lambda n: n / 8,
        num_workers=num_workers,
        ahead_seconds=1,
    )
    lengths = [80, 8, 800, 1]
    found = list(reader({n: n} for n in lengths))
    assert [len(wav) for batch in found for wav in batch.waveforms.values()] == lengths


def test_what_shared_memory_does_not_hold_is_read_by_this_process(monkeypatch):
    here = os.getpid()

    def read(item, sample_rate):
        return torch.tensor([float(os.getpid() == here)] * item)

    monkeypatch.setattr(read_ahead, "_shared_samples", lambda: 50.0)
    reader = ReadAhead(1, read, seconds=float, num_workers=1)
    for waveforms, _ in reader([{"short": 40, "other": 45, "long": 60}] * 2):
        assert waveforms["short"].tolist() == [0.0] * 40
        assert waveforms["long"].tolist() == [1.0] * 60
    assert reader.ahead_seconds == 50


def test_samples_come_in_slots_that_are_used_again(monkeypatch):
    slots, unpack = [], ReadAhead._unpack

    def note(reader, packed, task):
        # Without a slot, a tensor comes in shared memory of its own.
        slots.append(task.slot if packed.samples is None else None)
        return unpack(reader, packed, task)

    monkeypatch.setattr(ReadAhead, "_unpack", note)
    reader = ReadAhead(
        8, read_number, seconds=lambda n: n / 8, num_workers=2, ahead_seconds=16
    )
    numbers = [8, 9, 10, 11] * 20
    assert [len(wav) for wav in reader.each(numbers)] == numbers
    assert None not in slots and len(set(slots)) <= 16 < len(slots)


def test_what_is_longer_than_a_slot_comes_by_itself():
    # Guessed to last a second, of which there are eight samples.
    reader = ReadAhead(8, read_number, seconds=lambda n: 1.0, num_workers=2)
    lengths = [5, 8 * 300, 6, 8 * 400]
    assert [len(wav) for wav in reader.each(lengths)] == lengths


def test_samples_do_not_stay_in_shared_memory(rows):
    (batch,) = ReadAhead(RATE, num_workers=1)([rows])
    assert not any(wav.is_shared() for wav in batch.waveforms.values())


@HERE_AND_IN_PROCESSES
def test_samples_that_are_not_used_any_more_are_not_held(rows, num_workers):
    reader = ReadAhead(RATE, num_workers=num_workers)
    reading, batches = reader.each(rows.values()), reader([rows, rows])
    held = [weakref.ref(next(reading))]
    held += map(weakref.ref, next(batches).waveforms.values())
    assert len(held) == 31 and not any(wav() is not None for wav in held)


def test_what_was_handed_over_is_not_held():
    reader = ReadAhead(
        8, read_number, seconds=lambda n: n / 8, num_workers=4, ahead_seconds=1
    )
    reading = reader.each([80] * 8)
    before = num_packed()
    for _ in range(4):
        next(reading)
        # The next alone is under way: it is longer than what may be ahead.
        assert num_packed() <= before + 1


def num_packed():
    gc.collect()
    return sum(type(x) is read_ahead._Packed for x in gc.get_objects())


def test_a_few_files_are_worth_no_process(rows):
    before = children()
    reader = ReadAhead(RATE, num_workers=2)
    for found in reader.each([rows["utt-0"], rows["utt-1"]]):
        assert children() == before and isinstance(found, torch.Tensor)
    seen = {len(children() - before) for _ in reader.each(rows.values())}
    assert max(seen) == 2


def test_lengths_are_known_or_guessed_without_opening_a_file(tmp_path, write_audio):
    wav = write_audio(tmp_path / "a.wav", 2.0)
    flac = write_audio(tmp_path / "a.flac", 2.0)
    assert row_seconds({"wav": wav, "duration": 1.5}) == 1.5
    assert row_seconds({"wav": wav}) == pytest.approx(2.0, abs=0.01)
    assert file_seconds(flac) >= 1.9
    assert file_seconds(tmp_path / "no.wav") == 0


# --- Ends --------------------------------------------------------------------------


def test_processes_end_when_all_is_read(rows):
    before = children()
    list(ReadAhead(RATE, num_workers=2)(batches_of(rows, 4)))
    assert wait_until(lambda: children() <= before)


def test_processes_end_when_the_consumer_stops_early(rows):
    before = children()
    reading = ReadAhead(RATE, num_workers=2)(batches_of(rows, 2))
    next(reading)
    assert children() > before
    reading.close()
    assert wait_until(lambda: children() <= before)


FOR_EVER = """
import itertools, os, sys, time
from ssr_plugin.data.read_ahead import ReadAhead
import multiprocessing
rows = ({str(i): {"wav": sys.argv[1], "duration": 1.0}} for i in itertools.count())
for _ in ReadAhead(16000, num_workers=2)(rows):
    print(*[process.pid for process in multiprocessing.active_children()], flush=True)
    time.sleep(600)
"""


def test_processes_end_when_their_parent_is_killed(rows):
    with subprocess.Popen(
        [sys.executable, "-c", FOR_EVER, rows["utt-0"]["wav"]], stdout=subprocess.PIPE
    ) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    assert wait_until(lambda: not any(map(is_running, pids)))


def is_running(pid):
    try:
        # One that has ended may wait for its new parent to notice.
        return " Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def read_in_worker(rows, found):
    reader = ReadAhead(RATE, num_workers=2)
    found.put(
        [len(wav) for batch in reader([rows]) for wav in batch.waveforms.values()]
    )


def test_a_process_that_may_start_none_reads_by_itself(rows):
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    process = context.Process(target=read_in_worker, args=(rows, found), daemon=True)
    process.start()
    lengths = found.get(timeout=60)
    process.join()
    assert lengths == [len(read_row(row, RATE)) for row in rows.values()]


# --- Processes that die ------------------------------------------------------------


def read_or_die(row, sample_rate):
    if row.get("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    return read_row(row, sample_rate)


def test_a_file_that_kills_its_process_is_named_and_the_others_are_read(rows):
    deadly = {"utt-8", "utt-21"}
    marked = {
        name: {**row, "deadly": True} if name in deadly else row
        for name, row in rows.items()
    }
    reader = ReadAhead(RATE, read_or_die, num_workers=2)
    found = list(reader(batches_of(marked, 5)))
    assert len(found) == 6
    errors = {
        name: str(error) for batch in found for name, error in batch.errors.items()
    }
    assert errors.keys() == deadly
    for name, error in errors.items():
        assert error == (
            f"the process that read {rows[name]['wav']} died (SIGKILL): replace the "
            f"file, or leave it out"
        )
    waveforms = {k: wav for batch in found for k, wav in batch.waveforms.items()}
    assert waveforms.keys() == rows.keys() - deadly
    for name, wav in waveforms.items():
        assert torch.equal(wav, read_row(rows[name], RATE))


def test_a_process_that_somebody_killed_costs_no_file(rows):
    reading = ReadAhead(RATE, num_workers=1)(batches_of(rows, 2))
    before = children()
    found = [next(reading)]
    (pid,) = children() - before
    os.kill(pid, signal.SIGKILL)
    found += reading
    assert not any(batch.errors for batch in found)
    assert [name for batch in found for name in batch.waveforms] == list(rows)


# --- How fast ----------------------------------------------------------------------


def read_slowly(number, sample_rate):
    time.sleep(0.1)
    return torch.zeros(number)


@pytest.mark.parametrize("num_workers, share", [(0, 1), (1, 1), (2, 2)])
def test_the_rate_is_that_of_reading_alone(num_workers, share):
    reader = ReadAhead(
        10, read_slowly, seconds=lambda n: n / 10, num_workers=num_workers
    )
    assert reader.rate == 0
    for _ in reader([{"a": 10, "b": 20}, {"c": 30}]):
        time.sleep(0.2)  # the consumer's own time does not count
    assert reader.audio_seconds == 6
    # 6 s of audio took each process 0.3 s.
    assert 10 * share < reader.rate <= 20 * share


def test_processes_leave_the_random_numbers_as_they_are(rows):
    state = torch.get_rng_state()
    list(ReadAhead(RATE, num_workers=1)([rows]))
    assert torch.equal(torch.get_rng_state(), state)
