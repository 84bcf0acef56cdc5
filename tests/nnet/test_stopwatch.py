"""Parts of a work are timed, on a CUDA device without waiting for it."""

import time

import torch

from ssr_plugin.nnet.stopwatch import Stopwatch


def test_a_part_that_fails_does_not_count():
    stopwatch = Stopwatch("cpu")
    try:
        with stopwatch("part"):
            raise RuntimeError
    except RuntimeError:
        pass
    assert stopwatch.seconds() == {}


def test_on_a_cuda_device_parts_are_marked_and_added_up_when_asked_for(monkeypatch):
    waited = []

    class Event:
        """As torch's, of a device whose work takes as long as the host's."""

        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            self.time = time.perf_counter()

        def synchronize(self):
            waited.append(self)

        def elapsed_time(self, other):
            return 1000 * (other.time - self.time)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: device)
    stopwatch = Stopwatch("cuda")
    for name in ("a", "b", "a"):
        with stopwatch(name):
            time.sleep(0.01)
    assert not waited
    seconds = stopwatch.seconds()
    assert len(waited) == 3
    assert 0.01 <= seconds["b"] < seconds["a"]
    assert stopwatch.seconds() == seconds
