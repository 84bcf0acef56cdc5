"""What brings a rival's readings of segments to the LLM's width."""

from torch import nn


def projector(
    input_size: int, output_size: int, hidden_size: int | None = None
) -> nn.Module:
    """A linear layer, or two with a ReLU between them.

    Arguments
    ---------
    input_size, output_size : int
    hidden_size : int or None
        Width between the two layers; one layer if None.

    Returns
    -------
    torch.nn.Module

    Example
    -------
    >>> projector(6, 8)
    Linear(in_features=6, out_features=8, bias=True)
    >>> len(projector(6, 8, hidden_size=16))
    3
    """
    if hidden_size is None:
        return nn.Linear(input_size, output_size)
    return nn.Sequential(
        nn.Linear(input_size, hidden_size),
        nn.ReLU(),
        nn.Linear(hidden_size, output_size),
    )
