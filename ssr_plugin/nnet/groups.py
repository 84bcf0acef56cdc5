"""What goes through a network together, in bounded memory."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def split_groups(
    items: Iterable[T], size: Callable[[T], float], most: float, padded: bool = False
) -> list[list[T]]:
    """Neighbours in groups of at most so much, or of one that is more by itself.

    Arguments
    ---------
    items : iterable
    size : callable
        Item -> what it takes (samples, frames, tokens, seconds).
    most : float
        What a group may take.
    padded : bool
        Whether each item of a group takes what the largest does. Items that come in
        order of their size then waste little.

    Returns
    -------
    list of list
        The items in their order; no group is empty.

    Example
    -------
    >>> split_groups(["a", "bc", "d", "efgh", "i"], len, most=4)
    [['a', 'bc', 'd'], ['efgh'], ['i']]
    >>> split_groups(["a", "bc", "d", "efgh", "i"], len, most=4, padded=True)
    [['a', 'bc'], ['d'], ['efgh'], ['i']]
    """
    groups: list[list[T]] = []
    largest = total = 0.0
    for item in items:
        weight = size(item)
        largest, total = max(largest, weight), total + weight
        if groups and padded:
            total = largest * (len(groups[-1]) + 1)
        if groups and total <= most:
            groups[-1].append(item)
        else:
            groups.append([item])
            largest = total = weight
    return groups
