"""A picture of a task's accuracies."""

from matplotlib.figure import Figure

from ssr_plugin.evaluation.pictures import FONT_SIZE
from ssr_plugin.files import atomic_path

_COLOURS = {"forced": "#1f5fa8", "predicted": "#e07b00", None: "0.6"}


def draw_bars(path, figures, title=""):
    """Draws each column's accuracy, its 95 % interval and the line of chance.

    Arguments
    ---------
    path : path-like
        The PNG file to write.
    figures : dict
        Of :func:`ssr_plugin.tasks.summary.summarise`.
    title : str

    Example
    -------
    >>> columns = {"text": {"segments": None, "accuracy": 80.0, "interval": [70, 90]}}
    >>> path = getfixture("tmp_path") / "bars.png"
    >>> draw_bars(path, {"chance": 50.0, "columns": columns})
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    columns = figures["columns"]
    figure = Figure(figsize=(1.2 + 0.85 * len(columns), 2.8), layout="constrained")
    axes = figure.add_subplot()
    for place, found in enumerate(columns.values()):
        accuracy = found["accuracy"]
        low, high = found["interval"] or (accuracy, accuracy)
        axes.bar(place, accuracy, width=0.7, color=_COLOURS[found["segments"]])
        axes.plot([place, place], [low, high], color="black", lw=1)
        axes.text(place, high + 1, f"{accuracy:.1f}", ha="center", fontsize=FONT_SIZE)
    axes.axhline(figures["chance"], color="black", ls=":", lw=0.8)
    axes.set_xticks(range(len(columns)), columns, fontsize=FONT_SIZE)
    axes.set_ylim(0, 110)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("accuracy (%)", fontsize=FONT_SIZE)
    axes.tick_params(labelsize=FONT_SIZE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=FONT_SIZE + 1, loc="left", parse_math=False)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
