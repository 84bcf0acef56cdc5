"""Operators of a step are counted as a GPU would launch them."""

import random
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import DeviceType
from torch.optim.optimizer import _global_optimizer_pre_hooks

from ssr_plugin.training.profiling import (
    DeviceWatch,
    DeviceWork,
    count_by_phase,
    count_operators,
    union_length,
)


def test_count_operators_leaves_out_views_and_allocations():
    x = torch.ones(4, 6)

    def step():
        return x.view(2, 12).t()[1:].unsqueeze(0), torch.empty(3), x.detach()

    assert not count_operators(step)


def test_count_operators_leaves_out_the_marks_of_a_profiler():
    def step():
        with torch.profiler.record_function("here"):
            pass

    assert not count_operators(step)


def test_count_operators_counts_a_value_that_the_host_waits_for():
    x = torch.ones(4)
    assert count_operators(lambda: float(x[0])) == {"aten::_local_scalar_dense": 1}


def test_count_operators_counts_an_operator_in_place_and_one_that_makes_two_tensors():
    x = torch.arange(4.0)
    counted = count_operators(lambda: (x.add_(1), x.max(0)))
    assert counted == {"aten::add_": 1, "aten::max": 1}


def test_count_operators_sees_the_casts_of_autocast():
    layer, x = torch.nn.Linear(3, 3), torch.ones(2, 3)

    def step():
        with torch.autocast("cpu", torch.bfloat16):
            layer(x)

    assert count_operators(step) == {"aten::_to_copy": 3, "aten::addmm": 1}


def test_count_by_phase_tells_backward_and_optimizer_from_the_rest():
    layer, x = torch.nn.Linear(3, 3), torch.ones(2, 3)
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)

    def step():
        F.mse_loss(layer(x), x).backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()

    step()
    counts = count_by_phase(step)
    assert counts["forward"]["aten::addmm"] == 1
    assert counts["forward"]["aten::_foreach_norm"] == 1  # one for all gradients
    assert counts["backward"]["aten::mm"] == 1  # of the weight; x takes no gradient
    assert counts["optimizer"]["aten::_fused_adamw_"] == 1
    assert count_operators(step) == sum(counts.values(), type(counts["forward"])())


def test_count_by_phase_leaves_no_hook_behind_when_the_step_fails():
    def fail():
        raise ArithmeticError

    before = dict(_global_optimizer_pre_hooks)
    with pytest.raises(ArithmeticError):
        count_by_phase(fail)
    assert dict(_global_optimizer_pre_hooks) == before


def test_union_length_counts_each_moment_once():
    chance = random.Random(0)
    for count in range(50):
        starts = [chance.randrange(40) for _ in range(count // 5)]
        spans = [(start, start + chance.randrange(10)) for start in starts]
        moments = {moment for start, end in spans for moment in range(start, end)}
        assert union_length(spans) == len(moments)


def test_device_watch_counts_kernels_and_copies_and_leaves_the_host_out():
    def event(name, start, end, device=DeviceType.CUDA, annotation=False):
        span = SimpleNamespace(start=start, end=end)
        return SimpleNamespace(
            name=name,
            device_type=device,
            is_user_annotation=annotation,
            time_range=span,
        )

    trace = SimpleNamespace(
        start=lambda: None,
        stop=lambda: None,
        events=lambda: [
            event("gemm", 0, 30),
            event("Memcpy HtoD (Pinned -> Device)", 20, 40),
            event("Memset (Device)", 90, 91),
            event("softmax", 95, 100),
            event("step", 0, 100, annotation=True),
            event("aten::mm", 0, 100, DeviceType.CPU),
        ],
    )
    watch = DeviceWatch()
    watch._trace = trace
    watch.start()
    assert watch.stop() == DeviceWork(busy_seconds=46e-6, kernels=2, copies=2)
