"""A smaller part of a set, always the same."""

import random


def draw_names(names, max_items=None):
    """So many names, drawn at random but always the same.

    Arguments
    ---------
    names : iterable of str
    max_items : int or None
        None is all.

    Returns
    -------
    list of str
        Sorted.

    Example
    -------
    >>> draw_names("dbca"), draw_names("dbca", 3) == draw_names("abcd", 3)
    (['a', 'b', 'c', 'd'], True)
    """
    names = sorted(names)
    if max_items is None or max_items >= len(names):
        return names
    return sorted(random.Random(0).sample(names, max_items))
