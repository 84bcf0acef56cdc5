"""How a choice is made of log-likelihoods, and whether it is right.

The names are those of the LM Evaluation Harness (its mutual information is ``pmi``):

| metric | the choice that is made has the highest |
|---|---|
| ``acc`` | sum of the log-likelihoods of its tokens |
| ``acc_norm`` | mean of them: the sum by the number of tokens |
| ``pmi`` | sum, less that with the spoken content left out |

The LM Evaluation Harness divides by bytes for its ``acc_norm``. What is heard has
tokens and no bytes, so here it is tokens, as is usual in spoken language modelling.
"""

import math

from ssr_plugin.evaluation.harness.metric import Metric

#: By name.
CHOICE_METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "acc",
            "%",
            "Right choices of all; a choice has the highest sum of the log-likelihoods "
            "of its tokens (acc of the LM Evaluation Harness).",
            factor=100,
        ),
        Metric(
            "acc_norm",
            "%",
            "Right choices of all; a choice has the highest mean of the "
            "log-likelihoods of its tokens, as is usual in spoken language modelling.",
            factor=100,
        ),
        Metric(
            "pmi",
            "%",
            "Right choices of all; a choice has the highest sum of the log-likelihoods "
            "of its tokens less that with the spoken content left out: what hearing "
            "adds (PMI of Holtzman et al., arXiv 2104.08315).",
            factor=100,
        ),
    )
}


def choice_scores(record, condition, metric):
    """The scores by which a choice is made in a condition.

    Arguments
    ---------
    record : dict
        Of :func:`ssr_plugin.evaluation.harness.answering.answer_items`.
    condition : str
    metric : str
        One of ``CHOICE_METRICS``.

    Returns
    -------
    list of float

    Example
    -------
    >>> record = {"conditions": {
    ...     "none": {"log_likelihoods": [-2.0, -9.0], "num_tokens": [1, 2]},
    ...     "text": {"log_likelihoods": [-1.0, -3.0], "num_tokens": [1, 2],
    ...         "unconditional": "none"},
    ... }}
    >>> [choice_scores(record, "text", metric) for metric in CHOICE_METRICS]
    [[-1.0, -3.0], [-1.0, -1.5], [1.0, 6.0]]
    """
    answer = record["conditions"][condition]
    # What is heard as nothing is never chosen before what is heard as something.
    sums = [-math.inf if s is None else s for s in answer["log_likelihoods"]]
    if metric == "acc":
        return sums
    if metric == "acc_norm":
        counts = answer["num_tokens"]
        return [s / max(count, 1) for s, count in zip(sums, counts, strict=True)]
    unconditional = record["conditions"][answer["unconditional"]]["log_likelihoods"]
    return [s - before for s, before in zip(sums, unconditional, strict=True)]


def share_right(scores, target, num_choices=None):
    """How often the right choice has the best score, among so many choices.

    Of n choices that share the best score, each is chosen once in n.

    Arguments
    ---------
    scores : list of float
        Of each choice; the higher, the better.
    target : int
        Which is right.
    num_choices : int or None
        Among how many: the right one and others drawn at random, averaged over all
        draws. None is all.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there are fewer choices than that.

    Example
    -------
    >>> scores = [-1.0, -2.0, -0.5, -1.0]
    >>> share_right(scores, target=0), share_right(scores, target=2)
    (0.0, 1.0)
    >>> share_right(scores, target=0, num_choices=2)  # better, even, worse
    0.5
    """
    others = [score for i, score in enumerate(scores) if i != target]
    drawn = (num_choices or len(scores)) - 1
    if not 1 <= drawn <= len(others):
        raise ValueError(
            f"num_choices: there are no {num_choices} among {len(scores)} choices"
        )
    even = sum(score == scores[target] for score in others)
    worse = sum(score < scores[target] for score in others)
    won = sum(
        math.comb(even, tied) * math.comb(worse, drawn - tied) / (1 + tied)
        for tied in range(drawn + 1)
    )
    return won / math.comb(len(others), drawn)
