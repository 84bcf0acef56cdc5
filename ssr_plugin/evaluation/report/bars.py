"""A picture of a task's figures."""

from matplotlib.figure import Figure

from ssr_plugin.files import atomic_path
from ssr_plugin.metrics.pictures import FONT_SIZE

_COLOURS = {"forced": "#1f5fa8", "predicted": "#e07b00", None: "0.6"}


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
    columns, measure = figures["columns"], figures["measure"]
    figure = Figure(figsize=(1.2 + 0.85 * len(columns), 2.8), layout="constrained")
    axes = figure.add_subplot()
    for place, found in enumerate(columns.values()):
        value = found[measure["name"]]
        if value is None:
            continue
        low, high = found["interval"] or (value, value)
        axes.bar(place, value, width=0.7, color=_COLOURS[found["segments"]])
        axes.plot([place, place], [low, high], color="black", lw=1)
        axes.annotate(
            f"{value:.1f}",
            (place, high),
            (0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=FONT_SIZE,
        )
    axes.margins(y=0.12)
    if "chance" in figures:
        axes.axhline(figures["chance"], color="black", ls=":", lw=0.8)
        axes.set_ylim(0, 110)
        axes.set_yticks(range(0, 101, 20))
    axes.set_xticks(range(len(columns)), columns, fontsize=FONT_SIZE)
    unit = f" ({measure['unit']})" if measure["unit"] else ""
    label = measure["name"].replace("_", " ") + unit
    axes.set_ylabel(label, fontsize=FONT_SIZE)
    axes.tick_params(labelsize=FONT_SIZE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=FONT_SIZE + 1, loc="left", parse_math=False)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
