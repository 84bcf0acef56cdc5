"""Losses of stage 1: pure functions of vectors and embeddings.

z stands for the connector's vectors, h for the LLM's embeddings of the same tokens,
both [..., H]. A mean is over all vectors, or a weighted sum of them: weights are of the
shape [...] and sum to 1, so that padding has the weight 0. The gradient reaches z
alone, as embeddings are frozen. Torch's own gradients, which could reach both, take
twice as many operators.
"""

import torch


def squared_error(z, h, weight=None):
    """Squared distance, summed over the dimensions, averaged over tokens.

    ``mean_i sum_d (z_id - h_id)^2`` (Tan et al., arXiv 2410.00168).

    Example
    -------
    >>> import torch
    >>> squared_error(torch.zeros(2, 3), torch.ones(2, 3))
    tensor(3.)
    """
    return _SquaredError.apply(z, h, _shares(z, weight))


def relative_squared_error(z, h, weight=None):
    """:func:`squared_error` divided by the mean squared norm of the embeddings.

    1 is what zero vectors give, whatever the scale of the embeddings.

    Example
    -------
    >>> import torch
    >>> relative_squared_error(torch.zeros(2, 3), 5 * torch.ones(2, 3))
    tensor(1.)
    """
    scale = squared_error(h, torch.zeros_like(h), weight).clamp_min(1e-12)
    return squared_error(z, h, weight) / scale


def cosine_distance(z, h, center=None, weight=None):
    """``mean_i (1 - cos(z_i, h_i))``, after taking away a common vector if given.

    Embedding tables share a large mean, which any vector near it profits from;
    around ``center`` (the table's mean) the cosine tells tokens apart.

    Arguments
    ---------
    z, h : torch.Tensor
        [..., H]
    center : torch.Tensor or None
        [H]
    weight : torch.Tensor or None
        [...]

    Example
    -------
    >>> import torch
    >>> z, h = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> cosine_distance(z, h), cosine_distance(z, h, center=torch.tensor([-1.0, -1.0]))
    (tensor(1.), tensor(0.2000))
    """
    return _CosineDistance.apply(z, h, center, _shares(z, weight))


class _SquaredError(torch.autograd.Function):
    """``sum_i share_i |z_i - h_i|^2``."""

    @staticmethod
    def forward(ctx, z, h, shares):
        difference = z - h
        weighted = difference * shares
        ctx.save_for_backward(weighted)
        return torch.dot(weighted.flatten(), difference.flatten())

    @staticmethod
    def backward(ctx, grad):
        (weighted,) = ctx.saved_tensors
        return weighted * (2 * grad), None, None


class _CosineDistance(torch.autograd.Function):
    """``sum_i share_i (1 - cos(z_i - center, h_i - center))``."""

    @staticmethod
    def forward(ctx, z, h, center, shares):
        both = torch.stack([z, h])
        if center is not None:
            both -= center
        length = torch.linalg.vector_norm(both, dim=-1, keepdim=True).clamp_min_(_EPS)
        z, h = both.div_(length)
        cosine = (z * h).sum(-1, keepdim=True)
        ctx.save_for_backward(z, h, length[0], cosine, shares)
        return torch.dot((1 - cosine).flatten(), shares.flatten())

    @staticmethod
    def backward(ctx, grad):
        z, h, length, cosine, shares = ctx.saved_tensors
        # d cos / dz = (h/|h| - cos z/|z|) / |z|
        slope = torch.addcmul(h, z, cosine, value=-1)
        return slope.mul_(shares * -grad / length), None, None, None


# As torch's own cosine.
_EPS = 1e-8


def _shares(z, weight):
    """[..., 1], each vector's share of the mean over vectors [..., H]."""
    if weight is None:
        weight = z.new_full(z.shape[:-1], 1 / z[..., 0].numel())
    return weight.unsqueeze(-1)
