"""Losses of stage 1: pure functions of vectors and embeddings.

z stands for the connector's vectors, h for the LLM's embeddings of the same tokens,
both [..., H]. A mean is over all vectors, or a weighted sum of them: weights are of the
shape [...] and sum to 1, so that padding has the weight 0.
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
    return _mean((z - h).square().sum(-1), weight)


def relative_squared_error(z, h, weight=None):
    """:func:`squared_error` divided by the mean squared norm of the embeddings.

    1 is what zero vectors give, whatever the scale of the embeddings.

    Example
    -------
    >>> import torch
    >>> relative_squared_error(torch.zeros(2, 3), 5 * torch.ones(2, 3))
    tensor(1.)
    """
    scale = _mean(h.square().sum(-1), weight).clamp_min(1e-12)
    return squared_error(z, h, weight) / scale


def cosine_distance(z, h, center=None, weight=None):
    """``mean_i (1 - cos(z_i, h_i))``, after taking away a common vector if given.

    Embedding tables share a large mean, which any vector near it profits from;
    around ``center`` (the table's mean) the cosine tells tokens apart.

    Arguments
    ---------
    z, h : torch.Tensor
        [..., H]; the gradient reaches z alone.
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
    if center is not None:
        z, h = z - center, h - center
    total = 1.0 if weight is None else weight.sum()
    return total - _mean(_Cosine.apply(z, h), weight)


class _Cosine(torch.autograd.Function):
    """The cosine of [..., H] and [..., H], whose gradient reaches the first alone.

    Torch's own takes four times as many passes, since it could reach both.
    """

    @staticmethod
    def forward(ctx, z, h):
        h = h / torch.linalg.vector_norm(h, dim=-1, keepdim=True).clamp_min(_EPS)
        norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True).clamp_min(_EPS)
        z = z / norm
        cosine = (z * h).sum(-1, keepdim=True)
        ctx.save_for_backward(z, h, norm, cosine)
        return cosine.squeeze(-1)

    @staticmethod
    def backward(ctx, grad):
        z, h, norm, cosine = ctx.saved_tensors
        # d cos / dz = (h/|h| - cos z/|z|) / |z|
        slope = torch.addcmul(h, z, cosine, value=-1)
        return slope.mul_(grad.unsqueeze(-1) / norm), None


# As torch's own cosine.
_EPS = 1e-8


def _mean(values, weight):
    """Of [...], plain or weighted."""
    if weight is None:
        return values.mean()
    return torch.dot(values.flatten(), weight.flatten())
