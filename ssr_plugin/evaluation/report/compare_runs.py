"""Evaluations side by side, item by item (the command ``ssr compare``).

Each figure of the later runs comes with its difference to the first, and the 95 %
interval of that, by bootstrap over the items that both answered.
"""

import json
import pathlib

import numpy as np

from ssr_plugin.evaluation.harness.conditions import COLUMNS
from ssr_plugin.evaluation.harness.measures import Measure
from ssr_plugin.evaluation.harness.records import Records
from ssr_plugin.evaluation.harness.summary import sides
from ssr_plugin.evaluation.report.document import (
    Condition,
    Heading,
    Paragraph,
    Table,
    write_document,
)
from ssr_plugin.metrics.intervals import interval, resample_sums


def compare_runs(folders):
    """The figures of several runs, and how they differ.

    Arguments
    ---------
    folders : list of path-like
        The output folders of two evaluations or more.

    Returns
    -------
    list
        Blocks of :mod:`ssr_plugin.evaluation.report.document`.

    Raises
    ------
    ValueError
        If there are fewer than two folders, one holds no evaluation, or they have no
        task in common.
    """
    if len(folders) < 2:
        raise ValueError("name two evaluations or more")
    folders = [pathlib.Path(folder) for folder in folders]
    runs = [_read_metrics(folder) for folder in folders]
    blocks = [Heading("Runs compared", 1)]
    blocks += [
        Paragraph(f"{name}: {run['model']}")
        for name, run in zip(map(str, folders), runs, strict=True)
    ]
    titles = [t for t in runs[0]["tasks"] if all(t in run["tasks"] for run in runs)]
    if not titles:
        raise ValueError("these evaluations have no task in common")
    for title in titles:
        table = Table(["column", *map(str, folders), "difference to the first"], [])
        found = [run["tasks"][title]["columns"] for run in runs]
        name = runs[0]["tasks"][title]["measure"]["name"]
        records = _common_records(folders, runs[0]["tasks"][title]["task"])
        for column in COLUMNS:
            if not all(column in figures for figures in found):
                continue
            shown = [_show(figures[column][name]) for figures in found]
            differences = [
                _difference(records[0], other, column, runs[0]["tasks"][title])
                for other in records[1:]
            ]
            table.rows.append([Condition(column), *shown, "; ".join(differences)])
        blocks += [Heading(f"{title}, {len(records[0])} items in common"), table]
    return blocks


def write_comparison(blocks, folder):
    """Writes a comparison: ``compare.md`` and ``compare.html``.

    Arguments
    ---------
    blocks : list
        What :func:`compare_runs` gives.
    folder : path-like
    """
    write_document(blocks, folder, "compare", "Runs compared")


def _read_metrics(folder):
    if not folder.is_dir():
        raise ValueError(f"there is no folder '{folder}'")
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        metrics["model"], [own["measure"] for own in metrics["tasks"].values()]
        return metrics
    except FileNotFoundError as error:
        reason, cause = "it has no metrics.json", error
    except (OSError, ValueError) as error:
        reason, cause = f"its metrics.json cannot be read ({error})", error
    except (KeyError, TypeError, AttributeError) as error:
        reason, cause = "its metrics.json is of something else", error
    raise ValueError(
        f"'{folder}' holds no evaluation, since {reason}: give the output_folder of "
        f"hparams/evaluate.yaml"
    ) from cause


def _common_records(folders, task):
    """Of each run the answers to the items that all answered, in the same order."""
    runs = [
        {
            record["id"]: record
            for record in Records(folder / "answers" / f"{task}.jsonl")
        }
        for folder in folders
    ]
    names = [name for name in runs[0] if all(name in run for run in runs)]
    return [[run[name] for name in names] for run in runs]


def _show(value):
    return "-" if value is None else f"{value:.1f}"


def _difference(first, other, column, figures):
    """How much higher the other is, with its interval."""
    if not first:
        return "-"
    measure = Measure(**figures["measure"])
    values = np.array(
        [
            [*sides(a, column, figures), *sides(b, column, figures)]
            for a, b in zip(first, other, strict=True)
        ]
    )

    def gain(sums):
        return measure.value(*sums[2:]) - measure.value(*sums[:2])

    clusters = [record["cluster"] for record in first]
    ends = interval(gain(resample_sums(values, clusters).T))
    between = f" ({ends[0]:+.1f} to {ends[1]:+.1f})" if ends else ""
    return f"{gain(values.sum(0)):+.1f}{between}"
