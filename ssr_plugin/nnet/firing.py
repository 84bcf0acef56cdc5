"""Continuous integrate-and-fire: weights of frames add up, and fire at 1.

Dong & Xu, "CIF: Continuous Integrate-and-Fire for End-to-End Speech Recognition",
arXiv 1905.11235. Pure functions of weights, without any network.
"""

import torch


def _exact(weights):
    # Single precision loses hold of sums in the thousands, which an hour of speech has.
    # Apple's GPUs have nothing better.
    single = weights.device.type == "mps"
    return weights.to(torch.float32 if single else torch.float64)


def scale_weights(weights, counts):
    """Scales the weights of each row so that they sum to its count.

    Arguments
    ---------
    weights : torch.Tensor
        [B, T], not negative.
    counts : torch.Tensor
        [B] int

    Returns
    -------
    torch.Tensor
        [B, T], in double precision where there is one. A row of zeros stays so.

    Example
    -------
    >>> scale_weights(torch.tensor([[0.2, 0.2, 0.4]]), torch.tensor([2]))
    tensor([[0.5000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    weights = _exact(weights)
    total = weights.sum(1, keepdim=True)
    # As small as leaves sums of sigmoids alone, and a gradient finite.
    return weights * (counts.unsqueeze(1) / total.clamp_min(1e-12))


def fire(weights, count):
    """Cuts the accumulated weight of a row at frames' ends and at whole numbers.

    Vector i takes what accumulates between i and i + 1; a frame that spans several
    shares its weight among them. Each piece lies in one frame and one vector.

    Arguments
    ---------
    weights : torch.Tensor
        [B, T], not negative.
    count : int
        N, the number of vectors.

    Returns
    -------
    frame : torch.Tensor
        [B, T + N] int, the frame that a piece is of; T after the last frame.
    vector : torch.Tensor
        [B, T + N] int, the vector it goes to; N after the last vector.
    width : torch.Tensor
        [B, T + N], the weight of the piece; some are zero.

    Example
    -------
    >>> frame, vector, width = fire(torch.tensor([[0.75, 0.75, 0.5]]), 2)
    >>> frame.tolist(), vector.tolist(), width.tolist()
    ([[0, 1, 1, 2, 3]], [[0, 0, 1, 1, 1]], [[0.75, 0.25, 0.5, 0.5, 0.0]])
    """
    ends = _exact(weights).cumsum(1)
    marks = torch.arange(1, count + 1, device=ends.device, dtype=ends.dtype)
    edges = torch.cat([ends, marks.expand(len(ends), -1)], dim=1)
    edges, order = edges.sort(dim=1, stable=True)
    ends_frame = (order < ends.shape[1]).long()
    frame = ends_frame.cumsum(1) - ends_frame
    vector = (1 - ends_frame).cumsum(1) - (1 - ends_frame)
    return frame, vector, edges.diff(dim=1, prepend=edges.new_zeros(len(edges), 1))


def integrate(features, weights, count):
    """Sums of frames by their weights: one vector for each whole number passed.

    Cost is linear in T + N: no matrix of all frames and all vectors is made.

    Arguments
    ---------
    features : torch.Tensor
        [B, T, D]
    weights : torch.Tensor
        [B, T], not negative.
    count : int
        N, the number of vectors. Weight beyond is left out; a vector that too little
        weight is left for has what there is.

    Returns
    -------
    torch.Tensor
        [B, N, D]

    Example
    -------
    >>> frames = torch.tensor([[[4.0], [8.0], [16.0]]])
    >>> integrate(frames, torch.tensor([[0.75, 0.75, 0.5]]), 2).squeeze(2)
    tensor([[ 5., 12.]])
    """
    batch, num_frames, size = features.shape
    frame, vector, width = fire(weights, count)
    row, piece = torch.nonzero((frame < num_frames) & (vector < count), as_tuple=True)
    x = features[row, frame[row, piece]]
    x = x * width[row, piece].unsqueeze(1).to(x.dtype)
    index = row * count + vector[row, piece]
    return x.new_zeros(batch * count, size).index_add(0, index, x).view(batch, -1, size)


def quantity_loss(weights, counts):
    """How far weights are from summing to the number of vectors, as a share of it.

    Arguments
    ---------
    weights : torch.Tensor
        [B, T], before any scaling.
    counts : torch.Tensor
        [B] int

    Returns
    -------
    torch.Tensor
        Scalar: mean of ``|sum - count| / count`` over the rows that have a vector; 0 if
        none has.

    Example
    -------
    >>> quantity_loss(torch.tensor([[0.5, 0.5], [0.0, 0.0]]), torch.tensor([4, 0]))
    tensor(0.7500)
    """
    error = (weights.sum(1) - counts).abs() / counts.clamp_min(1)
    return (error * (counts > 0)).sum() / (counts > 0).sum().clamp_min(1)


def firing_frames(weights, threshold=1.0):
    """The frames at which the accumulated weight passes 1, 2, ... times a threshold.

    Arguments
    ---------
    weights : torch.Tensor or sequence of float
        [T], not negative, of one utterance.
    threshold : float
        Above 0.

    Returns
    -------
    list of int
        Strictly increasing: a frame that passes several of them is there once. The last
        frame is there too if at least half a threshold is left at the end.

    Example
    -------
    >>> firing_frames([0.6, 0.6, 0.6, 0.1, 0.3]), firing_frames([0.5, 0.5, 0.5, 0.1])
    ([1, 4], [1, 3])
    """
    weights = torch.as_tensor(weights, dtype=torch.float64, device="cpu")
    if len(weights) == 0:
        return []
    # Ten times 0.1 is 1, whatever rounding says.
    passed = (weights.detach().cumsum(0) / threshold * 1e6).round() / 1e6
    fired = passed.floor()
    frames = torch.nonzero(fired.diff(prepend=fired.new_zeros(1))).flatten().tolist()
    last = len(weights) - 1
    if passed[-1] - fired[-1] >= 0.5 and last not in frames[-1:]:
        frames.append(last)
    return frames
