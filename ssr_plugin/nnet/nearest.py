"""The nearest embeddings of a table."""

import torch


def squared_norms(table, rows_at_once=16384):
    """Squared lengths of the embeddings of a table.

    Arguments
    ---------
    table : torch.Tensor
        [V, H], of any floating type.
    rows_at_once : int
        Bounds the memory that a half-precision table needs besides its own.

    Returns
    -------
    torch.Tensor
        [V] float32

    Example
    -------
    >>> squared_norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([25.,  1.])
    """
    return torch.cat([x.float().square().sum(-1) for x in table.split(rows_at_once)])


def nearest_tokens(vectors, table, norms=None, rows_at_once=512):
    """The token whose embedding is nearest, over the whole vocabulary.

    Arguments
    ---------
    vectors : torch.Tensor
        [M, H]
    table : torch.Tensor
        [V, H]
    norms : torch.Tensor or None
        [V], :func:`squared_norms` of the table, where they are known already.
    rows_at_once : int
        Bounds the memory: [rows_at_once, V] distances at a time.

    Returns
    -------
    torch.Tensor
        [M] int

    Example
    -------
    >>> table = torch.tensor([[0.0, 0.0], [3.0, 3.0], [9.0, 9.0]])
    >>> nearest_tokens(torch.tensor([[2.0, 3.0]]), table).tolist()
    [1]
    """
    norms = squared_norms(table) if norms is None else norms
    tokens = [
        (norms - 2 * (chunk.to(table.dtype) @ table.T).float()).argmin(-1)
        for chunk in vectors.split(rows_at_once)
    ]
    return torch.cat(tokens) if tokens else vectors.new_zeros(0, dtype=torch.long)
