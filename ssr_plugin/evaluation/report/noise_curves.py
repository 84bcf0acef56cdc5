"""A picture of what noise and reverberation do to a benchmark's figures."""

import math
import textwrap

from matplotlib.figure import Figure

from ssr_plugin.files import atomic_path
from ssr_plugin.metrics.colours import condition_colour
from ssr_plugin.metrics.pictures import FONT_SIZE

# Inches of a panel, and characters of the title in each of them.
_WIDTH, _HEIGHT, _TITLE = 3.0, 3.0, 46
# Inches of the legend: of a line, of a character, and of a row.
_SAMPLE, _CHARACTER, _ROW = 0.6, 0.065, 0.2
# Figures that are shares of what the text gains over nothing.
_SHARES = ("kept", "gain_kept")
_AXES = {"dB": "signal-to-noise ratio (dB)", "s": "reverberation time (s)"}


def draw_noise_curves(path, clean, noisy, title=""):
    """Draws each condition's figure over the strength of each kind of distortion.

    Where figures have "kept", the share of the text's gain over chance, it is that;
    else the benchmark's metric. A panel for each kind, all on one scale, clean audio on
    the left; a line for each condition, with its 95 % interval as a band. What noise
    does not change, such as text, is a dashed line.

    Arguments
    ---------
    path : path-like
        The PNG file to write.
    clean : dict
        Of ``metrics.json``: a benchmark's summary without noise.
    noisy : list of dict
        The same in noise, with "noise": "kind", "strength" and "unit".
    title : str

    Example
    -------
    >>> def summary(kept, **noise):
    ...     figures = {"kept": kept, "kept_interval": [kept - 9, kept + 9]}
    ...     return {"conditions": {"forced": figures}, "noise": noise}
    >>> noisy = [
    ...     summary(kept, kind="babble", strength=snr, unit="dB")
    ...     for kept, snr in [(80.0, 10), (40.0, 0)]
    ... ]
    >>> path = getfixture("tmp_path") / "curves.png"
    >>> draw_noise_curves(path, summary(90.0), noisy)
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    with atomic_path(path) as partial:
        noise_curves(clean, noisy, title).savefig(partial, format="png", dpi=150)


def noise_curves(clean, noisy, title=""):
    """What :func:`draw_noise_curves` writes, as a figure.

    Arguments
    ---------
    clean, noisy, title
        Of :func:`draw_noise_curves`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    kinds = {}
    for summary in noisy:
        kinds.setdefault(summary["noise"]["kind"], []).append(summary)
    listening = [name for name, x in clean["conditions"].items() if "kept" in x]
    keys = ("kept", "kept_interval")
    label = "share of the text's gain kept (%)"
    if not listening:
        listening = [x for x, figures in clean["conditions"].items() if _heard(figures)]
        metric = clean["metric"]
        keys = (metric["name"], "interval")
        unit = f" ({metric['unit']})" if metric["unit"] else ""
        label = metric["name"].replace("_", " ") + unit
    title = textwrap.fill(title, _TITLE * len(kinds))
    width = _WIDTH * len(kinds) + 0.6
    figure = Figure(figsize=(width, _HEIGHT), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, (kind, summaries) in zip(panels, kinds.items(), strict=True):
        places = _place(axes, summaries)
        for name in listening:
            points = [x["conditions"].get(name, {}) for x in (clean, *summaries)]
            _draw_line(axes, places, points, keys, name)
        for name, value in _references(clean, listening, keys[0]).items():
            style = {"color": condition_colour(name), "ls": "--", "lw": 1.2}
            axes.axhline(value, label=name, zorder=1, **style)
        axes.set_title(
            kind.replace("_", " "), fontsize=FONT_SIZE, loc="left", parse_math=False
        )
        axes.tick_params(labelsize=FONT_SIZE)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", lw=0.6)
        axes.set_axisbelow(True)
    panels[0].set_ylabel(label, fontsize=FONT_SIZE, parse_math=False)
    handles, names = panels[0].get_legend_handles_labels()
    longest = max(map(len, names), default=0)
    columns = max(int(width / (_SAMPLE + _CHARACTER * longest)), 1)
    figure.set_figheight(_HEIGHT + _ROW * math.ceil(len(names) / columns))
    style = {"fontsize": FONT_SIZE, "frameon": False, "ncols": columns}
    figure.legend(handles, names, loc="outside lower center", **style)
    style = {"fontsize": FONT_SIZE + 1, "parse_math": False}
    figure.suptitle(title, x=0.01, ha="left", **style)
    return figure


def _heard(figures):
    return figures["segmentation"] is not None


def _references(clean, listening, key):
    """What noise does not change, by condition: a value for the whole line."""
    if key in _SHARES:
        # By what it is: all of the gain, and none of it.
        return {"text": 100.0, "none": 0.0}
    return {
        name: figures[key]
        for name, figures in clean["conditions"].items()
        if name not in listening and figures.get(key) is not None
    }


def _place(axes, summaries):
    """Where clean audio and each summary stand, from left to right; labels them."""
    strengths = [x["noise"]["strength"] for x in summaries]
    unit = summaries[0]["noise"]["unit"]
    axes.set_xlabel(_AXES[unit], fontsize=FONT_SIZE)
    places = strengths if unit == "s" else [-x for x in strengths]
    # Clean audio is no reverberation; as a ratio it would be far away on the left.
    room = (max(places) - min(places)) / 3 or 1.0
    left = 0.0 if unit == "s" else min(places) - room
    shown = [f"{x:g}" for x in strengths]
    axes.set_xticks([left, *places], ["clean", *shown], fontsize=FONT_SIZE)
    return [left, *places]


def _draw_line(axes, places, points, keys, name):
    """A condition's line: dotted from clean audio, which has no place on the scale."""
    value, ends = keys
    colour = condition_colour(name)
    values = [x.get(value) for x in points]
    values = [math.nan if x is None else x for x in values]
    style = {"color": colour, "marker": "o", "ms": 3.5, "lw": 1.6}
    axes.plot(places[:2], values[:2], **{**style, "ls": ":"})
    axes.plot(places[1:], values[1:], label=name, **style)
    bands = [x.get(ends) or (math.nan, math.nan) for x in points]
    low, high = zip(*bands, strict=True)
    axes.fill_between(places, low, high, color=colour, alpha=0.15, lw=0)
