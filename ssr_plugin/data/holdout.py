"""Which part of the training data is held out for validation, by seed."""

import random
from collections import defaultdict


def hold_out(utterances, share, seed):
    """Picks whole speakers, or single utterances where there is only one speaker.

    The seed gives an order of speakers. In that order, each speaker is taken who brings
    the held-out time nearer to its share; at least one is taken and one is left.

    Arguments
    ---------
    utterances : iterable of (str, str, float)
        Id, speaker, duration in s; their order does not matter.
    share : float
        Share of the total time to hold out, between 0 and 1.
    seed : int
        Another seed holds out others.

    Returns
    -------
    set of str
        Ids; empty where there are fewer than two utterances.

    Example
    -------
    >>> utterances = [(f"{s}-{i}", s, 1.0) for s in "abcdefghij" for i in range(5)]
    >>> len(hold_out(utterances, share=0.2, seed=1))
    10
    """
    ids = defaultdict(list)
    time = defaultdict(float)
    for name, speaker, duration in sorted(utterances):
        ids[speaker].append(name)
        time[speaker] += duration
    if len(ids) == 1:
        utterances = list(utterances)
        ids = {name: [name] for name, _, _ in utterances}
        time = {name: duration for name, _, duration in utterances}
    return {name for group in _pick(time, share, seed) for name in ids[group]}


def _pick(time, share, seed):
    """Groups whose summed time is about a share of the total: some, never all."""
    if len(time) < 2:
        return []
    order = sorted(time)
    random.Random(seed).shuffle(order)
    missing = share * sum(time.values())
    chosen = []
    for group in order:
        nearer = abs(missing - time[group]) < missing
        if nearer and len(chosen) < len(order) - 1:
            chosen.append(group)
            missing -= time[group]
    # If each is more than twice the share, the shortest is nearest to it.
    return chosen or [min(order, key=time.get)]
