"""Long sequences in bounded memory: overlapping windows, their middles kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A run of frames to compute, and the run of them to keep; half-open, in frames."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


def split_windows(length: int, size: int, context: int) -> list[Window]:
    """Cuts a sequence into windows whose kept parts tile it.

    Arguments
    ---------
    length : int
        Frames of the whole sequence.
    size : int
        Most frames a window may have, context included.
    context : int
        Frames on either side of the kept part that are computed for its sake. At the
        ends of the sequence there is nothing beside it and nothing is dropped.

    Returns
    -------
    list of Window
        One window if the sequence fits, none if it is empty.

    Example
    -------
    >>> split_windows(10, size=6, context=1)  # doctest: +NORMALIZE_WHITESPACE
    [Window(start=0, stop=6, keep_start=0, keep_stop=5),
     Window(start=4, stop=10, keep_start=5, keep_stop=10)]
    """
    if size <= 2 * context:
        raise ValueError(f"a window of {size} frames is all context ({context} a side)")
    if length <= 0:
        return []
    if length <= size:
        return [Window(0, length, 0, length)]
    windows = []
    kept = 0
    while kept < length:
        start = max(kept - context, 0)
        stop = min(start + size, length)
        keep_stop = length if stop == length else stop - context
        windows.append(Window(start, stop, kept, keep_stop))
        kept = keep_stop
    return windows
