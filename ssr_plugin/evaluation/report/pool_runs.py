"""Evaluations taken together, as one of all their items (the command ``ssr pool``).

Folds over speakers, and test sets that are too small to tell, give one figure with one
interval. Each run may be of another model and another data set.
"""

import json
import pathlib

from ssr_plugin.evaluation.harness.records import read_answers
from ssr_plugin.evaluation.harness.summary import figure_of
from ssr_plugin.evaluation.report.compare_runs import read_metrics
from ssr_plugin.evaluation.report.document import (
    ConditionName,
    Heading,
    Paragraph,
    Table,
    write_document,
)
from ssr_plugin.evaluation.report.evaluation_report import show_figure, words
from ssr_plugin.files import atomic_path

#: What the bootstrap may draw.
DRAWN = ("speaker", "utterance")
# With fewer, an interval says little.
_FEW = 10
# What two runs must have in common, that their items may be added up.
_ALIKE = ("metric", "num_choices", "loss", "against")


def pool_runs(folders, by="speaker"):
    """The figures of several runs together.

    Utterances of one speaker are not independent: a voice that is read badly is read
    badly throughout. Of speakers whom no model has heard, an interval tells the truth
    only if it draws speakers, with all of their utterances. That is the default. To
    draw utterances tells how sure a figure is of these very speakers.

    Arguments
    ---------
    folders : list of path-like
        The output folders of one evaluation or more.
    by : str
        "speaker" or "utterance": what is drawn together. An utterance that several runs
        have is one. Where a benchmark's items have no speaker, they are drawn.

    Returns
    -------
    dict
        "runs": model by folder; "benchmarks": by title "benchmark", "metric", "items",
        "clusters" (how many are drawn), "by" ("speaker" or "item"), and under
        "conditions", by name, the metric by its name, its "interval", and "runs", the
        same of each folder. No interval where there is but one to draw.

    Raises
    ------
    ValueError
        If a folder holds no evaluation, two hold the same answers, or they have no
        benchmark in common.
    """
    if by not in DRAWN:
        raise ValueError(f"by: '{by}' is none of {', '.join(DRAWN)}")
    folders = [pathlib.Path(folder) for folder in folders]
    runs = [read_metrics(folder)["benchmarks"] for folder in folders]
    titles = [title for title in runs[0] if all(title in run for run in runs)]
    if not titles:
        raise ValueError("these evaluations have no benchmark in common")
    pooled = {}
    for title in titles:
        summaries = [run[title] for run in runs]
        if not _are_alike(summaries):
            raise ValueError(
                f"{title} was measured in several ways: pool what is of the same metric"
            )
        records = [
            _read_records(folder, summary, by)
            for folder, summary in zip(folders, summaries, strict=True)
        ]
        _refuse_doubles(folders, records)
        together = [record for each in records for record in each]
        pooled[title] = {
            "benchmark": summaries[0]["benchmark"],
            "metric": summaries[0]["metric"],
            "items": len(together),
            "clusters": len({record["cluster"] for record in together}),
            "by": "speaker" if _by_speaker(together, by) else "item",
            "conditions": {
                condition: {
                    **_figure(together, condition, summaries[0]),
                    "runs": {
                        str(folder): _figure(each, condition, summaries[0])
                        for folder, each in zip(folders, records, strict=True)
                    },
                }
                for condition in summaries[0]["conditions"]
                if all(condition in summary["conditions"] for summary in summaries)
            },
        }
    models = {str(folder): read_metrics(folder)["model"] for folder in folders}
    return {"runs": models, "benchmarks": pooled}


def _are_alike(summaries):
    """Whether the same is measured in all of them."""
    ways = [[summary.get(key) for key in _ALIKE] for summary in summaries]
    return all(way == ways[0] for way in ways)


def _read_records(folder, summary, by):
    """A run's answers, with the cluster that is drawn."""
    records = read_answers(folder, summary)
    if len(records) != summary["items"]:
        raise ValueError(
            f"'{folder}' has {len(records)} answers of {summary['benchmark']}, and its "
            f"metrics.json is of {summary['items']}: evaluate again"
        )
    if _by_speaker(records, by):
        return [{**record, "cluster": record["speaker"]} for record in records]
    return records


def _by_speaker(records, by):
    """Whether speakers are drawn: they must be known."""
    return by == "speaker" and all("speaker" in record for record in records)


def _refuse_doubles(folders, records):
    """The same answers twice would count as more than there are."""
    first = {}
    for folder, each in zip(folders, records, strict=True):
        for record in each:
            other = first.setdefault(record["key"], folder)
            if other is not folder:
                raise ValueError(
                    f"'{other}' and '{folder}' both have the answer of the same model "
                    f"to '{record['id']}': name each but once"
                )


def _figure(records, condition, summary):
    """A condition's figure; a single cluster tells nothing of others."""
    figure = figure_of(records, condition, summary)
    if len({record["cluster"] for record in records}) < 2:
        figure["interval"] = None
    return figure


def show_pool(pooled):
    """What :func:`pool_runs` gives, to be read by people.

    Arguments
    ---------
    pooled : dict

    Returns
    -------
    list
        Blocks of :mod:`ssr_plugin.evaluation.report.document`.
    """
    blocks = [Heading("Runs pooled", 1)]
    blocks += [Paragraph(f"{name}: {model}") for name, model in pooled["runs"].items()]
    by_benchmark = {}
    for title, summary in pooled["benchmarks"].items():
        by_benchmark.setdefault(summary["benchmark"], {})[title] = summary
    for name, summaries in by_benchmark.items():
        first = next(iter(summaries.values()))
        count, by = first["clusters"], first["by"]
        drawn = f", {count} {by}{'s' * (count != 1)}" * (by != "item")
        note = f"In brackets: 95 % intervals by bootstrap over {by}s."
        if 1 < count < _FEW:
            note += f" With so few {by}s they are rough."
        blocks.append(Heading(f"{words(name)}: {first['items']} items{drawn}"))
        blocks += [Paragraph(note), _table(name, summaries)]
        for folder in pooled["runs"]:
            blocks += [Heading(folder, 3), _table(name, summaries, folder)]
    return blocks


def _table(name, summaries, folder=None):
    """A row for each condition, a column for each metric; of all runs, or of one."""
    head = []
    for title, summary in summaries.items():
        unit = summary["metric"]["unit"]
        head.append(words(title.removeprefix(f"{name} ")) + f", {unit}" * bool(unit))
    table = Table(["condition", *head], [])
    rows = {x: None for summary in summaries.values() for x in summary["conditions"]}
    for condition in sorted(rows, key=_order(summaries)):
        cells = []
        for summary in summaries.values():
            figure = summary["conditions"].get(condition)
            if figure and folder:
                figure = figure["runs"][folder]
            cells.append(show_figure(figure, summary["metric"]["name"], "interval"))
        table.rows.append([ConditionName(condition), *cells])
    return table


def _order(summaries):
    """A key that sorts conditions as the metric with most of them has them."""
    longest = max((x["conditions"] for x in summaries.values()), key=len)
    return lambda name: [*longest, name].index(name)


def write_pool(pooled, folder):
    """Writes ``pool.md``, ``pool.html`` and, with the figures alone, ``pool.json``.

    Arguments
    ---------
    pooled : dict
        What :func:`pool_runs` gives.
    folder : path-like
    """
    write_document(show_pool(pooled), folder, "pool", "Runs pooled")
    with atomic_path(pathlib.Path(folder) / "pool.json") as partial:
        text = json.dumps(pooled, indent=2, ensure_ascii=False)
        partial.write_text(text, encoding="utf-8")
