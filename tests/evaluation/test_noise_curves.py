"""Curves over the strength of noise: every point, band and reference is there."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from ssr_plugin.evaluation.report.noise_curves import noise_curves
from ssr_plugin.metrics.colours import condition_colour

pytestmark = pytest.mark.filterwarnings("error")
NAMES = ("none", "text", "cascade", "predicted", "forced")


def choices(kept):
    """A summary of choices in which the listening conditions keep so much."""
    conditions = {name: {"segmentation": None, "acc": 50.0} for name in NAMES[:2]}
    for name in NAMES[2:]:
        interval = None if kept is None else [kept - 10, kept + 5]
        conditions[name] = {"segmentation": "predicted", "acc": 60.0, "kept": kept}
        conditions[name] |= {"kept_interval": interval}
    return {"metric": {"name": "acc", "unit": "%"}, "conditions": conditions}


def measured(value):
    conditions = {
        "text": {"segmentation": None, "wer": 3.0, "interval": [2, 4]},
        "forced": {"segmentation": "forced", "wer": value, "interval": [0, 2 * value]},
    }
    return {"metric": {"name": "wer", "unit": "%"}, "conditions": conditions}


def in_noise(summary, kind, strength, unit="dB"):
    return summary | {"noise": {"kind": kind, "strength": strength, "unit": unit}}


def draw(clean, noisy, title="a benchmark in noise"):
    figure = noise_curves(clean, noisy, title)
    FigureCanvasAgg(figure).draw()
    return figure


def line_of(axes, name):
    """Places and values of the solid line of a condition, from left to right."""
    (line,) = [x for x in axes.lines if x.get_label() == name]
    assert to_hex(line.get_color()) == condition_colour(name)
    return line.get_xdata(), line.get_ydata()


def ticks(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def test_a_panel_for_each_kind_and_a_line_for_each_condition():
    noisy = [
        in_noise(choices(kept), kind, snr)
        for kind in ("babble", "speech_shaped")
        for snr, kept in ((20, 80.0), (5, 50.0), (0, 20.0))
    ]
    figure = draw(choices(90.0), noisy)
    assert [x.get_title("left") for x in figure.axes] == ["babble", "speech shaped"]
    for axes in figure.axes:
        assert ticks(axes) == ["clean", "20", "5", "0"]
        for name in ("cascade", "predicted", "forced"):
            places, values = line_of(axes, name)
            assert list(values) == [80.0, 50.0, 20.0]
            assert list(np.diff(places)) == [15, 5]
        low, high = axes.get_ylim()
        assert low <= 0 and high >= 100
    (legend,) = figure.legends
    assert {x.get_text() for x in legend.get_texts()} == set(NAMES)


def test_clean_audio_is_on_the_left_and_joined_by_dots():
    (axes,) = draw(choices(90.0), [in_noise(choices(60.0), "white", 5)]).axes
    dotted = [x for x in axes.lines if x.get_linestyle() == ":"]
    assert len(dotted) == 3
    for line in dotted:
        assert list(line.get_ydata()) == [90.0, 60.0]
        assert line.get_xdata()[0] < line.get_xdata()[1]


def test_bands_are_the_intervals_and_lie_in_the_picture():
    noisy = [in_noise(choices(-200.0), "white", 5)]
    (axes,) = draw(choices(90.0), noisy).axes
    for band in axes.collections:
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == -210 and heights.max() == 95
    low, high = axes.get_ylim()
    assert low <= -210 and high >= 100


def test_rooms_stand_by_their_time_and_clean_audio_at_none():
    noisy = [in_noise(choices(50.0), "reverberation", x, "s") for x in (0.3, 0.9)]
    (axes,) = draw(choices(90.0), noisy).axes
    assert ticks(axes) == ["clean", "0.3", "0.9"]
    assert list(axes.get_xticks()) == [0.0, 0.3, 0.9]
    assert "reverberation time (s)" in axes.get_xlabel()


def test_where_nothing_is_kept_the_metric_is_drawn_and_text_is_a_level_line():
    noisy = [in_noise(measured(x), "babble", snr) for x, snr in ((20.0, 10), (70.0, 0))]
    (axes,) = draw(measured(8.0), noisy).axes
    assert list(line_of(axes, "forced")[1]) == [20.0, 70.0]
    assert set(line_of(axes, "text")[1]) == {3.0}
    assert axes.get_ylabel() == "wer (%)"


def test_what_is_missing_is_a_gap():
    noisy = [
        in_noise(choices(None), "babble", 10),
        in_noise(choices(30.0) | {"conditions": {}}, "babble", 5),
        in_noise(choices(30.0), "babble", 0),
    ]
    (axes,) = draw(choices(90.0), noisy).axes
    values = line_of(axes, "forced")[1]
    assert np.isnan(values[:2]).all() and values[2] == 30.0


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("name", ["forced", "predicted_lm_fusion", "x" * 40])
def test_the_legend_is_inside_the_picture(name, count):
    clean, noise = (choices(x) for x in (90.0, 50.0))
    for summary in (clean, noise):
        summary["conditions"][name] = summary["conditions"]["forced"]
    kinds = ["babble", "speech_shaped", "white", "reverberation"][:count]
    figure = draw(clean, [in_noise(noise, kind, 5) for kind in kinds])
    page, (legend,) = figure.bbox, figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0
    for axes in figure.axes:
        assert axes.get_window_extent().height > 0.5 * page.height
        assert axes.xaxis.label.get_window_extent().y0 >= box.y1


def test_long_titles_are_inside_the_picture():
    noisy = [in_noise(choices(30.0), "babble", 5)]
    figure = draw(choices(90.0), noisy, "a title of another package " * 6)
    page = figure.bbox
    (title,) = figure.texts
    box = title.get_window_extent()
    assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y1 <= page.y1
