"""Scales and titles of learning curves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.metrics.curves import FIGURES, Figure, choose_limits, describe_figure
from ssr_plugin.metrics.segmentation_metrics import SegmentationMetrics

LOSS = Figure("loss", "nats")
PERCENT = describe_figure("token_accuracy")


def test_an_ordinary_curve_is_shown_from_its_first_epoch():
    low, high = choose_limits([10.0, 5.0, 3.0, 2.5, 2.3, 2.2], LOSS)
    assert low < 2.2 and high > 10.0


@pytest.mark.parametrize("far", [150.0, -150.0])
def test_first_epochs_far_off_do_not_make_the_scale(far):
    low, high = choose_limits([far, far / 2, 3.0, 2.9, 2.5, 2.4, 2.2], LOSS)
    assert 1.5 < low < 2.2 and 3.0 < high < 4.0


def test_an_outlier_later_on_is_news_and_is_shown():
    assert choose_limits([3.0, 2.5, 2.2, 150.0, 2.1], LOSS)[1] > 150.0


def test_half_of_the_epochs_at_least_make_the_scale():
    low, high = choose_limits([1e6, 1e4, 1e2, 1.0], LOSS)
    assert low <= 1.0 and high >= 100.0


def test_a_flat_line_stays_flat():
    rng = np.random.default_rng(0)
    for middle, figure, least in ((97.0, PERCENT, 5.0), (41.0, LOSS, 4.0)):
        values = (middle + 0.01 * rng.standard_normal(10)).tolist()
        low, high = choose_limits(values, figure)
        assert high - low >= least and low < min(values) and max(values) < high


def test_a_panel_does_not_show_what_cannot_be():
    low, high = choose_limits([99.9, 100.0], PERCENT)
    assert 100.0 < high < 101.0 and high - low >= 5.0
    low, high = choose_limits([0.0, 0.1], PERCENT)
    assert -1.0 < low < 0.0 and high - low >= 5.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_the_last_epoch_is_always_inside(values):
    for figure in (LOSS, describe_figure("text_perplexity"), PERCENT):
        bounded = [min(max(x, figure.low or 0), figure.high or 1e6) for x in values]
        low, high = choose_limits(bounded, figure)
        assert low < high and low <= bounded[-1] <= high


def test_what_stages_note_has_a_title_in_words_and_a_unit():
    segments = SegmentationMetrics(None, 50.0).summary()
    for key in {*segments, "train_loss", "loss", "lr", "text_perplexity"}:
        assert key in FIGURES, key
        assert "_" not in FIGURES[key].title and FIGURES[key].unit
