"""Losses of stage 1: pure functions of vectors and embeddings.

z stands for the connector's vectors, h for the LLM's embeddings of the same tokens,
both [M, H] with padding already left out.
"""

import torch.nn.functional as F


def squared_error(z, h):
    """Squared distance, summed over the dimensions, averaged over tokens.

    ``mean_i sum_d (z_id - h_id)^2`` (Tan et al., arXiv 2410.00168).

    Example
    -------
    >>> import torch
    >>> squared_error(torch.zeros(2, 3), torch.ones(2, 3))
    tensor(3.)
    """
    return (z - h).square().sum(-1).mean()


def relative_squared_error(z, h):
    """:func:`squared_error` divided by the mean squared norm of the embeddings.

    1 is what zero vectors give, whatever the scale of the embeddings.

    Example
    -------
    >>> import torch
    >>> relative_squared_error(torch.zeros(2, 3), 5 * torch.ones(2, 3))
    tensor(1.)
    """
    return squared_error(z, h) / h.square().sum(-1).mean().clamp_min(1e-12)


def cosine_distance(z, h, center=None):
    """``mean_i (1 - cos(z_i, h_i))``, after taking away a common vector if given.

    Embedding tables share a large mean, which any vector near it profits from;
    around ``center`` (the table's mean) the cosine tells tokens apart.

    Arguments
    ---------
    z, h : torch.Tensor
        [M, H]
    center : torch.Tensor or None
        [H]

    Example
    -------
    >>> import torch
    >>> z, h = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> cosine_distance(z, h), cosine_distance(z, h, center=torch.tensor([-1.0, -1.0]))
    (tensor(1.), tensor(0.2000))
    """
    if center is not None:
        z, h = z - center, h - center
    return 1 - F.cosine_similarity(z, h, dim=-1).mean()
