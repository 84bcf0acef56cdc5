"""Evaluations side by side, item by item (the command ``ssr compare``).

Each figure of the later runs comes with its difference to the first, and the 95 %
interval of that, by bootstrap over the items that both answered.
"""

import pathlib

import numpy as np

from ssr_plugin.evaluation.harness.records import read_answers
from ssr_plugin.evaluation.harness.summary import sums_of, value_of
from ssr_plugin.evaluation.report.document import (
    ConditionName,
    Heading,
    Paragraph,
    Table,
    write_document,
)
from ssr_plugin.json_files import read_json
from ssr_plugin.metrics.intervals import interval, resample_sums

# Of an evaluation's metrics, what is read of all.
_METRICS = {"model": None, "benchmarks": {str: {"metric": None}}}


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
        benchmark in common.
    """
    if len(folders) < 2:
        raise ValueError("name two evaluations or more")
    folders = [pathlib.Path(folder) for folder in folders]
    runs = [read_metrics(folder) for folder in folders]
    blocks = [Heading("Runs compared", 1)]
    blocks += [
        Paragraph(f"{name}: {run['model']}")
        for name, run in zip(map(str, folders), runs, strict=True)
    ]
    first = runs[0]["benchmarks"]
    titles = [t for t in first if all(t in run["benchmarks"] for run in runs)]
    if not titles:
        raise ValueError("these evaluations have no benchmark in common")
    for title in titles:
        table = Table(["condition", *map(str, folders), "difference to the first"], [])
        figures = [run["benchmarks"][title]["conditions"] for run in runs]
        metrics = {run["benchmarks"][title]["metric"]["name"] for run in runs}
        if len(metrics) > 1:
            raise ValueError(
                f"{title} was measured by {' and '.join(sorted(metrics))}: compare by "
                f"the same metric"
            )
        (metric,) = metrics
        records = _common_records(folders, first[title])
        for condition in figures[0]:
            if not all(condition in run for run in figures):
                continue
            shown = [_show(run[condition][metric]) for run in figures]
            differences = [
                _difference(records[0], other, condition, first[title])
                for other in records[1:]
            ]
            table.rows.append(
                [ConditionName(condition), *shown, "; ".join(differences)]
            )
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


def read_metrics(folder):
    """What an evaluation left in its ``metrics.json``.

    Arguments
    ---------
    folder : pathlib.Path

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it holds no evaluation; the message says why.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder '{folder}'")
    try:
        return read_json(folder / "metrics.json", _METRICS)
    except ValueError as error:
        raise ValueError(
            f"'{folder}' holds no evaluation ({error}): give the output_folder of "
            f"hparams/evaluate.yaml"
        ) from error


def _common_records(folders, summary):
    """Of each run the answers to the items that all answered, in the same order."""
    runs = [
        {record["id"]: record for record in read_answers(folder, summary)}
        for folder in folders
    ]
    names = [name for name in runs[0] if all(name in run for run in runs)]
    return [[run[name] for name in names] for run in runs]


def _show(value):
    return "-" if value is None else f"{value:.1f}"


def _difference(first, other, condition, summary):
    """How much higher the other is, with its interval."""
    if not first:
        return "-"
    pairs = [
        [sums_of(x, condition, summary) for x in pair]
        for pair in zip(first, other, strict=True)
    ]
    values = np.array([[*one, *two] for one, two in pairs])
    half = values.shape[1] // 2

    def gain(sums):
        return value_of(summary, *sums[half:]) - value_of(summary, *sums[:half])

    clusters = [record["cluster"] for record in first]
    ends = interval(gain(resample_sums(values, clusters).T))
    between = f" ({ends[0]:+.1f} to {ends[1]:+.1f})" if ends else ""
    return f"{gain(values.sum(0)):+.1f}{between}"
