"""The rules by which a choice is made, and whether it is right."""

import math

#: What is highest for the choice that is made, and where the rule comes from.
RULES = {
    "sum": "the sum of the log-likelihoods of a choice's tokens (acc of the LM "
    "Evaluation Harness)",
    "mean": "the mean of the log-likelihoods of a choice's tokens, as is usual in "
    "spoken language modelling",
    "gain": "what the spoken part adds to the sum of the log-likelihoods of a choice's "
    "tokens: the sum less that with the spoken part left out (PMI of Holtzman et al., "
    "arXiv 2104.08315)",
}


def choice_scores(record, column, rule):
    """The scores by which a column chooses.

    Arguments
    ---------
    record : dict
        Of :func:`ssr_plugin.evaluation.harness.answering.answer_items`.
    column : str
    rule : str
        One of ``RULES``.

    Returns
    -------
    list of float

    Example
    -------
    >>> record = {"counts": {"text": [1, 2]}}
    >>> record["sums"] = {"none": [-2.0, -9.0], "text": [-1.0, -3.0]}
    >>> [choice_scores(record, "text", rule) for rule in RULES]
    [[-1.0, -3.0], [-1.0, -1.5], [1.0, 6.0]]
    """
    # What is heard as nothing is never chosen before what is heard as something.
    sums = [-math.inf if s is None else s for s in record["sums"][column]]
    if rule == "sum":
        return sums
    if rule == "mean":
        counts = record["counts"][column]
        return [s / max(count, 1) for s, count in zip(sums, counts, strict=True)]
    nothing = record["sums"][NOTHING.get(column, "none")]
    return [s - before for s, before in zip(sums, nothing, strict=True)]


#: Where another LLM reads than in the other columns, what it makes of nothing heard.
NOTHING = {"untouched": "untouched none"}


def share_right(scores, answer, ways=None):
    """How often the right choice has the best score, among so many choices.

    Of n choices that share the best score, each is chosen once in n.

    Arguments
    ---------
    scores : list of float
        Of each choice; the higher, the better.
    answer : int
        Which is right.
    ways : int or None
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
    >>> share_right(scores, answer=0), share_right(scores, answer=2)
    (0.0, 1.0)
    >>> share_right(scores, answer=0, ways=2)  # better, even, worse
    0.5
    """
    others = [score for i, score in enumerate(scores) if i != answer]
    drawn = (ways or len(scores)) - 1
    if not 1 <= drawn <= len(others):
        raise ValueError(f"no {ways} ways to choose among {len(scores)} choices")
    even = sum(score == scores[answer] for score in others)
    worse = sum(score < scores[answer] for score in others)
    won = sum(
        math.comb(even, tied) * math.comb(worse, drawn - tied) / (1 + tied)
        for tied in range(drawn + 1)
    )
    return won / math.comb(len(others), drawn)
