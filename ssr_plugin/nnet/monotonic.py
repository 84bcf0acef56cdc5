"""Monotonic alignment of frames and symbols: search, loss and prior. Pure functions.

Every symbol takes a run of at least one frame, in order, and the runs fill all frames.
A symbol may be optional (a pause): the search may leave it out.
"""

import numpy as np
import torch
import torch.nn.functional as F

# Log-probability of what cannot be; infinity would give gradients that are no numbers.
NEVER = -1e4


def search(blocks, lengths, counts, optional):
    """The best way for symbols to fill the frames (monotonic alignment search).

    Kim et al. (Glow-TTS, arXiv 2005.11129), with symbols that may be left out.

    Arguments
    ---------
    blocks : iterable of np.ndarray
        [B, t, N] each: scores of every symbol at the next t frames, T in all. They may
        be made one after the other: only one byte per frame and symbol is kept.
    lengths : sequence of int
        [B] frames of each utterance.
    counts : sequence of int
        [B] symbols of each, 1 at least.
    optional : np.ndarray
        [B, N] bool: which symbols may be left out. No two neighbours may be.

    Returns
    -------
    np.ndarray
        [B, T] int: the symbol of each frame; -1 at padding, and everywhere in an
        utterance whose symbols do not fit into its frames.

    Example
    -------
    >>> scores = np.array([[[0, -9], [0, -9], [-9, 0]]])
    >>> search([scores], [3], [2], np.array([[False, False]]))
    array([[0, 0, 1]])
    """
    lengths, counts = np.asarray(lengths), np.asarray(counts)
    rows, last = np.arange(len(counts)), counts - 1
    ends = {t: np.flatnonzero(lengths == t + 1) for t in set((lengths - 1).tolist())}
    # Two columns in front, for symbols to be reached from.
    value = np.full((len(rows), optional.shape[1] + 2), -np.inf)
    stay, step, skip = value[:, 2:], value[:, 1:-1], value[:, :-2]
    # Before the first frame, one is in front of the first symbol.
    value[:, 1] = 0.0
    barrier = np.where(np.pad(optional[:, :-1], ((0, 0), (1, 0))), 0.0, -np.inf)
    final = np.full(len(rows), -1)
    moves, best = [], np.empty_like(barrier)
    jumped, jumps = np.empty_like(barrier), np.empty(barrier.shape, dtype=bool)
    t = 0
    for block in blocks:
        block_moves = np.empty((block.shape[1], *barrier.shape), dtype=np.int8)
        moves.append(block_moves)
        for scores, move in zip(block.swapaxes(0, 1), block_moves, strict=True):
            np.greater(step, stay, out=move, casting="unsafe")
            np.maximum(step, stay, out=best)
            np.add(skip, barrier, out=jumped)
            np.greater(jumped, best, out=jumps)
            move[jumps] = 2
            np.maximum(best, jumped, out=best)
            np.add(best, scores, out=stay)
            value[:, 1] = -np.inf
            if t in ends:
                final[ends[t]] = _final(stay, ends[t], last, optional)
            t += 1
    return _trace_back(moves, lengths, final, ends)


def _final(value, rows, last, optional):
    """The symbol in which each utterance ends; -1 where there is no way to an end."""
    last = last[rows]
    before = np.maximum(last - 1, 0)
    early = optional[rows, last] & (value[rows, before] > value[rows, last])
    symbol = np.where(early, before, last)
    return np.where(np.isfinite(value[rows, symbol]), symbol, -1)


def _trace_back(moves, lengths, final, ends):
    """The symbol of each frame, from the moves that led to it."""
    rows = np.arange(len(lengths))
    count = sum(len(block_moves) for block_moves in moves)
    path = np.full((len(rows), count), -1)
    symbol = np.zeros(len(rows), dtype=np.int64)
    t = count
    for block_moves in reversed(moves):
        for move in block_moves[::-1]:
            t -= 1
            if t in ends:
                symbol[ends[t]] = np.maximum(final[ends[t]], 0)
            path[:, t] = symbol
            symbol = np.maximum(symbol - move[rows, symbol], 0)
    path[(np.arange(count) >= lengths[:, None]) | (final < 0)[:, None]] = -1
    return path


def runs_of_path(path, count):
    """The frames of each symbol.

    Arguments
    ---------
    path : np.ndarray
        [T] int, the symbol of each frame, never decreasing.
    count : int
        N

    Returns
    -------
    list of (int, int)
        Half-open range of frames of each; an empty one where it was left out.

    Example
    -------
    >>> runs_of_path(np.array([0, 0, 2]), 3)
    [(0, 2), (2, 2), (2, 3)]
    """
    edges = np.searchsorted(path, np.arange(count + 1)).tolist()
    return list(zip(edges, edges[1:], strict=False))


def forward_sum(log_probs, lengths, counts):
    """Minus the log-probability of all ways for symbols to fill the frames.

    Badlani et al. (arXiv 2108.10447), eq. 3-4: CTC over the text's positions, no two of
    which are the same. Here its blank, which would take frames, has no probability; and
    no symbol is left out, since letters then learn to take the pauses.

    Arguments
    ---------
    log_probs : torch.Tensor
        [B, T, N], normalised over the N symbols.
    lengths, counts : torch.Tensor
        [B] int, frames and symbols of each.

    Returns
    -------
    torch.Tensor
        [B]; 0 where the symbols do not fit into the frames.

    Example
    -------
    >>> even = torch.full((1, 3, 2), 0.5).log()
    >>> forward_sum(even, torch.tensor([3]), torch.tensor([2])).exp()
    tensor([4.])
    """
    positions = torch.arange(1, log_probs.shape[2] + 1, device=log_probs.device)
    return F.ctc_loss(
        F.pad(log_probs, (1, 0), value=NEVER).transpose(0, 1),
        positions.expand(len(log_probs), -1),
        lengths,
        counts,
        reduction="none",
        zero_infinity=True,
    )


def beta_binomial(lengths, counts, num_frames, num_symbols, scale=1.0):
    """Log-probability of each symbol at each frame, from its position alone.

    The diagonal prior of Shih et al. (RAD-TTS) and Badlani et al., section 3.1.2.

    Arguments
    ---------
    lengths, counts : torch.Tensor
        [B] int, frames and symbols of each.
    num_frames, num_symbols : int
        T and N
    scale : float
        Omega: narrower where it is greater.

    Returns
    -------
    torch.Tensor
        [B, T, N]; ``NEVER`` at padding.

    Example
    -------
    >>> prior = beta_binomial(torch.tensor([2]), torch.tensor([2]), 2, 3).exp()
    >>> prior.numpy().round(3)
    array([[[0.667, 0.333, 0.   ],
            [0.333, 0.667, 0.   ]]], dtype=float32)
    """
    frames = torch.arange(num_frames, device=lengths.device)[:, None]
    symbols = torch.arange(num_symbols, device=lengths.device)
    lengths, n = lengths[:, None, None], counts[:, None, None] - 1
    a = scale * (frames + 1)
    b = scale * (lengths - frames).clamp_min(1)
    k, rest = symbols.float(), (n - symbols).clamp_min(0)
    log_pmf = (
        (_log_beta(k + a, rest + b) - _log_beta(a, b))
        - torch.log1p(n.float())
        - _log_beta(k + 1, rest + 1.0)
    )
    valid = (frames < lengths) & (symbols <= n)
    return log_pmf.masked_fill(~valid, NEVER)


def _log_beta(a, b):
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
