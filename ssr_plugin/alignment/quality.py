"""How far the word boundaries of two alignments lie apart."""

import dataclasses
import difflib

import numpy as np

from ssr_plugin.alignment.record import sayable


@dataclasses.dataclass(frozen=True)
class BoundaryErrors:
    """Differences of boundary times, judged minus reference.

    Arguments
    ---------
    mae, median : float
        Mean and median of their size, in ms.
    bias : float
        Their mean, in ms; positive where the judged boundaries come late.
    within_20, within_50 : float
        Shares of at most 20 and 50 ms.
    """

    mae: float
    median: float
    bias: float
    within_20: float
    within_50: float


def boundary_errors(differences):
    """Sums up differences of boundary times.

    Arguments
    ---------
    differences : array-like
        Seconds, judged minus reference; at least one.

    Returns
    -------
    BoundaryErrors

    Example
    -------
    >>> boundary_errors([0.01, -0.03, 0.02, 0.08])
    BoundaryErrors(mae=35.0, median=25.0, bias=20.0, within_20=0.5, within_50=0.75)
    """
    # To whole microseconds: 0.52 - 0.50 is more than 0.02 in binary.
    ms = np.round(1000 * np.asarray(differences, dtype=float).ravel(), 3)
    size = np.abs(ms)
    return BoundaryErrors(
        mae=float(size.mean()),
        median=float(np.median(size)),
        bias=float(ms.mean()),
        within_20=float((size <= 20).mean()),
        within_50=float((size <= 50).mean()),
    )


def match_words(words, reference):
    """Pairs the words that two alignments of an utterance have in common, in order.

    Arguments
    ---------
    words, reference : list of (str, float, float)
        Text, start (s), end (s). Case and punctuation do not count.

    Returns
    -------
    list of (int, int)
        Indices of paired words.

    Example
    -------
    >>> match_words(
    ...     [("THE", 0, 1), ("DOG", 1, 2), ("SAT", 2, 3)],
    ...     [("the", 0, 1), ("<unk>", 1, 2), ("sat", 2, 3)],
    ... )
    [(0, 0), (2, 2)]
    """
    ours, theirs = (
        ["".join(character for character, _ in sayable(word)) for word, *_ in side]
        for side in (words, reference)
    )
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    return [
        (block.a + i, block.b + i)
        for block in matcher.get_matching_blocks()
        for i in range(block.size)
    ]
