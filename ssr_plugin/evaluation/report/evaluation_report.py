"""The report of an evaluation: figures, pictures, items won and lost."""

import importlib.metadata
import json
import pathlib
import platform

from ssr_plugin import __version__
from ssr_plugin.evaluation.harness.conditions import COLUMNS, SEGMENTS
from ssr_plugin.evaluation.report.bars import draw_bars
from ssr_plugin.evaluation.report.document import (
    Code,
    Condition,
    Heading,
    Paragraph,
    Picture,
    Table,
    write_document,
)
from ssr_plugin.files import atomic_path

_BRACKETS = (
    "Accuracy in %; in brackets the 95 % bootstrap interval over items, groups whole."
)
#: What a reader must know of the columns.
_LEGEND = {
    "none": "left out",
    "written": "as the set writes it",
    "text": "its transcript, the best to hope for",
    "cascade": "the segmenter's own hypothesis, as text",
    "predicted": "vectors, segments found in the audio alone",
    "forced": "vectors, segments cut with the help of the reference transcript",
    "untouched": "the transcript, read by the LLM before it was tuned",
}


def versions():
    """The versions that figures depend on.

    Example
    -------
    >>> sorted(versions())
    ['python', 'speechbrain', 'ssr_plugin', 'torch', 'transformers']
    """
    others = ("torch", "transformers", "speechbrain")
    found = {name: importlib.metadata.version(name) for name in others}
    return {"ssr_plugin": __version__, "python": platform.python_version(), **found}


def write_report(folder, metrics, examples=()):
    """Writes ``metrics.json``, ``report.md``, ``report.html`` and ``pictures/``.

    The page is whole by itself, with pictures and recordings; ``report.md`` links the
    pictures.

    Arguments
    ---------
    folder : path-like
    metrics : dict
        "model", "command", "versions", and under "tasks" by title what
        :meth:`~ssr_plugin.evaluation.harness.benchmark.Task.figures` gives with "task",
        "about", "notes" and "skipped" (reasons by item).
    examples : list
        Blocks of :mod:`ssr_plugin.evaluation.report.document`, that come last.
    """
    folder = pathlib.Path(folder)
    blocks = [
        Heading("Speech understanding", 1),
        Paragraph(f"Model: {metrics['model']}"),
        Code(metrics["command"]),
        Paragraph(", ".join(f"{k} {v}" for k, v in metrics["versions"].items())),
        *figure_tables(metrics["tasks"]),
        Paragraph(_BRACKETS),
        Table(
            ["column", "the spoken part is"],
            [[Condition(c), _LEGEND[c]] for c in _columns(metrics["tasks"])],
        ),
    ]
    for title, figures in metrics["tasks"].items():
        picture = folder / "pictures" / f"{title.replace(' ', '_')}.png"
        draw_bars(picture, figures, _words(title))
        blocks += [Heading(_words(title)), Paragraph(figures["about"])]
        blocks.append(Paragraph(figures["how"]))
        blocks += [Paragraph(f"Note: {note}.") for note in figures["notes"]]
        if figures["skipped"]:
            reasons = list(figures["skipped"].items())
            shown = "; ".join(f"{name}: {why}" for name, why in reasons[:5])
            blocks.append(Paragraph(f"{len(reasons)} items left out ({shown})."))
        blocks.append(Picture(picture, f"{_words(title)} by column"))
    blocks += examples
    with atomic_path(folder / "metrics.json") as partial:
        text = json.dumps(metrics, indent=2, ensure_ascii=False)
        partial.write_text(text, encoding="utf-8")
    write_document(blocks, folder, "report", "Speech understanding")


def figure_tables(tasks):
    """Tables of accuracies, of what speech keeps of the text's gain, and of the rest.

    Arguments
    ---------
    tasks : dict
        As in ``metrics.json``.

    Returns
    -------
    list of Table
        Those that have rows.
    """
    choices = {t: f for t, f in tasks.items() if f["measure"]["name"] == "accuracy"}
    others = {t: f for t, f in tasks.items() if t not in choices}
    columns, heard = _columns(choices), [c for c in _columns(choices) if c in SEGMENTS]
    accuracies = Table(["task", "items", "chance", *columns], [])
    kept = Table(["share of the text's gain over chance kept, %", *heard], [])
    for title, figures in choices.items():
        found = figures["columns"]
        cells = [_show(found.get(c), "accuracy", "interval") for c in columns]
        chance = f"{figures['chance']:.0f}"
        accuracies.rows.append([_words(title), figures["items"], chance, *cells])
        cells = [_show(found.get(c), "kept", "kept_interval") for c in heard]
        if heard:
            kept.rows.append([_words(title), *cells])
    measured = Table(["measured", "items", *_columns(others)], [])
    for title, figures in others.items():
        name, unit = figures["measure"]["name"], figures["measure"]["unit"]
        cells = [
            _show(figures["columns"].get(c), name, "interval") for c in _columns(others)
        ]
        what = _words(title) + f", {unit}" * bool(unit)
        measured.rows.append([what, figures["items"], *cells])
    return [table for table in (accuracies, kept, measured) if table.rows]


def _words(title):
    """A title, that is a key of ``metrics.json``, to be read by people."""
    return title.replace("_", " ")


def _columns(tasks):
    """The columns of any of them, in order."""
    there = {column for figures in tasks.values() for column in figures["columns"]}
    return [Condition(column) for column in COLUMNS if column in there]


def _show(found, value, ends):
    if found is None or found.get(value) is None:
        return "-"
    # Three digits or so, as many as such figures are worth.
    digits = 1 if found[value] >= 10 or value in ("accuracy", "kept") else 2
    low, high = found[ends] or (None, None)
    between = "" if low is None else f" ({low:.{digits - 1}f} to {high:.{digits - 1}f})"
    return f"{found[value]:.{digits}f}{between}"
