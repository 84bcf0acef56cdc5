"""The report of an evaluation: figures, pictures, items won and lost."""

import importlib.metadata
import json
import pathlib
import platform

from ssr_plugin import __version__
from ssr_plugin.data.distorted_set import SNR
from ssr_plugin.evaluation.report.bars import draw_bars
from ssr_plugin.evaluation.report.document import (
    Code,
    ConditionName,
    Heading,
    Paragraph,
    Picture,
    Table,
    write_document,
)
from ssr_plugin.evaluation.report.noise_curves import draw_noise_curves
from ssr_plugin.files import atomic_path

_BRACKETS = (
    "Shares of right choices in %; in brackets the 95 % bootstrap interval over items, "
    "groups whole. What is spoken is given to the LLM in these conditions:"
)


def versions():
    """The versions that figures depend on.

    Example
    -------
    >>> sorted(versions())
    ['python', 'speechbrain', 'ssr_plugin', 'torch', 'transformers']
    """
    others = ("torch", "transformers", "speechbrain")
    libraries = {name: importlib.metadata.version(name) for name in others}
    return {"ssr_plugin": __version__, "python": platform.python_version(), **libraries}


def write_report(folder, metrics, examples=()):
    """Writes ``metrics.json``, ``report.md``, ``report.html`` and ``pictures/``.

    The page is whole by itself, with pictures and recordings; ``report.md`` links the
    pictures.

    Arguments
    ---------
    folder : path-like
    metrics : dict
        "model", "command", "versions"; "conditions": by name "title",
        "segmentation" and "lm_fusion", in the order in which they are shown; and under
        "benchmarks" by title what
        :meth:`~ssr_plugin.evaluation.harness.benchmark.Benchmark.metrics` gives, with
        "benchmark", "about", "notes" and "skipped" (reasons by item); in noise also
        "noise": "of", the title without noise, and what the noise is.
    examples : list
        Blocks of :mod:`ssr_plugin.evaluation.report.document`, that come last.
    """
    folder = pathlib.Path(folder)
    benchmarks = _noise_last(metrics["benchmarks"])
    blocks = [
        Heading("Speech understanding", 1),
        Paragraph(f"Model: {metrics['model']}"),
        Code(metrics["command"]),
        Paragraph(", ".join(f"{k} {v}" for k, v in metrics["versions"].items())),
        *figure_tables(benchmarks, metrics["conditions"]),
        Paragraph(_BRACKETS),
        Table(
            ["condition", "what is spoken is"],
            [
                [ConditionName(name), x["title"]]
                for name, x in metrics["conditions"].items()
            ],
        ),
    ]
    for title, summary in benchmarks.items():
        if "noise" in summary:
            continue
        picture = _picture_path(folder, title)
        draw_bars(picture, summary, words(title))
        blocks += [Heading(words(title)), Paragraph(summary["about"])]
        blocks.append(Paragraph(summary["metric"]["description"]))
        blocks += [Paragraph(f"Note: {note}.") for note in summary["notes"]]
        blocks += _left_out(summary)
        name = words(summary["metric"]["name"])
        blocks.append(Picture(picture, f"{name} of {words(title)} by condition"))
        blocks += _noise_blocks(folder, title, benchmarks)
    blocks += examples
    with atomic_path(folder / "metrics.json") as partial:
        text = json.dumps(metrics, indent=2, ensure_ascii=False)
        partial.write_text(text, encoding="utf-8")
    write_document(blocks, folder, "report", "Speech understanding")


def _noise_last(benchmarks):
    """Benchmarks by title, each followed by itself in noise."""
    titles = list(benchmarks)

    def order(title):
        clean = benchmarks[title].get("noise", {}).get("of", title)
        return titles.index(clean), titles.index(title)

    return {title: benchmarks[title] for title in sorted(titles, key=order)}


def _picture_path(folder, title):
    return folder / "pictures" / f"{title.replace(' ', '_')}.png"


def _left_out(summary, where=""):
    """How many items were left out, and why the first of them."""
    if not summary["skipped"]:
        return []
    reasons = list(summary["skipped"].items())
    shown = "; ".join(f"{name}: {why}" for name, why in reasons[:5])
    return [Paragraph(f"{len(reasons)} items left out{where} ({shown}).")]


def _noise_blocks(folder, title, benchmarks):
    """What noise and rooms do to a benchmark: what they are, and a picture."""
    noisy = [x for x in benchmarks.values() if x.get("noise", {}).get("of") == title]
    if not noisy:
        return []
    picture = _picture_path(folder, f"{title} in noise")
    name = words(title)
    draw_noise_curves(picture, benchmarks[title], noisy, f"{name} in noise")
    about = {x["noise"]["kind"]: x["noise"]["about"] for x in noisy}
    blocks = [Heading(f"{name} in noise", 3)]
    blocks += [Paragraph(f"{words(kind)}: {what}.") for kind, what in about.items()]
    blocks.append(Paragraph(SNR))
    for summary in noisy:
        blocks += _left_out(summary, f" in {summary['noise']['name']}")
    blocks.append(Picture(picture, f"{name} over the strength of noise, by condition"))
    return blocks


def figure_tables(benchmarks, conditions):
    """Tables of right choices, of what speech keeps of the text's gain, of the rest.

    Arguments
    ---------
    benchmarks, conditions : dict
        As in ``metrics.json``.

    Returns
    -------
    list of Table
        Those that have rows.
    """
    choices = {title: x for title, x in benchmarks.items() if "chance" in x}
    others = {title: x for title, x in benchmarks.items() if title not in choices}
    names = _names(choices, conditions)
    listening = [x for x in names if conditions[x]["segmentation"] is not None]
    rates = Table(["benchmark", "metric", "items", "chance", *names], [])
    kept = Table(["share of the text's gain over chance kept, %", *listening], [])
    for title, summary in choices.items():
        figures, metric = summary["conditions"], summary["metric"]["name"]
        cells = [show_figure(figures.get(x), metric, "interval", 1) for x in names]
        chance = f"{summary['chance']:.0f}"
        rates.rows.append([words(title), metric, summary["items"], chance, *cells])
        heard = [figures.get(x) for x in listening]
        cells = [show_figure(x, "kept", "kept_interval", 1) for x in heard]
        if listening:
            kept.rows.append([words(title), *cells])
    names = _names(others, conditions)
    measured = Table(["measured", "items", *names], [])
    for title, summary in others.items():
        metric, unit = summary["metric"]["name"], summary["metric"]["unit"]
        figures = [summary["conditions"].get(x) for x in names]
        cells = [show_figure(x, metric, "interval") for x in figures]
        what = words(title) + f", {unit}" * bool(unit)
        measured.rows.append([what, summary["items"], *cells])
    return [table for table in (rates, kept, measured) if table.rows]


def words(title):
    """A title, that is a key of ``metrics.json``, to be read by people.

    Example
    -------
    >>> words("gain_kept")
    'gain kept'
    """
    return title.replace("_", " ")


def _names(benchmarks, conditions):
    """The conditions of any of some benchmarks, in order."""
    there = {name for summary in benchmarks.values() for name in summary["conditions"]}
    return [ConditionName(name) for name in conditions if name in there]


def show_figure(figures, value, ends, digits=None):
    """A figure and its interval, for a table.

    Arguments
    ---------
    figures : dict or None
        Of a condition.
    value, ends : str
        Under which keys they are.
    digits : int or None
        After the point; by default about three in all.

    Returns
    -------
    str
        "-" where there is none.

    Example
    -------
    >>> show_figure({"wer": 5.43, "interval": [4.1, 6.72]}, "wer", "interval")
    '5.43 (4.1 to 6.7)'
    """
    if figures is None or figures.get(value) is None:
        return "-"
    if digits is None:
        # Three digits or so, as many as such figures are worth.
        digits = 1 if figures[value] >= 10 else 2
    low, high = figures[ends] or (None, None)
    between = "" if low is None else f" ({low:.{digits - 1}f} to {high:.{digits - 1}f})"
    return f"{figures[value]:.{digits}f}{between}"
