"""From answers to figures, by column, and what speech keeps of the text's."""

import dataclasses

import numpy as np

from ssr_plugin.evaluation.harness.choice_rules import choice_scores, share_right
from ssr_plugin.evaluation.harness.conditions import SEGMENTS
from ssr_plugin.evaluation.harness.measures import ACCURACY
from ssr_plugin.metrics.intervals import (
    interval,
    kept_share,
    resample_means,
    resample_sums,
)

#: What speech is measured against.
TOPLINE = "text"


def summarise(records, columns, rule, ways=None, seed=0):
    """The figures of a task of choices.

    Arguments
    ---------
    records : list of dict
        Of :func:`ssr_plugin.evaluation.harness.answering.answer_items`; at least one.
    columns : list of str
        Those that an item lacks are left out.
    rule : str
        Of ``ssr_plugin.evaluation.harness.choice_rules.RULES``.
    ways : int or None
        Of :class:`ssr_plugin.evaluation.harness.benchmark.Task`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        "items"; "measure", that is accuracy; "chance" (%); "columns": by name
        "segments" ("forced", "predicted" or None, where nothing was heard), "accuracy"
        and its "interval" (%), and of those that listen "kept", the share of the text's
        gain over chance (%), with its "kept_interval"; None where the text is not above
        chance.

    Example
    -------
    >>> record = {"answer": 0, "cluster": "1"}
    >>> record["sums"] = {"text": [-1.0, -2.0], "forced": [-3.0, -3.0]}
    >>> figures = summarise([record], ["text", "forced"], rule="sum")
    >>> figures["chance"], figures["columns"]["forced"]["accuracy"]
    (50.0, 50.0)
    """
    columns = [c for c in columns if all(c in record["sums"] for record in records)]
    won = 100 * np.array(
        [
            [right(record, column, rule, ways) for column in columns]
            for record in records
        ]
    )
    chance = float(
        np.mean([100 / (ways or len(record["sums"][columns[0]])) for record in records])
    )
    draws = resample_means(won, [record["cluster"] for record in records], seed)
    figures = {}
    for i, column in enumerate(columns):
        figures[column] = {
            "segments": SEGMENTS.get(column),
            "accuracy": float(won[:, i].mean()),
            "interval": interval(draws[:, i]),
        }
        if column in SEGMENTS and TOPLINE in columns:
            best = columns.index(TOPLINE)
            kept = kept_share(won[:, i].mean(), won[:, best].mean(), chance)
            figures[column] |= {
                "kept": float(kept) if np.isfinite(kept) else None,
                "kept_interval": interval(
                    kept_share(draws[:, i], draws[:, best], chance)
                ),
            }
    return {
        "items": len(records),
        "measure": dataclasses.asdict(ACCURACY),
        "chance": chance,
        "columns": figures,
    }


def summarise_measure(records, columns, measure, seed=0):
    """A figure of what was measured.

    Arguments
    ---------
    records : list of dict
        With "measured": by column and measure, what an item has above and below.
    columns : list of str
        Those that an item lacks are left out.
    measure : ssr_plugin.evaluation.harness.measures.Measure
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        "items"; "measure"; "columns": by name "segments" (as :func:`summarise`), the
        figure by the measure's name, and its "interval"; None where there is nothing to
        divide by.

    Example
    -------
    >>> from ssr_plugin.evaluation.harness.measures import Measure
    >>> wer = Measure("wer", "%", "Word errors per word.", factor=100)
    >>> records = [
    ...     {"cluster": name, "measured": {"text": {"wer": [errors, 10]}}}
    ...     for name, errors in (("a", 1), ("b", 3))
    ... ]
    >>> summarise_measure(records, ["text", "forced"], wer)["columns"]
    {'text': {'segments': None, 'wer': 20.0, 'interval': [10.0, 30.0]}}
    """
    clusters = [record["cluster"] for record in records]
    figures = {}
    for column in columns:
        own = [record.get("measured", {}).get(column, {}) for record in records]
        if not all(measure.name in found for found in own):
            continue
        sides = np.array([found[measure.name] for found in own], dtype=float)  # [I, 2]
        value = float(measure.value(*sides.sum(0)))
        draws = measure.value(*resample_sums(sides, clusters, seed).T)
        figures[column] = {
            "segments": SEGMENTS.get(column),
            measure.name: value if np.isfinite(value) else None,
            "interval": interval(draws),
        }
    return {
        "items": len(records),
        "measure": dataclasses.asdict(measure),
        "columns": figures,
    }


def sides(record, column, figures):
    """What a record adds above and below the line of a figure.

    Arguments
    ---------
    record : dict
    column : str
    figures : dict
        Of the task, in ``metrics.json``.

    Returns
    -------
    list of float
        Two.

    Example
    -------
    >>> record = {"measured": {"text": {"wer": [1, 10]}}}
    >>> sides(record, "text", {"measure": {"name": "wer"}})
    [1, 10]
    """
    if "rule" in figures:
        return [right(record, column, figures["rule"], figures["ways"]), 1.0]
    return record["measured"][column][figures["measure"]["name"]]


def right(record, column, rule, ways=None):
    """Whether an item was answered rightly, between 0 and 1.

    Arguments
    ---------
    record : dict
    column : str
    rule : str
        Of ``ssr_plugin.evaluation.harness.choice_rules.RULES``.
    ways : int or None

    Returns
    -------
    float
    """
    scores = choice_scores(record, column, rule)
    return share_right(scores, record["answer"], ways)
