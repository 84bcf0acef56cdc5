"""What the SSR connectors share: segments of frames to one state each."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.connectors.base import Planner
from ssr_plugin.nnet.layers import DecoderLayer, RMSNorm, layer_shape
from ssr_plugin.nnet.pooling import (
    NUM_DURATION_FEATURES,
    NUM_POSITION_FEATURES,
    gather_blocks,
    plan_pooling,
    pool_blocks,
)
from ssr_plugin.nnet.segments import contiguous_starts
from ssr_plugin.nnet.spelling import Spelling
from ssr_plugin.nnet.stacking import plan_stacking, stack_frames
from ssr_plugin.nnet.windows import split_windows

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM

CONTEXTS = ("causal", "block", "full")
# Outside training, most segments that the layers see at once, more than a minute of
# speech, and those on either side of them that are read for their sake only.
_WINDOW, _CONTEXT = 256, 64
# Windows that a GPU reads together; a CPU, which gains nothing by it, reads one.
_WINDOWS_TOGETHER = 16


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
    >>> boundaries, starts = torch.tensor([[1, 3]]), torch.tensor([[0, 2]])
    >>> plan = plan_pooling(boundaries, starts, num_frames=5)
    >>> SegmentPool(6, 8)(torch.rand(1, 5, 6), plan).shape
    torch.Size([1, 2, 8])
    """

    def __init__(self, input_size, output_size, num_pooling_heads=12, hidden_size=128):
        super().__init__()
        self.norm = nn.LayerNorm(input_size)
        self.score = nn.Sequential(
            nn.Linear(input_size + NUM_POSITION_FEATURES, hidden_size),
            nn.GELU(),
            nn.Linear(hidden_size, num_pooling_heads),
        )
        means = num_pooling_heads * input_size
        self.project = nn.Linear(means + NUM_DURATION_FEATURES, output_size)

    def forward(self, features, plan):
        """Pools.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        plan : dict of torch.Tensor
            Of :func:`ssr_plugin.nnet.pooling.plan_pooling`, on the same device.

        Returns
        -------
        torch.Tensor
            [B, N, H]; of no meaning at padding.
        """
        x = self.norm(gather_blocks(features, plan))
        scores = self.score(torch.cat([x, plan["position"]], dim=-1))
        duration = plan["duration"]
        means = pool_blocks(x.to(scores.dtype), scores, plan)
        means = means.unflatten(0, duration.shape[:2])
        return self.project(torch.cat([means, duration.to(means.dtype)], dim=-1))


@dataclasses.dataclass(frozen=True)
class SSRPlanner(Planner):
    """What an SSR connector needs to know of a batch, made on the host.

    Arguments
    ---------
    form : str
    stack : int
        As in :class:`SSREncoder`.
    spelling : ssr_plugin.nnet.spelling.Spelling or None
        Of a vocabulary head.

    Example
    -------
    >>> boundaries, starts = torch.tensor([[1, 3]]), torch.tensor([[0, 2]])
    >>> sorted(SSRPlanner("frame").plan(boundaries, starts, num_frames=5))
    ['block', 'end', 'present', 'source']
    """

    form: str
    stack: int = 1
    spelling: Spelling | None = None

    def plan(
        self,
        boundaries: torch.Tensor,
        starts: torch.Tensor,
        num_frames: int,
        candidates: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """See :meth:`Planner.plan`."""
        if self.form == "token":
            plan = plan_pooling(boundaries, starts, num_frames)
        else:
            plan = plan_stacking(boundaries, num_frames, self.stack)
        if candidates is not None and self.spelling is not None:
            plan |= self.spelling.look_up(candidates)
        return plan


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
    torch.Size([2, 3, 8])
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

    def planner(self, spelling: Spelling | None = None) -> SSRPlanner:
        """What plans batches on the host."""
        return SSRPlanner(self.form, self.stack, spelling)

    def forward(
        self,
        features: torch.Tensor,
        boundaries: torch.Tensor,
        starts: torch.Tensor | None = None,
        plan: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Reads segments.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        boundaries : torch.Tensor
            [B, N] int, the last frame of each segment, padded with -1; here or on the
            CPU, where it is planned.
        starts : torch.Tensor or None
            [B, N] int, the first frame of each segment; by default the frame after
            the boundary before it. The frame form does not use it.
        plan : dict of torch.Tensor or None
            What :class:`SSRPlanner` makes of the segments; made here if there is none.

        Returns
        -------
        torch.Tensor
            [B, N, H]; of no meaning at padding.
        """
        if not features.shape[1]:
            # Audio shorter than a frame: a place for indices of padding to point to.
            features = F.pad(features, (0, 0, 0, 1))
        if plan is None:
            starts = contiguous_starts(boundaries) if starts is None else starts
            boundaries, starts = boundaries.cpu(), starts.cpu()
            if not self.training and boundaries.shape[1] > _WINDOW:
                windows: torch.Tensor = self._read_windows(features, boundaries, starts)
                return windows
            plan = self._plan(features, boundaries, starts)
        states: torch.Tensor = self.norm(self._encode(features, plan))
        return states

    def _plan(self, features, boundaries, starts):
        plan = self.planner().plan(boundaries, starts, features.shape[1])
        device = features.device
        return {key: x.to(device, non_blocking=True) for key, x in plan.items()}

    def _read_windows(self, features, boundaries, starts):
        """[B, T, D] to [B, N, H], each row in windows of its own.

        Where they lie must not depend on the rows beside it.
        """
        width = boundaries.shape[1]
        states = features.new_zeros(len(features), width, self.width)
        counts = (boundaries >= 0).sum(1).tolist()
        windows = [
            (row, window)
            for row, count in enumerate(counts)
            for window in split_windows(count, _WINDOW, _CONTEXT)
        ]
        size = 1 if features.device.type == "cpu" else _WINDOWS_TOGETHER
        for begin in range(0, len(windows), size):
            group = windows[begin : begin + size]
            frames, ends, begins = [], [], []
            for row, w in group:
                segments = slice(w.start, w.stop)
                first = int(boundaries[row, w.start - 1]) + 1 if w.start else 0
                stop = int(boundaries[row, w.stop - 1]) + 1
                frames.append(features[row, first:stop])
                ends.append(boundaries[row, segments] - first)
                begins.append(starts[row, segments] - first)
            # Padding changes nothing, and one alone has none.
            padded = pad_sequence(frames, batch_first=True)
            ends, begins = (
                pad_sequence(x, batch_first=True, padding_value=-1)
                for x in (ends, begins)
            )
            found = self.norm(self._encode(padded, self._plan(padded, ends, begins)))
            for (row, w), read in zip(group, found, strict=True):
                kept = slice(w.keep_start - w.start, w.keep_stop - w.start)
                states[row, w.keep_start : w.keep_stop] = read[kept]
        return states

    def _encode(self, features, plan):
        causal, mask = self.context == "causal", None
        if self.form == "token":
            x = self.pool(features, plan)
            if not causal:
                # Only what pads a segment has no duration.
                mask = context_mask(plan["duration"][..., 0] > 0, self.context)
        else:
            x = self.project(stack_frames(features, plan))
            if not causal:
                block = plan["block"]
                mask = context_mask(block >= 0, self.context, block)
        for layer in self.layers:
            x = layer(x, mask, causal)
        if self.form == "frame":
            x = x.gather(1, plan["end"].unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        return x
