"""What the SSR connectors share: segments of frames to one state each."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from ssr_plugin.nnet.layers import DecoderLayer, RMSNorm, layer_shape
from ssr_plugin.nnet.segments import (
    contiguous_starts,
    pad_rows,
    segment_of_frame,
    segment_softmax,
    stack_frames,
    weighted_sums,
)
from ssr_plugin.nnet.windows import split_windows

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM

CONTEXTS = ("causal", "block", "full")
# Outside training, most segments that the layers see at once, more than a minute of
# speech, and those on either side of them that are read for their sake only.
_WINDOW, _CONTEXT = 256, 64


def context_mask(valid, context, block=None):
    """Which positions may look at which.

    Arguments
    ---------
    valid : torch.Tensor
        [B, L] bool, False for padding.
    context : str
        "causal": a position sees itself and all before it. "block": it sees what is
        in its own block up to itself, and the last position before the block (as
        published, Tan et al., arXiv 2410.00168). "full": it sees all.
    block : torch.Tensor or None
        [B, L] int, the block that a position is in; each position its own if None.

    Returns
    -------
    torch.Tensor
        [B, 1, L, L] bool. A padded position sees itself alone.

    Example
    -------
    >>> context_mask(torch.ones(1, 3, dtype=bool), "block")[0, 0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    length = valid.shape[1]
    position = torch.arange(length, device=valid.device)
    mask = valid.unsqueeze(1).expand(-1, length, -1)
    if context != "full":
        mask = mask & (position.unsqueeze(1) >= position)
    if context == "block":
        if block is None:
            block = position.expand(len(valid), -1)
        same = block.unsqueeze(2) == block.unsqueeze(1)
        before = F.pad(same[:, :, 1:], (0, 1)) & (
            block.unsqueeze(1) != F.pad(block[:, 1:], (0, 1), value=-2).unsqueeze(1)
        )
        mask = mask & (same | before)
    return (mask | torch.eye(length, dtype=torch.bool, device=valid.device)).unsqueeze(
        1
    )


class SegmentPool(nn.Module):
    """Attention pooling inside each segment, several heads at once.

    Each head weighs the frames of a segment by a softmax of learnt scores, which
    see the frame and where in the segment it stands, so that one head may settle
    on the onset and another on the end. No frame outside the segment takes part.

    Arguments
    ---------
    input_size : int
        D, width of the frames.
    output_size : int
        H, width of the result.
    num_pooling_heads : int
        P, how many weighted means are taken.
    hidden_size : int
        Width of the small network that gives the scores.

    Example
    -------
    >>> pool = SegmentPool(6, 8)
    >>> index = torch.tensor([[0, 0, 1, 1, -1]])
    >>> pool(torch.rand(1, 5, 6), index, count=2).shape
    torch.Size([1, 2, 8])
    """

    num_position_features = 6

    def __init__(self, input_size, output_size, num_pooling_heads=12, hidden_size=128):
        super().__init__()
        self.norm = nn.LayerNorm(input_size)
        self.score = nn.Sequential(
            nn.Linear(input_size + self.num_position_features, hidden_size),
            nn.GELU(),
            nn.Linear(hidden_size, num_pooling_heads),
        )
        self.project = nn.Linear(num_pooling_heads * input_size + 2, output_size)

    @staticmethod
    def position_features(offset, length):
        """Where in its segment a frame stands.

        Arguments
        ---------
        offset, length : torch.Tensor
            [F], frames before it in the segment, and frames in the segment.

        Returns
        -------
        torch.Tensor
            [F, 6]
        """
        left, right = offset.float(), (length - 1 - offset).float()
        relative = (left + 0.5) / length
        return torch.stack(
            [
                relative,
                torch.sin(torch.pi * relative),
                torch.cos(torch.pi * relative),
                torch.exp(-left / 4),
                torch.exp(-right / 4),
                torch.log(length.float()) / 4,
            ],
            dim=-1,
        )

    def forward(self, features, index, count):
        """Pools.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        index : torch.Tensor
            [B, T] int, the segment of each frame, -1 for none.
        count : int
            N, the number of segments in a row.

        Returns
        -------
        torch.Tensor
            [B, N, H]
        """
        batch = len(features)
        row, frame = torch.nonzero(index >= 0, as_tuple=True)
        x = self.norm(features[row, frame])
        segment = row * count + index[row, frame]
        size = batch * count
        length = torch.bincount(segment, minlength=size)
        first = torch.full_like(length, features.shape[1])
        first = first.scatter_reduce(0, segment, frame, "amin")
        position = self.position_features(frame - first[segment], length[segment])
        inputs = pad_rows(torch.cat([x, position.to(x.dtype)], dim=-1))
        scores = self.score(inputs)[: len(x)]
        weights = segment_softmax(scores, segment, size).to(x.dtype)
        means = weighted_sums(x, weights, segment, size).flatten(1)
        duration = torch.log1p(length.float()).unsqueeze(1).to(x.dtype) / 4
        x = torch.cat([means, duration, duration.square()], dim=-1)
        return self.project(x).unflatten(0, (batch, count))


class SSREncoder(nn.Module):
    """Segments of encoder frames to states, by decoder layers of the LLM's shape.

    Two forms:

    * ``form="token"``: each segment is pooled into one position first, then the
      decoder layers run over those; about ten times fewer positions.
    * ``form="frame"``: as published. The decoder layers run over all frames and the
      output at each segment's last frame is taken.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the width H and the layers' shape.
    form : str
        "token" or "frame".
    num_layers : int
        Decoder layers; 4 as published.
    context : str
        What a position sees besides itself: "causal" (all before it), "block" (frame
        form: its segment and the boundary frame before it; token form: the token
        before it) or "full" (all: better vectors, but they know what comes after
        them, so that an LLM must not be scored on predicting it).
    stack : int
        Frame form: how many neighbouring frames of a segment are put side by side
        into one position. 2 almost halves the positions.
    dropout : float
        In training. Raise it when the training data is small.
    num_pooling_heads : int
        Token form: weighted means that are taken of each segment's frames
        (:class:`SegmentPool`).

    Raises
    ------
    ValueError
        If there is no such form or context.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> from transformers import LlamaConfig
    >>> config = LlamaConfig(
    ...     hidden_size=8, num_attention_heads=2, num_key_value_heads=1,
    ...     intermediate_size=16,
    ... )
    >>> llm = SimpleNamespace(config=config, table=lambda: torch.rand(10, 8))
    >>> encoder = SSREncoder(6, llm)
    >>> encoder(torch.rand(2, 10, 6), torch.tensor([[3, 7, 9], [4, 5, -1]])).shape
    torch.Size([5, 8])
    """

    def __init__(
        self,
        input_size: int,
        llm: "TextLLM",
        form: str = "token",
        num_layers: int = 2,
        context: str = "causal",
        stack: int = 1,
        dropout: float = 0.0,
        num_pooling_heads: int = 12,
    ) -> None:
        super().__init__()
        if form not in ("token", "frame"):
            raise ValueError(f"form: {form!r} is neither 'token' nor 'frame'")
        if context not in CONTEXTS:
            raise ValueError(f"context: {context!r} is none of {', '.join(CONTEXTS)}")
        self.width = llm.table().shape[1]
        self.form = form
        self.context = context
        self.stack = stack
        if form == "token":
            self.pool = SegmentPool(input_size, self.width, num_pooling_heads)
        else:
            self.project = nn.Linear(stack * input_size, self.width, bias=False)
        shape = layer_shape(llm.config)
        self.layers = nn.ModuleList(
            DecoderLayer(self.width, **shape, dropout=dropout)
            for _ in range(num_layers)
        )
        self.norm = RMSNorm(self.width, eps=1e-6)

    def forward(
        self,
        features: torch.Tensor,
        boundaries: torch.Tensor,
        starts: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Reads segments.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        boundaries : torch.Tensor
            [B, N] int, the last frame of each segment, padded with -1.
        starts : torch.Tensor or None
            [B, N] int, the first frame of each segment; by default the frame after
            the boundary before it. The frame form does not use it.

        Returns
        -------
        torch.Tensor
            [M, H], of the M segments that are no padding.
        """
        if starts is None:
            starts = contiguous_starts(boundaries)
        if self.training or boundaries.shape[1] <= _WINDOW:
            states = self._encode(features, boundaries, starts)[boundaries >= 0]
            normed: torch.Tensor = self.norm(states)
            return normed
        # Each row alone: where windows lie must not depend on the rows beside it.
        counts = (boundaries >= 0).sum(1).tolist()
        rows = [
            self._encode_long(features[row], boundaries[row, :n], starts[row, :n])
            for row, n in enumerate(counts)
        ]
        normed = self.norm(torch.cat(rows))
        return normed

    def _encode_long(self, features, boundaries, starts):
        """[T, D] and [N] to [N, H], window by window."""
        states = []
        for w in split_windows(len(boundaries), _WINDOW, _CONTEXT):
            first = int(boundaries[w.start - 1]) + 1 if w.start else 0
            window = self._encode(
                features[None, first : int(boundaries[w.stop - 1]) + 1],
                boundaries[None, w.start : w.stop] - first,
                starts[None, w.start : w.stop] - first,
            )[0]
            states.append(window[w.keep_start - w.start : w.keep_stop - w.start])
        return torch.cat(states) if states else features.new_zeros(0, self.width)

    def _encode(self, features, boundaries, starts):
        if self.form == "token":
            return self._encode_tokens(features, boundaries, starts)
        return self._encode_frames(features, boundaries)

    def _run(self, x, mask):
        for layer in self.layers:
            x = layer(x, mask)
        return x

    def _encode_tokens(self, features, boundaries, starts):
        index = segment_of_frame(boundaries, starts, features.shape[1])
        x = self.pool(features, index, boundaries.shape[1])
        return self._run(x, context_mask(boundaries >= 0, self.context))

    def _encode_frames(self, features, boundaries):
        x, ends = stack_frames(features, boundaries, self.stack)
        block = segment_of_frame(ends, contiguous_starts(ends), x.shape[1])
        x = self._run(self.project(x), context_mask(block >= 0, self.context, block))
        ends = ends.clamp_min(0).unsqueeze(-1).expand(-1, -1, x.shape[-1])
        return x.gather(1, ends)
