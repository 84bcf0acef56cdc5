"""The report of an evaluation: figures, pictures, items won and lost."""

import importlib.metadata
import json
import pathlib
import platform

from ssr_plugin import __version__
from ssr_plugin.files import atomic_path
from ssr_plugin.tasks.bars import draw_bars
from ssr_plugin.tasks.choosing import RULES, choice_scores
from ssr_plugin.tasks.columns import COLUMNS, SEGMENTS
from ssr_plugin.tasks.document import (
    Code,
    Heading,
    Paragraph,
    Picture,
    Table,
    to_html,
    to_markdown,
)
from ssr_plugin.tasks.items import spell
from ssr_plugin.tasks.summary import TOPLINE, right

#: What a reader must know of the columns.
_LEGEND = (
    "Accuracy in % (95 % bootstrap interval over items, groups whole). none: the "
    "spoken part left out. written: as the set writes it. text: its transcript, the "
    "best to hope for. cascade: the segmenter's own hypothesis as text. predicted: "
    "vectors, segments found in the audio alone. forced: vectors, segments cut with "
    "the help of the reference transcript. untouched: the transcript, read by the LLM "
    "before it was tuned."
)
_TIES = "of n that tie each counts 1/n"
# Characters of a context shown of each item; the end tells most.
_SHOWN = 300


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


def write_report(folder, metrics, results, num_shown=5):
    """Writes ``metrics.json``, ``report.md``, ``report.html`` and ``pictures/``.

    Arguments
    ---------
    folder : path-like
    metrics : dict
        "model", "command", "versions", and under "tasks" by title what
        :func:`ssr_plugin.tasks.summary.summarise` gives with "task", "about", "rule",
        "notes" and "skipped" (reasons by item).
    results : dict
        By task: (items, records, rule).
    num_shown : int
        How many items won, and lost, are shown of each task.
    """
    folder = pathlib.Path(folder)
    blocks = [
        Heading("Speech understanding", 1),
        Paragraph(f"Model: {metrics['model']}"),
        Code(metrics["command"]),
        Paragraph(", ".join(f"{k} {v}" for k, v in metrics["versions"].items())),
        *accuracy_tables(metrics["tasks"]),
        Paragraph(_LEGEND),
    ]
    for title, figures in metrics["tasks"].items():
        picture = folder / "pictures" / f"{title.replace(' ', '_')}.png"
        draw_bars(picture, figures, title)
        blocks += [Heading(title), Paragraph(figures["about"])]
        rule = f"{figures['rule']}: {RULES[figures['rule']]}"
        blocks.append(Paragraph(f"A choice has the highest {rule}; {_TIES}."))
        blocks += [Paragraph(f"Note: {note}.") for note in figures["notes"]]
        if figures["skipped"]:
            reasons = list(figures["skipped"].items())
            shown = "; ".join(f"{name}: {why}" for name, why in reasons[:5])
            blocks.append(Paragraph(f"{len(reasons)} items left out ({shown})."))
        blocks.append(Picture(picture, f"accuracy of {title} by column"))
    for name, (items, records, rule) in results.items():
        blocks += _examples(name, items, records, rule, num_shown)
    for name, text in (
        ("metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False)),
        ("report.md", to_markdown(blocks, folder)),
        ("report.html", to_html(blocks, "Speech understanding")),
    ):
        with atomic_path(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def accuracy_tables(tasks):
    """Two tables: accuracies, and what speech keeps of the text's gain.

    Arguments
    ---------
    tasks : dict
        As in ``metrics.json``.

    Returns
    -------
    list of Table
        The second only where some task has speech.
    """
    there = {column for figures in tasks.values() for column in figures["columns"]}
    columns = [column for column in COLUMNS if column in there]
    accuracies = Table(["task", "items", "chance", *columns], [])
    kept = Table(["share of the text's gain over chance kept, %"], [])
    heard = [column for column in columns if column in SEGMENTS]
    kept.head.extend(heard)
    for title, figures in tasks.items():
        found = figures["columns"]
        accuracies.rows.append(
            [
                title,
                figures["items"],
                f"{figures['chance']:.0f}",
                *(_show(found.get(c), "accuracy", "interval") for c in columns),
            ]
        )
        kept.rows.append(
            [title, *(_show(found.get(c), "kept", "kept_interval") for c in heard)]
        )
    return [accuracies, kept] if heard else [accuracies]


def _show(found, value, ends):
    if found is None or found[value] is None:
        return "-"
    between = found[ends] and f" ({found[ends][0]:.0f} to {found[ends][1]:.0f})"
    return f"{found[value]:.1f}{between or ''}"


def _examples(name, items, records, rule, num_shown):
    """Items that speech lost where the text won, and the other way round."""
    by_id = {item.id: item for item in items}
    blocks = []
    for column in ("predicted", "forced"):
        rivals = ("cascade", TOPLINE) if column == "predicted" else (TOPLINE,)
        for rival in rivals:
            for heading, winner, loser in (
                (f"{column} right, {rival} wrong", column, rival),
                (f"{rival} right, {column} wrong", rival, column),
            ):
                found = [
                    record
                    for record in records
                    if {column, rival} <= set(record["sums"])
                    and right(record, winner, rule) == 1
                    and right(record, loser, rule) == 0
                ]
                if not found or not num_shown:
                    continue
                blocks.append(
                    Heading(f"{name}: {heading} ({len(found)} of {len(records)})", 3)
                )
                step = max(len(found) // num_shown, 1)
                for record in found[::step][:num_shown]:
                    item = by_id[record["id"]]
                    blocks += _example(item, record, (column, rival), rule)
    return blocks


def _example(item, record, columns, rule):
    context = "".join(_mark(part) for part in item.context)
    if len(context) > _SHOWN:
        context = "..." + context[-_SHOWN:]
    scores = {column: choice_scores(record, column, rule) for column in columns}
    rows = [
        [
            spell(choice) + (" (right)" if place == item.answer else ""),
            *(f"{scores[column][place]:.2f}" for column in columns),
        ]
        for place, choice in enumerate(item.choices)
    ]
    read = [
        f"{column}: {' / '.join(texts)}"
        for column, texts in record["read"].items()
        if column in columns
    ]
    return [
        Code("\n".join([f"{item.id}: {context}", *read])),
        Table(["choice", *columns], rows),
    ]


def _mark(part):
    return part if isinstance(part, str) else f"[{part.text}]"
