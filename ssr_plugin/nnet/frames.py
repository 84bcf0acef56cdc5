"""The small network over encoder frames that the trained segmenters share."""

import torch
import torch.nn.functional as F
from torch import nn

from ssr_plugin.nnet.layers import DecoderLayer, RMSNorm
from ssr_plugin.nnet.lengths import absolute_lengths


class FrameNetwork(nn.Module):
    """Layers of self-attention and convolution over all frames of an utterance.

    Each layer is a convolution over neighbouring frames, which also tells the order,
    then full attention and a SwiGLU feed-forward part, all pre-norm: a Conformer block
    (Gulati et al., arXiv 2005.08100) without statistics over the batch, so that padding
    changes nothing.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    width : int
        Of the states.
    num_layers : int
    num_heads : int
    kernel_size : int
        Frames that a convolution sees; odd.
    stack : int
        Neighbouring frames that go into one state; 2 halves the rate and quarters the
        cost of attention.
    dropout : float

    Example
    -------
    >>> network = FrameNetwork(6, width=8, num_layers=1, num_heads=2, stack=2)
    >>> states, lengths = network(torch.rand(2, 5, 6), torch.tensor([5, 2]))
    >>> states.shape, lengths
    (torch.Size([2, 3, 8]), tensor([3, 1]))
    """

    def __init__(
        self,
        input_size,
        width=256,
        num_layers=4,
        num_heads=4,
        kernel_size=15,
        stack=1,
        dropout=0.1,
    ):
        super().__init__()
        self.width = width
        self.stack = stack
        self.norm = nn.LayerNorm(input_size)
        self.project = nn.Linear(stack * input_size, width)
        self.dropout = nn.Dropout(dropout)
        shape = {
            "num_heads": num_heads,
            "num_kv_heads": num_heads,
            "head_size": width // num_heads,
            "hidden_size": 3 * width,
        }
        self.convolutions = nn.ModuleList(
            ConvolutionLayer(width, kernel_size, dropout) for _ in range(num_layers)
        )
        self.layers = nn.ModuleList(
            DecoderLayer(width, dropout=dropout, **shape) for _ in range(num_layers)
        )
        self.last_norm = RMSNorm(width, eps=1e-6)

    def forward(self, features, lengths):
        """Reads a padded batch.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        lengths : torch.Tensor
            [B] int, frames of each; or floats, shares of T.

        Returns
        -------
        states : torch.Tensor
            [B, ceil(T / stack), width]
        lengths : torch.Tensor
            [B] int, states of each.
        """
        lengths = absolute_lengths(lengths, features.shape[1])
        valid = frame_mask(lengths, features.shape[1])
        x = self.norm(features) * valid.unsqueeze(-1)
        x = F.pad(x, (0, 0, 0, -x.shape[1] % self.stack))
        x = self.dropout(self.project(x.unflatten(1, (-1, self.stack)).flatten(2)))
        lengths = (lengths + self.stack - 1) // self.stack
        valid = frame_mask(lengths, x.shape[1])
        mask = (valid.unsqueeze(1) | torch.eye(x.shape[1], device=x.device).bool())[
            :, None
        ]
        for convolution, layer in zip(self.convolutions, self.layers, strict=True):
            x = layer(convolution(x, valid), mask)
        return self.last_norm(x) * valid.unsqueeze(-1), lengths


class ConvolutionLayer(nn.Module):
    """The convolution part of a Conformer block, with an RMS norm for the batch norm.

    Arguments
    ---------
    width : int
    kernel_size : int
        Odd.
    dropout : float

    Example
    -------
    >>> layer = ConvolutionLayer(4, 3)
    >>> layer(torch.rand(1, 5, 4), torch.ones(1, 5, dtype=torch.bool)).shape
    torch.Size([1, 5, 4])
    """

    def __init__(self, width, kernel_size, dropout=0.0):
        super().__init__()
        self.norm = RMSNorm(width, eps=1e-6)
        self.enter = nn.Linear(width, 2 * width)
        self.convolve = nn.Conv1d(
            width, width, kernel_size, padding=kernel_size // 2, groups=width
        )
        self.inner_norm = RMSNorm(width, eps=1e-6)
        self.leave = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, valid):
        """[B, T, width] to the same; ``valid`` [B, T] bool is False at padding."""
        y = F.glu(self.enter(self.norm(x)), dim=-1) * valid.unsqueeze(-1)
        y = self.convolve(y.transpose(1, 2)).transpose(1, 2)
        return x + self.dropout(self.leave(F.silu(self.inner_norm(y))))


def frame_mask(lengths, num_frames):
    """Which frames are no padding; lengths may be shares of ``num_frames``.

    Example
    -------
    >>> frame_mask(torch.tensor([1, 2]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 0]]
    >>> frame_mask(torch.tensor([0.5, 1.0]), 2).int().tolist()
    [[1, 0], [1, 1]]
    """
    lengths = absolute_lengths(lengths, num_frames)
    return torch.arange(num_frames, device=lengths.device) < lengths.unsqueeze(1)
