"""From times to frames: which frames belong to which token.

Pure functions of numbers, with no tokenizer, encoder or alignment tool in them.
"""

import itertools

import numpy as np

SILENCE_POLICIES = ("previous", "next", "split", "drop")


def character_times(length, units):
    """Times of the characters of a text, from the times of its units.

    Inside a unit the time is shared out evenly over its characters. A character
    that no unit covers (a space, punctuation) takes no time: it starts and ends
    where the unit before it ends, or, at the head of the text, where the first
    unit starts.

    Arguments
    ---------
    length : int
        Number of characters of the text.
    units : iterable of ssr_plugin.alignment.record.Unit
        In order, without overlap.

    Returns
    -------
    starts, ends : np.ndarray
        [length] each, in seconds, never decreasing.
    spoken : np.ndarray
        [length] bool: whether a unit covers the character.

    Example
    -------
    >>> from ssr_plugin.alignment.record import Unit
    >>> starts, ends, spoken = character_times(4, [Unit("ab", 1.0, 2.0, 0)])
    >>> ends.tolist(), spoken.tolist()
    ([1.5, 2.0, 2.0, 2.0], [True, True, False, False])
    """
    units = list(units)
    starts = np.zeros(length)
    ends = np.zeros(length)
    spoken = np.zeros(length, dtype=bool)
    last = units[0].start if units else 0.0
    position = 0
    for unit in units:
        starts[position : unit.offset] = ends[position : unit.offset] = last
        position = unit.offset + len(unit.text)
        edges = np.linspace(unit.start, unit.end, len(unit.text) + 1)
        starts[unit.offset : position] = edges[:-1]
        ends[unit.offset : position] = edges[1:]
        spoken[unit.offset : position] = True
        last = unit.end
    starts[position:] = ends[position:] = last
    return starts, ends, spoken


def token_times(spans, starts, ends, spoken):
    """Times at which each token's speech starts and ends.

    Tokens that are the bytes of one character share its time evenly.

    Arguments
    ---------
    spans : list of (int, int)
        The characters [first, last + 1) of each token, in order. An empty span, or
        one of unspoken characters only, is a token that takes no time.
    starts, ends, spoken : np.ndarray
        As :func:`character_times` gives them.

    Returns
    -------
    token_starts, token_ends : np.ndarray
        [N] each, in seconds, never decreasing.

    Example
    -------
    >>> times = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]), np.ones(3, bool)
    >>> token_times([(0, 2), (2, 3)], *times)
    (array([0., 2.]), array([2., 3.]))
    """
    last = starts[0] if len(starts) else 0.0
    token_starts = np.empty(len(spans))
    token_ends = np.empty(len(spans))
    indices = [first + np.flatnonzero(spoken[first:stop]) for first, stop in spans]
    finals = [each[-1] if len(each) else None for each in indices]
    for final, run in itertools.groupby(range(len(spans)), key=finals.__getitem__):
        run = list(run)
        for left, i in zip(reversed(range(len(run))), run, strict=True):
            token_starts[i] = last
            if final is not None:
                token_starts[i] = max(last, starts[indices[i][0]])
                share = (ends[final] - starts[final]) * left / len(run)
                last = max(last, ends[final] - share)
            token_ends[i] = last
    return token_starts, token_ends


def give_silence(token_starts, token_ends, duration, policy="previous"):
    """Gives the silence between tokens to one of its neighbours.

    Silence before the first token is given to none.

    Arguments
    ---------
    token_starts, token_ends : np.ndarray
        [N] each, in seconds.
    duration : float
        Length of the audio in seconds, where the silence after the last token ends.
    policy : str
        "previous": to the token before it, "next": to the token after it, "split":
        half to each, "drop": to none.

    Returns
    -------
    starts, ends : np.ndarray
        [N] each, in seconds, never decreasing.

    Raises
    ------
    ValueError
        If there is no such policy.

    Example
    -------
    >>> starts, ends = np.array([1.0, 3.0]), np.array([2.0, 4.0])
    >>> give_silence(starts, ends, 5.0, "previous")
    (array([1., 3.]), array([3., 5.]))
    >>> give_silence(starts, ends, 5.0, "split")
    (array([1. , 2.5]), array([2.5, 4.5]))
    """
    if policy not in SILENCE_POLICIES:
        raise ValueError(
            f"unknown silence policy '{policy}'; known: {', '.join(SILENCE_POLICIES)}"
        )
    if policy == "drop" or len(token_starts) == 0:
        return token_starts, token_ends
    next_starts = np.append(token_starts[1:], max(duration, token_ends[-1]))
    share = {"previous": 1.0, "next": 0.0, "split": 0.5}[policy]
    ends = token_ends + share * np.maximum(next_starts - token_ends, 0.0)
    starts = np.append(token_starts[:1], ends[:-1])
    return starts, ends


def to_frames(starts, ends, frame_rate, num_frames):
    """Frames of each token: at least one each, in order, none shared.

    A frame k stands for the time [k, k + 1) / frame_rate. Where tokens crowd into
    fewer frames than they need, they are spread over the neighbouring frames.

    Arguments
    ---------
    starts, ends : np.ndarray
        [N] each, in seconds, never decreasing.
    frame_rate : float
        In Hz.
    num_frames : int
        Number of frames T.

    Returns
    -------
    first_frames, boundaries : np.ndarray
        [N] int each: the first and the last frame of each token. Boundaries strictly
        increase and are below T; a first frame is never after its boundary nor
        before the boundary of the token before it.

    Raises
    ------
    ValueError
        If there are fewer frames than tokens.

    Example
    -------
    >>> to_frames(np.array([0.0, 0.04]), np.array([0.04, 0.1]), 50.0, 5)
    (array([0, 2]), array([1, 4]))
    >>> to_frames(np.zeros(3), np.zeros(3), 50.0, 5)
    (array([0, 1, 2]), array([0, 1, 2]))
    """
    count = len(ends)
    if num_frames < count:
        raise ValueError(f"{count} tokens do not fit into {num_frames} frames")
    if count == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    # A time that is a whole number of frames but for rounding is that number.
    boundaries = np.ceil(np.round(ends * frame_rate, 6)).astype(np.int64) - 1
    order = np.arange(count)
    # Strictly increasing from the left, then room for those to the right.
    boundaries = np.maximum.accumulate(np.maximum(boundaries, 0) - order) + order
    boundaries = np.minimum(boundaries, num_frames - count + order)
    earliest = np.append(-1, boundaries[:-1]) + 1
    first = np.floor(np.round(starts * frame_rate, 6)).astype(np.int64)
    return np.clip(first, earliest, boundaries), boundaries
