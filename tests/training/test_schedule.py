"""The learning rate over the training."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.training.schedule import warmup_cosine


def test_warmup_cosine_rises_in_a_line_then_falls_as_half_a_cosine():
    shares = [warmup_cosine(x, 0.2, floor=0.0) for x in (0, 0.1, 0.2, 0.6, 1.0)]
    assert shares == pytest.approx([0, 0.5, 1, 0.5, 0], abs=1e-9)


def test_warmup_cosine_without_warm_up_starts_at_the_peak():
    assert warmup_cosine(0.0, 0.0) == 1.0


def test_warmup_cosine_ends_at_the_floor():
    assert warmup_cosine(1.0, 0.1, floor=0.3) == pytest.approx(0.3)


def test_the_warm_up_of_warmup_cosine_may_last_the_whole_training():
    assert warmup_cosine(0.5, 1.0) == 0.5
    assert warmup_cosine(1.0, 1.0) == pytest.approx(1.0)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_warmup_cosine_stays_between_zero_and_the_peak(progress, warmup, floor):
    assert 0 <= warmup_cosine(progress, warmup, floor) <= 1 + 1e-9


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.9))
def test_warmup_cosine_never_rises_after_the_warm_up(first, second, warmup):
    early, late = sorted(
        (warmup + (1 - warmup) * first, warmup + (1 - warmup) * second)
    )
    assert warmup_cosine(late, warmup) <= warmup_cosine(early, warmup) + 1e-9
