"""From answers to figures: accuracy by column, and what speech keeps of the text's."""

import numpy as np

from ssr_plugin.tasks.choosing import choice_scores, share_right
from ssr_plugin.tasks.columns import SEGMENTS
from ssr_plugin.tasks.intervals import interval, kept_share, resample_means

#: What speech is measured against.
TOPLINE = "text"


def summarise(records, columns, rule, ways=None, seed=0):
    """The figures of a task.

    Arguments
    ---------
    records : list of dict
        Of :func:`ssr_plugin.tasks.answering.answer_items`; at least one.
    columns : list of str
        Those that an item lacks are left out.
    rule : str
        Of ``ssr_plugin.tasks.choosing.RULES``.
    ways : int or None
        Of :class:`ssr_plugin.tasks.task.Task`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        "items"; "chance" (%); "columns": by name "segments" ("forced", "predicted" or
        None, where nothing was heard), "accuracy" and its "interval" (%), and of those
        that listen "kept", the share of the text's gain over chance (%), with its
        "kept_interval"; None where the text is not above chance.

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
    return {"items": len(records), "chance": chance, "columns": figures}


def right(record, column, rule, ways=None):
    """Whether an item was answered rightly, between 0 and 1.

    Arguments
    ---------
    record : dict
    column : str
    rule : str
        Of ``ssr_plugin.tasks.choosing.RULES``.
    ways : int or None

    Returns
    -------
    float
    """
    scores = choice_scores(record, column, rule)
    return share_right(scores, record["answer"], ways)
