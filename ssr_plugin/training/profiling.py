"""What a training step asks of the device, and how much of the time that is busy.

A step of small kernels is bound by their number, not by their work: to launch one takes
longer than to run it. The number is the same on every machine, so that a test on a CPU
can watch it.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

#: What a step does; clipping gradients is part of "forward", as all that is neither.
PHASES = ("forward", "backward", "optimizer")

# Operators that give a new tensor, or none, and have nothing to run: they allocate, or
# mark for a profiler where a step of the optimizer begins and ends.
_IDLE = (
    "aten::empty",
    "aten::new_empty",
    "aten::_unsafe_view",
    "aten::set_",
    "profiler::",
)
# They give no tensor, but a value: the host waits until the device has it.
_ANSWERS = ("aten::_local_scalar_dense", "aten::equal")


def count_operators(step: Callable[[], Any]) -> collections.Counter[str]:
    """Counts the operators of a step that have work for the device.

    Arguments
    ---------
    step : callable
        Called once, without arguments. What it does only the first time is better done
        before.

    Returns
    -------
    collections.Counter
        As :func:`count_by_phase`, of all phases.

    Example
    -------
    >>> x = torch.ones(2, 3)
    >>> count_operators(lambda: (x.t() + 1).sum())
    Counter({'aten::add': 1, 'aten::sum': 1})
    """
    return sum(count_by_phase(step).values(), collections.Counter())


def count_by_phase(
    step: Callable[[], Any],
) -> dict[str, collections.Counter[str]]:
    """Counts the operators of forward, backward and optimizer apart.

    Arguments
    ---------
    step : callable
        As in :func:`count_operators`.

    Returns
    -------
    dict
        By phase of :data:`PHASES`, a counter by the operator's name, such as
        "aten::add". Views and allocations are left out: nothing runs for them. Nearly
        each of the others is one kernel on a GPU; so is one for a list of tensors.

    Example
    -------
    >>> x = torch.ones(2, 3, requires_grad=True)
    >>> count_by_phase(lambda: x.exp().sum().backward())["backward"]
    Counter({'aten::mul': 1})
    """
    counting = _Counting()
    hooks = (
        register_optimizer_step_pre_hook(counting.enter_optimizer),
        register_optimizer_step_post_hook(counting.leave_optimizer),
    )
    try:
        with counting:
            step()
    finally:
        for hook in hooks:
            hook.remove()
    return counting.counts


class _Counting(TorchDispatchMode):
    """Counts what reaches the device: below autograd and autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = {phase: collections.Counter[str]() for phase in PHASES}
        self._in_optimizer = False

    def enter_optimizer(self, *_: Any) -> None:
        self._in_optimizer = True

    def leave_optimizer(self, *_: Any) -> None:
        self._in_optimizer = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if _has_work(func._schema):
            phase = "forward"
            if self._in_optimizer:
                phase = "optimizer"
            elif torch._C._current_autograd_node() is not None:
                phase = "backward"
            self.counts[phase][func._schema.name] += 1
        return func(*args, **(kwargs or {}))


def _has_work(schema: Any) -> bool:
    """Whether an operator runs something, by what it returns."""
    if schema.name.startswith(_IDLE):
        return False
    if schema.name in _ANSWERS or not schema.returns:
        return True
    # Not a view: those return an alias of what they got, and write nothing.
    return any(
        "Tensor" in str(value.type)
        and (value.alias_info is None or value.alias_info.is_write)
        for value in schema.returns
    )


# --- What a GPU did -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class DeviceWork:
    """What a GPU did while it was watched.

    Arguments
    ---------
    busy_seconds : float
        Time in which at least one kernel or copy ran.
    kernels : int
        How many were launched.
    copies : int
        Copies and fills of memory, besides.
    """

    busy_seconds: float
    kernels: int
    copies: int


class DeviceWatch:
    """Watches a GPU, without the host's operators: those cost the host time.

    Example
    -------
    >>> watch = DeviceWatch()
    >>> watch.start()
    >>> _ = torch.ones(3) + 1
    >>> watch.stop()  # nothing of it ran on a GPU
    DeviceWork(busy_seconds=0.0, kernels=0, copies=0)
    """

    def __init__(self) -> None:
        gpu = torch.cuda.is_available()
        activity = ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU
        self._trace = profile(activities=[activity])

    def start(self) -> None:
        """Begins; what was launched before is waited for."""
        _wait()
        self._trace.start()

    def stop(self) -> DeviceWork:
        """Ends when all that was launched has run."""
        _wait()
        self._trace.stop()
        events = [
            event
            for event in self._trace.events() or ()
            if event.device_type == DeviceType.CUDA and not event.is_user_annotation
        ]
        copies = sum(event.name.startswith(("Memcpy", "Memset")) for event in events)
        spans = [(event.time_range.start, event.time_range.end) for event in events]
        busy = union_length(spans) / 1e6  # spans are in microseconds
        return DeviceWork(busy, len(events) - copies, copies)


def union_length(spans: Iterable[tuple[float, float]]) -> float:
    """How long at least one of some spans lasts.

    Arguments
    ---------
    spans : iterable of (float, float)
        Start and end of each; they may overlap.

    Returns
    -------
    float

    Example
    -------
    >>> union_length([(5, 6), (0, 2), (1, 3), (1, 2)])
    4.0
    """
    length, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        length += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return length


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
