"""Which tokens of a vocabulary to tell apart, and how far vectors are from them."""

import numpy as np
import torch


def distance_logits(z, table, norms=None):
    """Logits of the tokens of a table: minus the squared distance to each embedding.

    ``-|z - E_v|^2``, up to a constant of each row, which no softmax sees.

    Arguments
    ---------
    z : torch.Tensor
        [M, H]
    table : torch.Tensor
        [V, H]
    norms : torch.Tensor or None
        [V], squared norms of the embeddings, where they are known already.

    Returns
    -------
    torch.Tensor
        [M, V] float32

    Example
    -------
    >>> import torch
    >>> table = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> distance_logits(torch.tensor([[1.0, 0.0]]), table).tolist()
    [[1.0, -4.0]]
    """
    if norms is None:
        norms = table.float().square().sum(-1)
    return 2 * (z.to(table.dtype) @ table.T).float() - norms


def draw_candidates(targets, seen, vocab_size, count, generator=None):
    """The tokens that a step of training tells apart: its targets and some others.

    Arguments
    ---------
    targets : torch.Tensor
        [M] int
    seen : torch.Tensor
        [S] int, the token types that the training data has. Half of ``count`` are
        drawn among these, which are the likelier ones, the rest from the vocabulary.
    vocab_size : int
        V
    count : int
        How many tokens, targets included, unless these are more; 0 takes the whole
        vocabulary.
    generator : torch.Generator or None
        Of the CPU: gives what is drawn.

    Returns
    -------
    torch.Tensor
        [C] int, sorted, each once.

    Example
    -------
    >>> import torch
    >>> targets, seen = torch.tensor([7, 7]), torch.tensor([7, 8])
    >>> draw_candidates(targets, seen, 10, 0).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    >>> 7 in draw_candidates(targets, seen, 10, 4)
    True
    """
    if not count or count >= vocab_size:
        return torch.arange(vocab_size, device=targets.device)
    required = torch.unique(targets).cpu().numpy()
    wanted = max(count, len(required))
    known = seen.cpu().numpy()
    parts = [required]
    if len(known):
        drawn = torch.randint(len(known), (2 * count,), generator=generator)
        parts.append(_first_of_each(known[drawn.numpy()])[: count // 2])
    # Always as many: kernels are made anew for each new shape.
    while True:
        drawn = torch.randint(vocab_size, (2 * count,), generator=generator)
        chosen = _first_of_each(np.concatenate([*parts, drawn.numpy()]))
        if len(chosen) >= wanted:
            return torch.from_numpy(np.sort(chosen[:wanted])).to(targets.device)
        parts = [chosen]


def _first_of_each(numbers):
    """The different numbers, in the order in which they first come."""
    _, index = np.unique(numbers, return_index=True)
    return numbers[np.sort(index)]
