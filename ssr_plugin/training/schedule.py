"""The learning rate as a function of how much of the training is done."""

import math


def warmup_cosine(done, warmup, floor=0.02):
    """Share of the peak learning rate: linear warm-up, then half a cosine.

    It depends on nothing but the share of the training done, so a restarted run needs
    no other state to go on with the same rates.

    Arguments
    ---------
    done : float
        Share of the training done, 0 to 1.
    warmup : float
        Share of the training over which the rate rises.
    floor : float
        What it falls to in the end.

    Returns
    -------
    float

    Example
    -------
    >>> [round(warmup_cosine(done, 0.1), 2) for done in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.51, 0.02]
    """
    if done < warmup:
        return done / warmup
    left = (done - warmup) / max(1 - warmup, 1e-9)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(left, 1.0)))
