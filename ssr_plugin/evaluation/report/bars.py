"""A picture of a task's figures."""

import textwrap

from matplotlib import patheffects
from matplotlib.figure import Figure

from ssr_plugin.files import atomic_path
from ssr_plugin.metrics.colours import condition_colour
from ssr_plugin.metrics.pictures import FONT_SIZE

# Characters of a line: of the conditions' names, and of the title.
_LABEL, _TITLE = 20, 56


def draw_bars(path, figures, title=""):
    """Draws each column's figure and its 95 % interval, and the line of chance if any.

    Arguments
    ---------
    path : path-like
        The PNG file to write.
    figures : dict
        Of :func:`ssr_plugin.evaluation.harness.summary.summarise` or
        :func:`ssr_plugin.evaluation.harness.summary.summarise_measure`.
    title : str

    Example
    -------
    >>> columns = {"text": {"segments": None, "accuracy": 80.0, "interval": [70, 90]}}
    >>> path = getfixture("tmp_path") / "bars.png"
    >>> measure = {"name": "accuracy", "unit": "%"}
    >>> draw_bars(path, {"measure": measure, "chance": 50.0, "columns": columns})
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    with atomic_path(path) as partial:
        bars(figures, title).savefig(partial, format="png", dpi=150)


def bars(figures, title=""):
    """What :func:`draw_bars` writes, as a figure.

    Bars lie, so that names of any length can be read, and what a bar stands for is
    written beside it. The axis holds all values and intervals whole, and 0; that of a
    share of items holds 0 to 100 %, so that pictures can be compared.

    Arguments
    ---------
    figures, title
        Of :func:`draw_bars`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns, measure = figures["columns"], figures["measure"]
    names = [textwrap.fill(name, _LABEL) for name in columns]
    title = textwrap.fill(title, _TITLE)
    lines = sum(1 + name.count("\n") for name in names) + title.count("\n")
    figure = Figure(figsize=(5.4, 1.0 + 0.3 * max(lines, 2)), layout="constrained")
    axes = figure.add_subplot()
    ends = [0.0]
    if "chance" in figures:
        axes.axvline(figures["chance"], color="black", ls=":", lw=1, label="chance")
        axes.legend(
            fontsize=FONT_SIZE, frameon=False, loc="lower right", bbox_to_anchor=(1, 1)
        )
        ends += [100.0]
    for place, (column, found) in enumerate(columns.items()):
        value = found[measure["name"]]
        shown = "not measured"
        if value is not None:
            low, high = found["interval"] or (value, value)
            ends += [low, value, high]
            shown = f"{value:.1f}"
            axes.barh(
                place,
                value,
                height=0.7,
                color=condition_colour(column),
                edgecolor="black",
                lw=0.5,
            )
            if found["interval"]:
                shown += f"  ({low:.1f} to {high:.1f})"
                # A white rim, lest it be lost on a dark bar.
                rim = [patheffects.withStroke(linewidth=2.5, foreground="white")]
                style = {"color": "black", "lw": 1, "marker": "|", "ms": 7}
                axes.plot([low, high], [place, place], path_effects=rim, **style)
        axes.text(
            1.02,
            place,
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
    unit = f" ({measure['unit']})" if measure["unit"] else ""
    label = measure["name"].replace("_", " ") + unit
    axes.set_xlabel(label, fontsize=FONT_SIZE, parse_math=False)
    axes.tick_params(axis="x", labelsize=FONT_SIZE)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    style = {"fontsize": FONT_SIZE + 1, "parse_math": False}
    figure.suptitle(title, x=0.01, ha="left", **style)
    return figure
