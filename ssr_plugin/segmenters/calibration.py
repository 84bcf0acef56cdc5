"""By how much an aligner's times are early or late, from trusted alignments."""

import numpy as np

from ssr_plugin.alignment.formats import Timed
from ssr_plugin.alignment.quality import match_words


def calibrate(alignments, reference):
    """What is to be added to an aligner's starts and ends.

    The medians over the words that both have, so that an utterance that went wrong
    does not count for more than another; of ends, over those that the aligner did not
    take from the start of the next word. Take speakers that it was not trained on.

    Arguments
    ---------
    alignments, reference : dict
        Id -> ssr_plugin.alignment.record.Alignment, of words or characters. Utterances
        in one alone do not count.

    Returns
    -------
    start_offset, end_offset : float
        In ms, to a tenth; to be added to those that ``alignments`` was made with.

    Raises
    ------
    ValueError
        If they have no word in common.

    Example
    -------
    >>> from ssr_plugin.alignment.record import Alignment, Unit
    >>> ours = Alignment("a", "Hi!", (Unit("Hi", 0.13, 0.3, 0),), "word", 1.0)
    >>> reference = Alignment("a", "hi", (Unit("hi", 0.1, 0.31, 0),), "word", 1.0)
    >>> calibrate({"a": ours}, {"a": reference})
    (-30.0, 10.0)
    """
    starts, ends = [], []
    for id in sorted(alignments.keys() & reference.keys()):
        ours, theirs = words_of(alignments[id]), words_of(reference[id])
        for i, j in match_words(ours, theirs):
            starts.append(theirs[j][1] - ours[i][1])
            if i + 1 == len(ours) or ours[i][2] != ours[i + 1][1]:
                ends.append(theirs[j][2] - ours[i][2])
    if not starts:
        raise ValueError("no word in common to calibrate an aligner by")
    return tuple(
        round(1000 * float(np.median(x)), 1) if x else 0.0 for x in (starts, ends)
    )


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
