"""Which token each predicted segment is to be read as. Pure functions of numbers."""

import numpy as np
from speechbrain.utils.edit_distance import EDIT_SYMBOLS, alignment, op_table


def overlaps(predicted, reference):
    """How much segments overlap: frames in common, of those in either.

    Arguments
    ---------
    predicted, reference : ssr_plugin.segmenters.base.Segments
        Of M and N segments.

    Returns
    -------
    np.ndarray
        [M, N], 0 to 1.
    """
    first = np.maximum(predicted.starts[:, None], reference.starts[None])
    last = np.minimum(predicted.boundaries[:, None], reference.boundaries[None])
    common = np.maximum(last - first + 1, 0)
    lengths = [s.boundaries - s.starts + 1 for s in (predicted, reference)]
    return common / (lengths[0][:, None] + lengths[1][None] - common)


def assign_tokens(predicted, reference, null):
    """Pairs predicted segments with forced ones, in order, to overlap most in all.

    Each forced segment's token goes to one predicted segment at most; one that gets
    none, since it was cut off another or lies in silence, is taught ``null``. A
    hypothesis that says the very token counts as much as a whole overlap.

    Arguments
    ---------
    predicted, reference : ssr_plugin.segmenters.base.Segments
        Of M and N segments.
    null : int
        What stands for no token.

    Returns
    -------
    np.ndarray
        [M] int

    Example
    -------
    >>> from ssr_plugin.segmenters.base import Segments
    >>> reference = Segments(np.array([5, 6]), np.array([0, 10]), np.array([9, 19]))
    >>> starts, boundaries = np.array([0, 4, 11]), np.array([3, 9, 19])
    >>> predicted = Segments(np.array([-1, -1, -1]), starts, boundaries)
    >>> assign_tokens(predicted, reference, null=99).tolist()
    [99, 5, 6]
    """
    gain = overlaps(predicted, reference)
    gain += (gain > 0) & (predicted.tokens[:, None] == reference.tokens[None])
    total = np.zeros((len(predicted) + 1, len(reference) + 1))
    for i, row in enumerate(gain, start=1):
        taken = np.maximum(total[i - 1, 1:], total[i - 1, :-1] + row)
        total[i, 1:] = np.maximum.accumulate(taken)
    tokens = np.full(len(predicted), null, dtype=np.int64)
    i, j = len(predicted), len(reference)
    while i and j:
        if total[i, j] == total[i - 1, j]:
            i -= 1
        elif total[i, j] == total[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            tokens[i] = reference.tokens[j]
    return tokens


def pair_tokens(hypothesis, reference, null):
    """Pairs a hypothesis's tokens with a transcript's, by the fewest edits.

    Arguments
    ---------
    hypothesis, reference : sequence of int
        M and N tokens.
    null : int
        What stands for no token.

    Returns
    -------
    np.ndarray
        [M] int: the token of the transcript that each stands for; ``null`` for one that
        was not said.

    Example
    -------
    >>> pair_tokens([5, 7, 8, 9], [5, 6, 8], null=99).tolist()
    [5, 6, 8, 99]
    """
    reference, hypothesis = [int(x) for x in reference], [int(x) for x in hypothesis]
    tokens = np.full(len(hypothesis), null, dtype=np.int64)
    for operation, i, j in alignment(op_table(reference, hypothesis)):
        if operation in (EDIT_SYMBOLS["eq"], EDIT_SYMBOLS["sub"]):
            tokens[j] = reference[i]
    return tokens
