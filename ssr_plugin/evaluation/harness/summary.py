"""From answers to metrics, by condition, and what speech keeps of the text's."""

import dataclasses

import numpy as np

from ssr_plugin.evaluation.harness.choice_metrics import (
    CHOICE_METRICS,
    choice_scores,
    share_right,
)
from ssr_plugin.evaluation.harness.metric import Metric
from ssr_plugin.metrics.intervals import (
    interval,
    kept_share,
    resample_means,
    resample_sums,
)
from ssr_plugin.metrics.second_half_loss import gain_kept

#: The condition that speech is measured against.
TOPLINE = "text"
#: Those between which a loss is a share of a gain: all that is to be had, and nothing.
GAIN_ENDS = (TOPLINE, "none")
#: What a user would do instead, which vectors are to be ahead of.
RIVAL = "cascade"
KEPT = Metric(
    "gain_kept",
    "%",
    "How much of the loss is taken off by what is heard, in % of what the text takes "
    "off. Higher is better.",
)
AHEAD = Metric(
    "ahead",
    "points",
    "The gain kept less that of the cascade.",
)


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
    figures = {}
    summary = {
        "items": len(records),
        "metric": dataclasses.asdict(metric),
        "conditions": figures,
    }
    for condition in _answered(records, conditions):
        answers = [r["conditions"][condition.name]["metrics"] for r in records]
        if all(metric.name in ratios for ratios in answers):
            figures[condition.name] = {
                "segmentation": condition.segmentation,
                **figure_of(records, condition.name, summary, seed),
            }
    return summary


def summarise_gain(records, conditions, loss, seed=0):
    """What speech keeps of the text's gain, and how far it is ahead of the cascade.

    Arguments
    ---------
    records, conditions, seed
        Of :func:`summarise_metric`.
    loss : ssr_plugin.evaluation.harness.metric.Metric
        The lower the better; :data:`KEPT` and :data:`AHEAD` come of it.

    Returns
    -------
    dict
        By metric what :func:`summarise_metric` gives, of the conditions that listen;
        "loss", its name; "against", the conditions by which it is measured. Without
        what a condition that was not answered would be needed for.

    Example
    -------
    >>> from ssr_plugin.evaluation.harness.conditions import make_conditions
    >>> nll = Metric("nll", "nats", "Loss.")
    >>> losses = {"none": 9.0, "text": 1.0, "cascade": 3.0, "predicted": 2.0}
    >>> answers = {x: {"metrics": {"nll": [y, 4]}} for x, y in losses.items()}
    >>> records = [{"cluster": "a", "conditions": answers}]
    >>> gain = summarise_gain(records, make_conditions(losses), nll)
    >>> {x: y["gain_kept"] for x, y in gain["gain_kept"]["conditions"].items()}
    {'cascade': 75.0, 'predicted': 87.5}
    >>> gain["ahead"]["conditions"]["predicted"]["ahead"]
    12.5
    """
    summaries = {}
    for metric, against in ((KEPT, GAIN_ENDS), (AHEAD, (*GAIN_ENDS, RIVAL))):
        if not all(x in record["conditions"] for x in against for record in records):
            continue
        summary = {
            "items": len(records),
            "metric": dataclasses.asdict(metric),
            "loss": loss.name,
            "against": list(against),
            "conditions": {},
        }
        for condition in _answered(records, conditions):
            if condition.listens and condition.name not in against:
                summary["conditions"][condition.name] = {
                    "segmentation": condition.segmentation,
                    **figure_of(records, condition.name, summary, seed),
                }
        if summary["conditions"]:
            summaries[metric.name] = summary
    return summaries


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


def figure_of(records, condition, summary, seed=0):
    """A condition's figure over some items.

    Arguments
    ---------
    records : list of dict
        Of :func:`ssr_plugin.evaluation.harness.answering.answer_items`.
    condition : str
    summary : dict
        Of the benchmark, in ``metrics.json``; it says what is measured.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        The metric by its name, and its "interval"; None where there is nothing to
        divide by.
    """
    sums = np.array([sums_of(x, condition, summary) for x in records], dtype=float)
    draws = resample_sums(sums, [record["cluster"] for record in records], seed)
    value = float(value_of(summary, *sums.sum(0)))
    return {
        summary["metric"]["name"]: value if np.isfinite(value) else None,
        "interval": interval(value_of(summary, *draws.T)),
    }


def sums_of(record, condition, summary):
    """What a record adds to the sums that a metric is made of.

    Arguments
    ---------
    record : dict
    condition : str
    summary : dict
        Of the benchmark, in ``metrics.json``.

    Returns
    -------
    list of float
        For :func:`value_of`: numerator and denominator; or, of a gain, the losses of
        the condition and of those that it is measured against.

    Example
    -------
    >>> record = {"conditions": {"text": {"metrics": {"wer": [1, 10]}}}}
    >>> sums_of(record, "text", {"metric": {"name": "wer"}})
    [1, 10]
    """
    name = summary["metric"]["name"]
    if "chance" in summary:
        return [is_right(record, condition, name, summary["num_choices"]), 1.0]
    if "against" in summary:
        return [
            record["conditions"][x]["metrics"][summary["loss"]][0]
            for x in (condition, *summary["against"])
        ]
    return record["conditions"][condition]["metrics"][name]


def value_of(summary, *sums):
    """A metric's value.

    Arguments
    ---------
    summary : dict
        Of the benchmark, in ``metrics.json``.
    *sums : array-like
        Sums over items of what :func:`sums_of` gives.

    Returns
    -------
    numpy.ndarray
        NaN where there is nothing to divide by.

    Example
    -------
    >>> wer = {"name": "wer", "unit": "%", "description": "", "factor": 100}
    >>> float(value_of({"metric": wer}, 1, 10))
    10.0
    """
    if "against" not in summary:
        return Metric(**summary["metric"]).value(*sums)
    loss, text, none, *rival = sums
    kept = gain_kept(loss, text, none)
    return kept - gain_kept(rival[0], text, none) if rival else kept


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
