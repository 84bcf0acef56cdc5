"""A picture of a benchmark's figures."""

import textwrap

from matplotlib import patheffects
from matplotlib.figure import Figure

from ssr_plugin.files import atomic_path
from ssr_plugin.metrics.colours import condition_colour
from ssr_plugin.metrics.pictures import FONT_SIZE

# Characters of a line: of the conditions' names, and of the title.
_LABEL, _TITLE = 20, 56


def draw_bars(path, summary, title=""):
    """Draws each condition's figure, its 95 % interval and, if any, the line of chance.

    Arguments
    ---------
    path : path-like
        The PNG file to write.
    summary : dict
        Of :func:`ssr_plugin.evaluation.harness.summary.summarise_choices` or
        :func:`ssr_plugin.evaluation.harness.summary.summarise_metric`.
    title : str

    Example
    -------
    >>> conditions = {"text": {"acc": 80.0, "interval": [70, 90]}}
    >>> path = getfixture("tmp_path") / "bars.png"
    >>> metric = {"name": "acc", "unit": "%"}
    >>> draw_bars(path, {"metric": metric, "chance": 50.0, "conditions": conditions})
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    with atomic_path(path) as partial:
        bars(summary, title).savefig(partial, format="png", dpi=150)


def bars(summary, title=""):
    """What :func:`draw_bars` writes, as a figure.

    Bars lie, so that names of any length can be read, and what a bar stands for is
    written beside it. The axis holds all values and intervals whole, and 0; that of a
    share of items holds 0 to 100 %, so that pictures can be compared.

    Arguments
    ---------
    summary, title
        Of :func:`draw_bars`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    conditions, metric = summary["conditions"], summary["metric"]
    names = [textwrap.fill(name, _LABEL) for name in conditions]
    title = textwrap.fill(title, _TITLE)
    lines = sum(1 + name.count("\n") for name in names) + title.count("\n")
    figure = Figure(figsize=(5.4, 1.0 + 0.3 * max(lines, 2)), layout="constrained")
    axes = figure.add_subplot()
    ends = [0.0]
    if "chance" in summary:
        axes.axvline(summary["chance"], color="black", ls=":", lw=1, label="chance")
        axes.legend(
            fontsize=FONT_SIZE, frameon=False, loc="lower right", bbox_to_anchor=(1, 1)
        )
        ends += [100.0]
    for index, (name, figures) in enumerate(conditions.items()):
        value = figures[metric["name"]]
        shown = "not measured"
        if value is not None:
            low, high = figures["interval"] or (value, value)
            ends += [low, value, high]
            shown = f"{value:.1f}"
            axes.barh(
                index,
                value,
                height=0.7,
                color=condition_colour(name),
                edgecolor="black",
                lw=0.5,
            )
            if figures["interval"]:
                shown += f"  ({low:.1f} to {high:.1f})"
                # A white rim, lest it be lost on a dark bar.
                rim = [patheffects.withStroke(linewidth=2.5, foreground="white")]
                style = {"color": "black", "lw": 1, "marker": "|", "ms": 7}
                axes.plot([low, high], [index, index], path_effects=rim, **style)
        axes.text(
            1.02,
            index,
            shown,
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=FONT_SIZE,
        )
    low, high = min(ends), max(ends)
    room = 0.02 * (high - low or 1.0)
    axes.set_xlim(low - room * (low < 0), high + room)
    if low < 0:
        axes.axvline(0, color="black", lw=0.8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names, fontsize=FONT_SIZE, parse_math=False)
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    label = metric["name"].replace("_", " ") + unit
    axes.set_xlabel(label, fontsize=FONT_SIZE, parse_math=False)
    axes.tick_params(axis="x", labelsize=FONT_SIZE)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    style = {"fontsize": FONT_SIZE + 1, "parse_math": False}
    figure.suptitle(title, x=0.01, ha="left", **style)
    return figure
