"""Which part of the training data is held out for validation, by seed or by fold."""

import random
import re
from collections import defaultdict

from ssr_plugin.data.datasets import UNKNOWN_SPEAKER


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
    utterances = list(utterances)
    ids, time = _by_speaker(utterances)
    if len(ids) == 1:
        ids = {name: [name] for name, _, _ in utterances}
        time = {name: duration for name, _, duration in utterances}
    return {name for group in _pick(time, share, seed) for name in ids[group]}


def parse_fold(fold):
    """The two numbers of a fold, such as "2/5", the second of five.

    Arguments
    ---------
    fold : str

    Returns
    -------
    number, count : int

    Raises
    ------
    ValueError
        If it is something else, or there is no such fold.

    Example
    -------
    >>> parse_fold("2/5")
    (2, 5)
    >>> parse_fold("6/5")
    Traceback (most recent call last):
        ...
    ValueError: valid_fold: '6/5' is none of 1/5 to 5/5
    """
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", str(fold))
    if not match or int(match[2]) < 2:
        raise ValueError(
            f"valid_fold: '{fold}' is not of the form k/n, such as 1/5: the k-th of n "
            f"groups of speakers, n at least 2"
        )
    number, count = int(match[1]), int(match[2])
    if not 1 <= number <= count:
        raise ValueError(
            f"valid_fold: '{fold}' is none of 1/{count} to {count}/{count}"
        )
    return number, count


def hold_out_fold(utterances, fold):
    """Picks one of n groups of speakers; the n groups have each speaker once.

    Speakers are taken from the one with most time to the one with least, and each joins
    the group that has least so far (longest processing time first; Graham, Bounds on
    Multiprocessing Timing Anomalies, 1969). So groups are of about the same time, and
    depend on nothing but speakers and their times.

    Arguments
    ---------
    utterances : iterable of (str, str, float)
        Id, speaker, duration in s; their order does not matter.
    fold : str
        Of :func:`parse_fold`.

    Returns
    -------
    set of str
        Ids.

    Raises
    ------
    ValueError
        If there are fewer speakers than groups.

    Example
    -------
    >>> times = {"anna": 9.0, "bert": 5.0, "cleo": 4.0, "dora": 1.0}
    >>> utterances = [(f"{who}-1", who, time) for who, time in times.items()]
    >>> [sorted(hold_out_fold(utterances, f"{k}/2")) for k in (1, 2)]
    [['anna-1', 'dora-1'], ['bert-1', 'cleo-1']]
    """
    number, count = parse_fold(fold)
    ids, time = _by_speaker(utterances)
    if len(time) < count:
        known = set(time) != {UNKNOWN_SPEAKER}
        raise ValueError(
            f"valid_fold: '{fold}' wants {count} groups of speakers, and the training "
            f"data has {len(time)} speaker{'s' * (len(time) != 1)}"
            + ("" if known else ", since it does not name them")
        )
    groups = [[] for _ in range(count)]
    totals = [0.0] * count
    for speaker in sorted(time, key=lambda speaker: (-time[speaker], speaker)):
        least = totals.index(min(totals))
        groups[least].append(speaker)
        totals[least] += time[speaker]
    return {name for speaker in groups[number - 1] for name in ids[speaker]}


def _by_speaker(utterances):
    """Of each speaker the ids and the summed time."""
    ids = defaultdict(list)
    time = defaultdict(float)
    for name, speaker, duration in sorted(utterances):
        ids[speaker].append(name)
        time[speaker] += duration
    return ids, time


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
