"""From a label at every frame to the runs that mean something. Pure functions."""

import torch


def runs_of_labels(labels, blank=0):
    """The runs of equal labels that are no blank.

    Arguments
    ---------
    labels : torch.Tensor
        [T] int
    blank : int

    Returns
    -------
    labels, first, last : list of int
        Of each run: its label, and its first and last place.

    Example
    -------
    >>> runs_of_labels(torch.tensor([0, 2, 2, 0, 2, 3]))
    ([2, 2, 3], [1, 4, 5], [2, 4, 5])
    """
    found, counts = torch.unique_consecutive(labels, return_counts=True)
    last = counts.cumsum(0) - 1
    kept = found != blank
    runs = found[kept], (last - counts + 1)[kept], last[kept]
    return tuple(run.tolist() for run in runs)


def peaks(probabilities, threshold, min_distance):
    """The places of the highest probabilities, the likeliest first, none too near.

    Arguments
    ---------
    probabilities : torch.Tensor
        [T]
    threshold : float
        Least probability.
    min_distance : int
        Least distance of two places.

    Returns
    -------
    list of int
        In order.

    Example
    -------
    >>> peaks(torch.tensor([0.1, 0.8, 0.9, 0.1, 0.7]), 0.5, 2)
    [2, 4]
    """
    places = torch.nonzero(probabilities >= threshold).squeeze(1)
    order = probabilities[places].argsort(descending=True, stable=True)
    taken = torch.zeros(len(probabilities), dtype=torch.bool)
    found = []
    for place in places[order].tolist():
        if not taken[place]:
            found.append(place)
            taken[max(place - min_distance + 1, 0) : place + min_distance] = True
    return sorted(found)
