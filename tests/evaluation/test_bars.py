"""Bars and what is written beside them are whole, whatever the figures are."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from ssr_plugin.evaluation.report.bars import bars
from ssr_plugin.metrics.colours import condition_colour

pytestmark = pytest.mark.filterwarnings("error")


def draw(conditions, name="wer", unit="%", title="benchmark", chance=None):
    """The axes of a picture, after it was laid out."""
    conditions = {
        condition: {name: value, "interval": interval}
        for condition, (value, interval) in conditions.items()
    }
    summary = {"metric": {"name": name, "unit": unit}, "conditions": conditions}
    if chance is not None:
        summary["chance"] = chance
    figure = bars(summary, title)
    FigureCanvasAgg(figure).draw()
    return figure.axes[0]


def inside(axes):
    """Whether all that is written lies inside the picture."""
    page = axes.figure.bbox
    assert axes.figure.texts, "its title"
    ticks = [label for label in axes.get_yticklabels() if label.get_text()]
    for text in [*axes.texts, *ticks, *axes.figure.texts, axes.xaxis.label]:
        box = text.get_window_extent()
        if box.x0 < page.x0 or box.x1 > page.x1 or box.y0 < page.y0 or box.y1 > page.y1:
            return False
    return True


@pytest.mark.parametrize(
    ("value", "interval"),
    [(240.5, [150.0, 410.0]), (-30.0, [-80.0, 10.0]), (12.0, [2.0, 3000.0])],
)
def test_values_above_100_below_0_and_wide_intervals_are_whole(value, interval):
    axes = draw({"text": (10.0, [5.0, 15.0]), "predicted": (value, interval)})
    low, high = axes.get_xlim()
    assert low <= min(0.0, *interval) and high >= max(*interval, value)
    (_, bar) = axes.patches
    assert bar.get_width() == pytest.approx(value)
    assert inside(axes)


def test_all_shares_of_items_are_on_one_scale():
    axes = draw({"text": (40.0, [35.0, 45.0])}, name="acc", chance=25.0)
    low, high = axes.get_xlim()
    assert low == 0.0 and 100.0 <= high < 105.0


@pytest.mark.parametrize(
    "name", ["a condition of a very long name of another package", "x" * 60, "$a_{"]
)
def test_long_names_and_titles_are_inside_the_picture(name):
    axes = draw({name: (50.0, None), "forced": (60.0, [50.0, 70.0])}, title=name * 3)
    assert inside(axes)


def test_what_was_not_measured_keeps_its_place():
    axes = draw({"text": (None, None), "forced": (10.0, None)})
    assert [text.get_text() for text in axes.texts] == ["not measured", "10.0"]
    (bar,) = axes.patches
    assert bar.get_y() + bar.get_height() / 2 == pytest.approx(1.0)


def test_nothing_measured_is_a_picture_too():
    assert np.isfinite(draw({"text": (None, None)}).get_xlim()).all()


def test_bars_have_the_colours_of_their_conditions():
    names = ("none", "text", "cascade", "predicted", "forced")
    axes = draw({name: (10.0, None) for name in names})
    found = [to_hex(bar.get_facecolor()) for bar in axes.patches]
    assert found == [condition_colour(name) for name in names]
