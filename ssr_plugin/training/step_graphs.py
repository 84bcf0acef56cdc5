"""Training steps that a GPU has recorded: one launch in place of hundreds.

A step of a small model is hundreds of kernels, which the host takes longer to launch
than a GPU to run. A CUDA graph launches them all at once. It is recorded for each shape
of a batch, and gives the same numbers, to the bit.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssr_plugin.training.batches import Batch

logger = logging.getLogger(__name__)

#: A batch on the device -> loss and norm of the gradient, which stay there.
Step = Callable[[Batch], tuple[Tensor, Tensor]]
# Most shapes that are recorded: each keeps a batch in the GPU's memory.
_MOST_GRAPHS = 256
# Share of the GPU's memory that must be free to record one more.
_FREE = 0.2


class StepGraphs:
    """Takes steps, and records those of shapes that come again.

    Arguments
    ---------
    step : callable
        Takes a whole step with a batch that is on the device: forward, backward and
        optimizer. It asks the device nothing, and what it does depends on nothing on
        the host but the shapes of the batch.
    device : torch.device
    record : callable
        ``record(step, batch)``: a function that takes the same step with the tensors
        of another batch; None if it cannot be recorded.

    Example
    -------
    >>> from ssr_plugin.training.packed_tensors import PackedTensors
    >>> def batch_of(value):
    ...     tensors = PackedTensors.of({"inputs": torch.tensor([value])})
    ...     return Batch(["a"], [1.0], True, [], [1], 1, tensors)
    >>> graphs = StepGraphs(lambda batch: (batch.inputs.sum(), torch.ones(())), "cpu")
    >>> graphs.run(batch_of(3.0))
    (tensor(3.), tensor(1.))
    """

    def __init__(
        self,
        step: Step,
        device: torch.device | str,
        record: Callable[[Step, Batch], Step | None] | None = None,
    ) -> None:
        self._step = step
        self._device = device
        self._record = record or CudaRecorder()
        self._times_seen: collections.Counter[object] = collections.Counter()
        self._recorded: dict[object, Step] = {}

    def run(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Takes the step of a batch.

        Returns
        -------
        loss, norm : torch.Tensor
            Scalars on the device.
        """
        shape = batch.tensors.layout
        if shape in self._recorded:
            return self._recorded[shape](batch)
        self._times_seen[shape] += 1
        batch = batch.to(self._device)
        # A shape that comes once is not worth a recording.
        if self._times_seen[shape] == 2 and len(self._recorded) < _MOST_GRAPHS:
            recorded = self._record(self._step, batch)
            if recorded is not None:
                self._recorded[shape] = recorded
                return recorded(batch)
        return self._step(batch)


class CudaRecorder:
    """Records steps as CUDA graphs, which share their memory."""

    def __init__(self) -> None:
        # Made before the first recording, for all.
        self._pool: Any = None
        self._failed = False

    def __call__(self, step: Step, batch: Batch) -> Step | None:
        """Records a step without taking it.

        Arguments
        ---------
        step : callable
            Of :class:`StepGraphs`.
        batch : ssr_plugin.training.batches.Batch
            On the GPU. Its memory is where each batch of this shape will be.

        Returns
        -------
        callable or None
            None, and a warning, if the step cannot be recorded; None, too, where
            little memory is left.
        """
        buffer = batch.tensors.buffer
        if not buffer.is_cuda or self._failed:
            return None
        free, total = torch.cuda.mem_get_info(buffer.device)
        if free < _FREE * total:
            return None
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(buffer.device)
        torch.cuda.synchronize(buffer.device)
        try:
            with torch.cuda.stream(stream):
                # Other threads may go on: that of the loader pins memory.
                graph.capture_begin(self._pool, capture_error_mode="thread_local")
                try:
                    loss, norm = step(batch)
                finally:
                    graph.capture_end()
        except RuntimeError as error:
            self._failed = True
            logger.warning(
                "A training step cannot be recorded on this GPU, and is launched "
                "kernel by kernel: %s",
                str(error).partition("\n")[0],
            )
            return None

        def replay(other: Batch) -> tuple[Tensor, Tensor]:
            source = other.tensors.buffer
            if source is not buffer:
                buffer.copy_(source, non_blocking=True)
            graph.replay()
            # The next replay writes over them.
            return loss.clone(), norm.clone()

        return replay
