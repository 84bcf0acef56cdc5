"""From answers to metrics, by condition, and what speech keeps of the text's."""

import dataclasses

import numpy as np

from ssr_plugin.evaluation.harness.choice_metrics import (
    CHOICE_METRICS,
    choice_scores,
    share_right,
)
from ssr_plugin.metrics.intervals import (
    interval,
    kept_share,
    resample_means,
    resample_sums,
)

#: The condition that speech is measured against.
TOPLINE = "text"


def summarise_choices(records, conditions, metric, num_choices=None, seed=0):
    """The figures of a benchmark of choices.

    Arguments
    ---------
    records : list of dict
        Of :func:`ssr_plugin.evaluation.harness.answering.answer_items`; at least one.
    conditions : list of Condition
        Those that an item lacks are left out.
    metric : str
        Of ``ssr_plugin.evaluation.harness.choice_metrics.CHOICE_METRICS``.
    num_choices : int or None
        Of :class:`ssr_plugin.evaluation.harness.choice_benchmark.ChoiceBenchmark`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        "items"; "metric"; "num_choices"; "chance" (%); "conditions": by name
        "segmentation" ("forced", "predicted" or None, where nothing was heard), the
        metric by its name and its "interval" (%), and of those that listen "kept", the
        share of the text's gain over chance (%), with its "kept_interval"; None where
        the text is not above chance.

    Example
    -------
    >>> from ssr_plugin.evaluation.harness.conditions import make_conditions
    >>> record = {"target": 0, "cluster": "1", "conditions": {
    ...     "text": {"log_likelihoods": [-1.0, -2.0]},
    ...     "forced": {"log_likelihoods": [-3.0, -3.0]},
    ... }}
    >>> conditions = make_conditions(["text", "forced"])
    >>> summary = summarise_choices([record], conditions, "acc")
    >>> summary["chance"], summary["conditions"]["forced"]["acc"]
    (50.0, 50.0)
    """
    conditions = _answered(records, conditions)
    names = [condition.name for condition in conditions]
    right = 100 * np.array(
        [
            [is_right(record, x, metric, num_choices) for x in names]
            for record in records
        ]
    )
    chance = float(
        np.mean([100 / (num_choices or _count(record, names[0])) for record in records])
    )
    draws = resample_means(right, [record["cluster"] for record in records], seed)
    figures = {}
    for i, condition in enumerate(conditions):
        figures[condition.name] = {
            "segmentation": condition.segmentation,
            metric: float(right[:, i].mean()),
            "interval": interval(draws[:, i]),
        }
        if condition.listens and TOPLINE in names:
            best = names.index(TOPLINE)
            kept = kept_share(right[:, i].mean(), right[:, best].mean(), chance)
            figures[condition.name] |= {
                "kept": float(kept) if np.isfinite(kept) else None,
                "kept_interval": interval(
                    kept_share(draws[:, i], draws[:, best], chance)
                ),
            }
    return {
        "items": len(records),
        "metric": dataclasses.asdict(CHOICE_METRICS[metric]),
        "num_choices": num_choices,
        "chance": chance,
        "conditions": figures,
    }


def summarise_metric(records, conditions, metric, seed=0):
    """The figures of something that was measured.

    Arguments
    ---------
    records : list of dict
        With "metrics" in a condition: by name what an item has as numerator and
        denominator.
    conditions : list of Condition
        Those that an item lacks are left out.
    metric : ssr_plugin.evaluation.harness.metric.Metric
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        "items"; "metric"; "conditions": by name "segmentation" (as
        :func:`summarise_choices`), the metric by its name, and its "interval"; None
        where there is nothing to divide by.

    Example
    -------
    >>> from ssr_plugin.evaluation.harness.conditions import make_conditions
    >>> from ssr_plugin.evaluation.harness.metric import Metric
    >>> wer = Metric("wer", "%", "Word errors per word.", factor=100)
    >>> records = [
    ...     {"cluster": x, "conditions": {"text": {"metrics": {"wer": [errors, 10]}}}}
    ...     for x, errors in (("a", 1), ("b", 3))
    ... ]
    >>> conditions = make_conditions(["text", "forced"])
    >>> summarise_metric(records, conditions, wer)["conditions"]
    {'text': {'segmentation': None, 'wer': 20.0, 'interval': [10.0, 30.0]}}
    """
    clusters = [record["cluster"] for record in records]
    figures = {}
    for condition in _answered(records, conditions):
        answers = [r["conditions"][condition.name]["metrics"] for r in records]
        if not all(metric.name in ratios for ratios in answers):
            continue
        ratios = np.array([x[metric.name] for x in answers], dtype=float)  # [I, 2]
        value = float(metric.value(*ratios.sum(0)))
        draws = metric.value(*resample_sums(ratios, clusters, seed).T)
        figures[condition.name] = {
            "segmentation": condition.segmentation,
            metric.name: value if np.isfinite(value) else None,
            "interval": interval(draws),
        }
    return {
        "items": len(records),
        "metric": dataclasses.asdict(metric),
        "conditions": figures,
    }


def _answered(records, conditions):
    """The conditions in which all items were answered."""
    return [
        condition
        for condition in conditions
        if all(condition.name in record["conditions"] for record in records)
    ]


def _count(record, condition):
    """Of how many choices an item is."""
    return len(record["conditions"][condition]["log_likelihoods"])


def ratio_of(record, condition, summary):
    """What a record adds to the numerator and the denominator of a metric.

    Arguments
    ---------
    record : dict
    condition : str
    summary : dict
        Of the benchmark, in ``metrics.json``.

    Returns
    -------
    list of float
        Two.

    Example
    -------
    >>> record = {"conditions": {"text": {"metrics": {"wer": [1, 10]}}}}
    >>> ratio_of(record, "text", {"metric": {"name": "wer"}})
    [1, 10]
    """
    name = summary["metric"]["name"]
    if "chance" in summary:
        return [is_right(record, condition, name, summary["num_choices"]), 1.0]
    return record["conditions"][condition]["metrics"][name]


def is_right(record, condition, metric, num_choices=None):
    """Whether an item was answered rightly, between 0 and 1.

    Arguments
    ---------
    record : dict
    condition : str
    metric : str
        Of ``ssr_plugin.evaluation.harness.choice_metrics.CHOICE_METRICS``.
    num_choices : int or None

    Returns
    -------
    float
    """
    scores = choice_scores(record, condition, metric)
    return share_right(scores, record["target"], num_choices)
