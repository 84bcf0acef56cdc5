"""Which choice is right, as a number between 0 and 1."""

import math


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
