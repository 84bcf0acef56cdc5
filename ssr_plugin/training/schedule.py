"""The learning rate as a function of the training's progress."""

import math

import torch


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


def set_learning_rate(optimizer, rate):
    """Sets the learning rate of all of an optimizer's parameters.

    That of one whose step a GPU records is a number on the GPU, which a recorded step
    reads anew.

    Arguments
    ---------
    optimizer : torch.optim.Optimizer
    rate : float

    Example
    -------
    >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> set_learning_rate(optimizer, 0.5)
    >>> optimizer.param_groups[0]["lr"]
    0.5
    """
    for group in optimizer.param_groups:
        if not group.get("capturable"):
            group["lr"] = rate
            continue
        device = group["params"][0].device
        if isinstance(group["lr"], torch.Tensor) and group["lr"].device == device:
            group["lr"].fill_(rate)
        else:
            # The first time, and after a checkpoint was loaded.
            group["lr"] = torch.tensor(rate, device=device)
