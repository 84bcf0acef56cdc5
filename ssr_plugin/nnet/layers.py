"""Decoder layers of an LLM's own shape, without positional encoding."""

import functools

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

# Most positions of what is a short sequence.
_SHORT = 256
_HALF = (torch.bfloat16, torch.float16)


def layer_shape(config):
    """The sizes of an LLM's decoder layer, whatever its config calls them.

    Arguments
    ---------
    config : transformers.PretrainedConfig
        Of a causal LM.

    Returns
    -------
    dict
        num_heads, num_kv_heads, head_size, hidden_size (of the feed-forward part).

    Example
    -------
    >>> from transformers import GPT2Config
    >>> layer_shape(GPT2Config(n_embd=48, n_head=4))
    {'num_heads': 4, 'num_kv_heads': 4, 'head_size': 12, 'hidden_size': 192}
    """
    config = config.get_text_config()
    num_heads = config.num_attention_heads
    width = config.hidden_size

    def first(names, default):
        values = (getattr(config, name, None) for name in names)
        return next((value for value in values if value), default)

    return {
        "num_heads": num_heads,
        "num_kv_heads": first(["num_key_value_heads"], num_heads),
        "head_size": first(["head_dim"], width // num_heads),
        "hidden_size": first(["intermediate_size", "n_inner", "ffn_dim"], 4 * width),
    }


def finite_attention():
    """A context in which torch's attention does not use cuDNN.

    cuDNN's is torch's first choice on an H100 from 2.11 on. Its backward pass gives NaN
    (pytorch issue 196678) where there is a mask, the length is 64 more than a multiple
    of 128, and all scores that a position sees are below about -88: easily so of the
    first token, and of padding, which see themselves alone.

    Returns
    -------
    contextlib.AbstractContextManager

    Example
    -------
    >>> with finite_attention():
    ...     torch.backends.cuda.cudnn_sdp_enabled()
    False
    """
    return sdpa_kernel(
        [
            SDPBackend.FLASH_ATTENTION,
            SDPBackend.EFFICIENT_ATTENTION,
            SDPBackend.MATH,
        ]
    )


def attention(query, key, value, mask=None, causal=False):
    """Scaled dot-product attention, by the faster way for the device and the type.

    Torch's fused kernel takes three to five times as long on a CPU as plain products
    where numbers are of half precision and sequences as short as sentences have tokens.

    Arguments
    ---------
    query : torch.Tensor
        [B, heads, L, size]
    key, value : torch.Tensor
        [B, kv_heads, L, size]: each is shared by as many neighbouring heads.
    mask : torch.Tensor or None
        [B or 1, 1, L, L] bool, True where a row may look at a column; at least once in
        each row.
    causal : bool
        Whether a row looks at itself and all before it; then there is no mask.

    Returns
    -------
    torch.Tensor
        [B, heads, L, size]

    Example
    -------
    >>> x = torch.rand(1, 2, 3, 4)
    >>> plain = F.scaled_dot_product_attention(x, x, x)
    >>> torch.allclose(attention(x, x, x), plain, atol=1e-6)
    True
    """
    batch, heads, length, size = query.shape
    kv_heads = key.shape[1]
    plain = query.device.type == "cpu" and query.dtype in _HALF and length <= _SHORT
    if not plain:
        with finite_attention():
            return F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=mask,
                is_causal=causal,
                enable_gqa=kv_heads != heads,
            )
    # Heads that share a key and a value are so many rows of one product.
    query = query.reshape(batch * kv_heads, -1, size)
    key, value = (x.reshape(batch * kv_heads, length, size) for x in (key, value))
    bias = query.new_zeros(1)
    if causal:
        bias = _causal_bias(length, heads // kv_heads, query.dtype)
    scores = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=size**-0.5)
    if mask is not None:
        rows = scores.view(batch, heads, length, length)
        scores = rows.masked_fill(~mask, -torch.inf).view_as(scores)
    mixed = scores.float().softmax(-1).to(value.dtype) @ value
    return mixed.view(batch, heads, length, size)


@functools.lru_cache(maxsize=64)
def _causal_bias(length, times, dtype):
    """[times * L, L] on the CPU: 0 where a row may look, else minus infinity."""
    bias = torch.full((length, length), -torch.inf, dtype=dtype).triu(1)
    return bias.repeat(times, 1)


class RMSNorm(nn.RMSNorm):
    """Root mean square norm that computes in the type of its input.

    Torch's own leaves its fused kernel, and warns, where autocast gives bfloat16 to
    float32 weights. On a CPU, where it has none, this takes half the passes.

    Example
    -------
    >>> RMSNorm(2, eps=0.0)(torch.tensor([[3.0, 3.0]])).round().tolist()
    [[1.0, 1.0]]
    """

    def forward(self, x):
        """[..., H] to [..., H]"""
        return self.branch(x)[1]

    def branch(self, x):
        """What goes past a part of a residual network, and what goes into it.

        Arguments
        ---------
        x : torch.Tensor
            [..., H]

        Returns
        -------
        x, normed : torch.Tensor
            [..., H]: the same, and its norm. On a CPU the gradients of both meet here,
            without a pass of its own for their sum.
        """
        weight = self.weight.to(x.dtype)
        if x.device.type == "cpu":
            return _RMSNormFunction.apply(x, weight, _scalar(self.eps, x.dtype))
        return x, F.rms_norm(x, self.normalized_shape, weight, self.eps)


@functools.lru_cache(maxsize=16)
def _scalar(value, dtype):
    """On the CPU, of a type that such norms are computed in."""
    return torch.tensor(value, dtype=torch.promote_types(dtype, torch.float32))


@functools.lru_cache(maxsize=16)
def _zeros(shape, dtype):
    """On the CPU, to be read only."""
    return torch.zeros(shape, dtype=dtype)


def forget_constants():
    """Drops the small tensors that are kept for the next call; they are made anew."""
    for kept in (_causal_bias, _scalar, _zeros):
        kept.cache_clear()


class _RMSNormFunction(torch.autograd.Function):
    """x, and ``x / sqrt(mean(x^2) + eps) * weight`` over the last axis."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=eps.dtype)
        scale = torch.addcmul(eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, scale)
        return x, (x * scale.to(x.dtype)).mul_(weight)

    @staticmethod
    def backward(ctx, grad_past, grad):
        x, weight, scale = ctx.saved_tensors
        if grad is None:
            return grad_past, None, None
        # With a mean of 0, torch's kernel for layer norm gives this norm's gradient,
        # less what the mean would have brought: that is put back.
        x, weight, grad = (t.to(scale.dtype) for t in (x, weight, grad))
        grad_x, grad_weight, _ = torch.ops.aten.native_layer_norm_backward(
            *(grad, x, weight.shape, _zeros(scale.shape, scale.dtype), scale),
            *(weight, None, [True, True, False]),
        )
        mean = (grad @ weight).unsqueeze(-1)
        grad_x = grad_x.addcmul_(mean, scale, value=1 / len(weight))
        if grad_past is not None:
            grad_x = grad_x.add_(grad_past)
        return grad_x, grad_weight, None


class _SwiGLU(torch.autograd.Function):
    """``silu(gate) * up`` of [..., 2 * F], which holds both, the gate first.

    Their gradients are written into one tensor, which need not be put together.
    """

    @staticmethod
    def forward(ctx, gate_up):
        gate, up = gate_up.chunk(2, dim=-1)
        opened = F.silu(gate)
        ctx.save_for_backward(gate_up, opened)
        return opened * up

    @staticmethod
    def backward(ctx, grad):
        gate_up, opened = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        grad_both = torch.empty_like(gate_up)
        grad_gate, grad_up = grad_both.chunk(2, dim=-1)
        torch.mul(grad, opened, out=grad_up)
        torch.ops.aten.silu_backward(grad * up, gate, grad_input=grad_gate)
        return grad_both


class _AddScaled(torch.autograd.Function):
    """``x + y * factor``, whose gradient reaches x and y alone."""

    @staticmethod
    def forward(ctx, x, y, factor):
        ctx.save_for_backward(factor)
        return torch.addcmul(x, y, factor)

    @staticmethod
    def backward(ctx, grad):
        (factor,) = ctx.saved_tensors
        return grad, grad * factor, None


class DecoderLayer(nn.Module):
    """Pre-norm self-attention with grouped heads, then a SwiGLU feed-forward part.

    The layer of Llama (Touvron et al., arXiv 2302.13971) without its rotary
    positions: what precedes a position is a set.

    Arguments
    ---------
    width : int
        H, size of its input and output.
    num_heads, num_kv_heads, head_size : int
        Of the attention.
    hidden_size : int
        Of the feed-forward part.
    dropout : float
        On the output of both parts, in training.

    Example
    -------
    >>> shape = dict(num_heads=2, num_kv_heads=1, head_size=4, hidden_size=16)
    >>> layer = DecoderLayer(8, **shape)
    >>> layer(torch.rand(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self, width, num_heads, num_kv_heads, head_size, hidden_size, dropout=0.0
    ):
        super().__init__()
        self.head_size = head_size
        self.heads = [num_heads, num_kv_heads, num_kv_heads]
        self.attention_norm = RMSNorm(width, eps=1e-6)
        # Query, key and value in one product; so are the gate and what it opens.
        self.qkv = nn.Linear(width, sum(self.heads) * head_size, bias=False)
        self.out = nn.Linear(num_heads * head_size, width, bias=False)
        self.feed_forward_norm = RMSNorm(width, eps=1e-6)
        self.gate_up = nn.Linear(width, 2 * hidden_size, bias=False)
        self.down = nn.Linear(hidden_size, width, bias=False)
        self.dropout = dropout

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # Checkpoints of before had one weight for each.
        for name, parts in (("qkv", ("query", "key", "value")), ("gate_up", _GATE_UP)):
            keys = [f"{prefix}{part}.weight" for part in parts]
            if all(key in state_dict for key in keys):
                weights = [state_dict.pop(key) for key in keys]
                state_dict[f"{prefix}{name}.weight"] = torch.cat(weights)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def attend(self, x, mask=None, causal=False):
        """Self-attention; arguments and result as in :meth:`forward`."""
        heads = self.qkv(x).unflatten(-1, (-1, self.head_size)).split(self.heads, dim=2)
        x = attention(*(part.transpose(1, 2) for part in heads), mask, causal)
        return self.out(x.transpose(1, 2).flatten(-2))

    def forward(self, x, mask=None, causal=False):
        """Runs the layer.

        Arguments
        ---------
        x : torch.Tensor
            [B, L, H]
        mask : torch.Tensor or None
            [B or 1, 1, L, L] bool, True where a row may look at a column.
        causal : bool
            Whether a row looks at itself and all before it; then there is no mask.

        Returns
        -------
        torch.Tensor
            [B, L, H]
        """
        kept = self._draw_kept(x)
        x, y = self.attention_norm.branch(x)
        y = self.attend(y, mask, causal)
        x = x + y if kept is None else _AddScaled.apply(x, y, kept[0])
        x, y = self.feed_forward_norm.branch(x)
        y = self.down(_SwiGLU.apply(self.gate_up(y)))
        return x + y if kept is None else _AddScaled.apply(x, y, kept[1])

    def _draw_kept(self, x):
        """Dropout's factors for both parts: one draw, and no pass of its own."""
        if not (self.training and self.dropout):
            return None
        share = 1 - self.dropout
        kept = torch.empty((2, *x.shape), dtype=x.dtype, device=x.device)
        return kept.bernoulli_(share).div_(share)


_GATE_UP = ("gate", "up")
