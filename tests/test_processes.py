"""How many processes read audio: decided in one place, by machine and user."""

import multiprocessing

import pytest

from ssr_plugin import processes
from ssr_plugin.processes import can_fork, num_readers


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many cores, on which nobody has said anything."""

    def have(cores):
        monkeypatch.delenv("SSR_NUM_WORKERS", raising=False)
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        monkeypatch.setattr(processes, "usable_cores", lambda: cores)

    return have


@pytest.mark.parametrize("cores, number", [(1, 0), (2, 1), (8, 7), (16, 12), (96, 12)])
def test_one_core_is_left_to_what_uses_the_audio(machine, cores, number):
    machine(cores)
    assert num_readers() == number


@pytest.mark.parametrize("cores, threads, number", [(2, 1, 1), (2, 2, 0), (16, 4, 12)])
def test_a_cpu_that_works_on_the_audio_keeps_its_cores(
    machine, monkeypatch, cores, threads, number
):
    machine(cores)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    assert num_readers("cpu") == number


def test_processes_of_one_run_share_the_cores(machine, monkeypatch):
    machine(16)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert num_readers() == 3


def test_the_user_has_the_last_word(machine, monkeypatch):
    machine(16)
    monkeypatch.setenv("SSR_NUM_WORKERS", "2")
    assert num_readers() == 2
    monkeypatch.setenv("SSR_NUM_WORKERS", "many")
    with pytest.raises(ValueError, match="SSR_NUM_WORKERS is 'many': give a number"):
        num_readers()


def test_none_can_be_forked_on_macos(machine, monkeypatch):
    machine(16)
    monkeypatch.setattr(
        processes.os, "uname", lambda: type("", (), {"sysname": "Darwin"})
    )
    assert not can_fork()
    assert num_readers() == 0


def tell(queue):
    queue.put(num_readers())


def test_a_worker_has_no_workers():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=tell, args=(queue,), daemon=True)
    process.start()
    assert queue.get(timeout=60) == 0
    process.join()
