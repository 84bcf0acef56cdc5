"""By how much an aligner's times are early or late, from trusted alignments."""

import numpy as np

from ssr_plugin.alignment.formats import Timed
from ssr_plugin.alignment.quality import match_words


def calibrate(found, reference):
    """What is to be added to an aligner's starts and ends.

    The medians over the words that both have, so that an utterance that went wrong
    does not count for more than another. Take speakers that it was not trained on.

    Arguments
    ---------
    found, reference : dict
        Id -> ssr_plugin.alignment.record.Alignment, of words or characters. Utterances
        in one alone do not count.

    Returns
    -------
    start_offset, end_offset : float
        In ms, to a tenth; to be added to those that ``found`` was made with.

    Raises
    ------
    ValueError
        If they have no word in common.

    Example
    -------
    >>> from ssr_plugin.alignment.record import Alignment, Unit
    >>> found = Alignment("a", "Hi!", (Unit("Hi", 0.13, 0.3, 0),), "word", 1.0)
    >>> reference = Alignment("a", "hi", (Unit("hi", 0.1, 0.31, 0),), "word", 1.0)
    >>> calibrate({"a": found}, {"a": reference})
    (-30.0, 10.0)
    """
    differences = []
    for id in sorted(found.keys() & reference.keys()):
        ours, theirs = words_of(found[id]), words_of(reference[id])
        for i, j in match_words(ours, theirs):
            differences.append(np.subtract(theirs[j][1:], ours[i][1:]))
    if not differences:
        raise ValueError("no word in common to calibrate an aligner by")
    start, end = np.round(1000 * np.median(differences, axis=0), 1).tolist()
    return start, end


def words_of(alignment):
    """An alignment's words, characters joined, as (text, start in s, end in s).

    Arguments
    ---------
    alignment : ssr_plugin.alignment.record.Alignment

    Returns
    -------
    list of (str, float, float)
    """
    return Timed(
        alignment.id,
        tuple((unit.text, unit.start, unit.end) for unit in alignment.units),
        alignment.kind,
        alignment.text,
        tuple(unit.offset for unit in alignment.units),
    ).words()
