"""Recorded steps: only shapes that come again, and the numbers of a plain step."""

import torch

from ssr_plugin.training.batches import Batch
from ssr_plugin.training.packed_tensors import PackedTensors
from ssr_plugin.training.step_graphs import CudaRecorder, StepGraphs


def batch_of(*values):
    tensors = PackedTensors.of({"inputs": torch.tensor(values)})
    return Batch(["a"], [1.0], True, [], [1], 1, tensors)


class Recorder:
    """Records nothing, but counts, and replays what it was given."""

    def __init__(self):
        self.recorded, self.replayed = [], 0

    def __call__(self, step, batch):
        self.recorded.append(tuple(batch.inputs.shape))

        def replay(other):
            self.replayed += 1
            return step(other)

        return replay


def step(batch):
    return batch.inputs.sum(), torch.ones(())


def test_a_shape_is_recorded_when_it_comes_a_second_time():
    recorder = Recorder()
    graphs = StepGraphs(step, "cpu", recorder)
    graphs.run(batch_of(1.0, 2.0))
    graphs.run(batch_of(1.0))
    assert recorder.recorded == []
    graphs.run(batch_of(3.0, 4.0))
    assert recorder.recorded == [(2,)] and recorder.replayed == 1


def test_each_batch_gives_its_own_loss_recorded_or_not():
    graphs = StepGraphs(step, "cpu", Recorder())
    batches = [(1.0,), (2.0,), (3.0, 1.0), (5.0,), (2.0, 2.0), (9.0, 1.0)]
    losses = [graphs.run(batch_of(*values))[0].item() for values in batches]
    assert losses == [sum(values) for values in batches]


def test_a_step_that_cannot_be_recorded_is_taken():
    graphs = StepGraphs(step, "cpu", lambda step, batch: None)
    assert [graphs.run(batch_of(x))[0].item() for x in (1.0, 2.0, 3.0)] == [1, 2, 3]


def test_nothing_is_recorded_on_a_cpu():
    assert CudaRecorder()(step, batch_of(1.0)) is None
