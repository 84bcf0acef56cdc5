"""The learning rate as a function of the training's progress."""

import math


def warmup_cosine(progress, warmup, floor=0.02):
    """Share of the peak learning rate: linear warm-up, then half a cosine.

    It depends on the progress alone, so a restarted run continues with the same rates.

    Arguments
    ---------
    progress : float
        Share of the training done, 0 to 1.
    warmup : float
        Share of the training over which the rate rises.
    floor : float
        Its value at the end.

    Returns
    -------
    float

    Example
    -------
    >>> [round(warmup_cosine(x, 0.1), 2) for x in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.51, 0.02]
    """
    if progress < warmup:
        return progress / warmup
    decay_progress = (progress - warmup) / max(1 - warmup, 1e-9)
    return floor + (1 - floor) * 0.5 * (
        1 + math.cos(math.pi * min(decay_progress, 1.0))
    )
