"""Operators of a step are counted as a GPU would launch them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.optimizer import _global_optimizer_pre_hooks

from ssr_plugin.training.profiling import count_by_phase, count_operators, union_length


def test_count_operators_leaves_out_views_and_allocations():
    x = torch.ones(4, 6)

    def step():
        return x.view(2, 12).t()[1:].unsqueeze(0), torch.empty(3), x.detach()

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


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=8))
def test_union_length_counts_each_moment_once(spans):
    spans = [(start, start + length) for start, length in spans]
    moments = {moment for start, end in spans for moment in range(start, end)}
    assert union_length(spans) == len(moments)
