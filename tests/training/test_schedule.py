"""The learning rate over the training."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.training.schedule import warmup_cosine


def test_it_rises_in_a_line_then_falls_as_half_a_cosine():
    shares = [warmup_cosine(done, 0.2, floor=0.0) for done in (0, 0.1, 0.2, 0.6, 1.0)]
    assert shares == pytest.approx([0, 0.5, 1, 0.5, 0], abs=1e-9)


def test_without_warm_up_it_starts_at_the_peak():
    assert warmup_cosine(0.0, 0.0) == 1.0


def test_it_ends_at_the_floor():
    assert warmup_cosine(1.0, 0.1, floor=0.3) == pytest.approx(0.3)


def test_warm_up_may_last_the_whole_training():
    assert warmup_cosine(0.5, 1.0) == 0.5
    assert warmup_cosine(1.0, 1.0) == pytest.approx(1.0)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_it_stays_between_nothing_and_the_peak(done, warmup, floor):
    assert 0 <= warmup_cosine(done, warmup, floor) <= 1 + 1e-9


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.9))
def test_after_the_warm_up_it_never_rises(first, second, warmup):
    early, late = sorted(
        (warmup + (1 - warmup) * first, warmup + (1 - warmup) * second)
    )
    assert warmup_cosine(late, warmup) <= warmup_cosine(early, warmup) + 1e-9
