"""Decoder layers of an LLM's own shape, without positional encoding."""

import torch
import torch.nn.functional as F
from torch import nn

# Most positions of what is a short sequence.
_SHORT = 256


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


def attention(query, key, value, mask):
    """Scaled dot-product attention, by the faster way for the device and the length.

    Torch's fused kernel takes five times as long on a CPU as plain products where
    sequences are as short as sentences have tokens.

    Arguments
    ---------
    query, key, value : torch.Tensor
        [B, heads, L, size]
    mask : torch.Tensor or None
        [B or 1, 1, L, L] bool, True where a row may look at a column.

    Returns
    -------
    torch.Tensor
        [B, heads, L, size]

    Example
    -------
    >>> x = torch.rand(1, 2, 3, 4)
    >>> plain = F.scaled_dot_product_attention(x, x, x)
    >>> torch.allclose(attention(x, x, x, None), plain, atol=1e-6)
    True
    """
    if query.device.type != "cpu" or query.shape[2] > _SHORT:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query @ key.transpose(-1, -2)).float() / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).to(value.dtype) @ value


class RMSNorm(nn.RMSNorm):
    """Root mean square norm that computes in the type of its input.

    Torch's own leaves its fused kernel, and warns, where autocast gives bfloat16 to
    float32 weights.

    Example
    -------
    >>> RMSNorm(2, eps=0.0)(torch.tensor([[3.0, 3.0]]))
    tensor([[1., 1.]], grad_fn=...)
    """

    def forward(self, x):
        """[..., H] to [..., H]"""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


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
    >>> layer(torch.rand(3, 5, 8), mask=None).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self, width, num_heads, num_kv_heads, head_size, hidden_size, dropout=0.0
    ):
        super().__init__()
        self.head_size = head_size
        self.groups = num_heads // num_kv_heads
        self.attention_norm = RMSNorm(width, eps=1e-6)
        self.query = nn.Linear(width, num_heads * head_size, bias=False)
        self.key = nn.Linear(width, num_kv_heads * head_size, bias=False)
        self.value = nn.Linear(width, num_kv_heads * head_size, bias=False)
        self.out = nn.Linear(num_heads * head_size, width, bias=False)
        self.feed_forward_norm = RMSNorm(width, eps=1e-6)
        self.gate = nn.Linear(width, hidden_size, bias=False)
        self.up = nn.Linear(width, hidden_size, bias=False)
        self.down = nn.Linear(hidden_size, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def _heads(self, x):
        """[B, L, heads * size] -> [B, heads, L, size]"""
        return x.unflatten(-1, (-1, self.head_size)).transpose(1, 2)

    def attend(self, x, mask):
        """Self-attention; arguments and result as in :meth:`forward`."""
        query, key, value = (
            self._heads(projection(x))
            for projection in (self.query, self.key, self.value)
        )
        if self.groups > 1:
            key = key.repeat_interleave(self.groups, dim=1)
            value = value.repeat_interleave(self.groups, dim=1)
        x = attention(query, key, value, mask)
        return self.out(x.transpose(1, 2).flatten(-2))

    def forward(self, x, mask):
        """Runs the layer.

        Arguments
        ---------
        x : torch.Tensor
            [B, L, H]
        mask : torch.Tensor or None
            [B or 1, 1, L, L] bool, True where a row may look at a column.

        Returns
        -------
        torch.Tensor
            [B, L, H]
        """
        x = x + self.dropout(self.attend(self.attention_norm(x), mask))
        y = self.feed_forward_norm(x)
        return x + self.dropout(self.down(F.silu(self.gate(y)) * self.up(y)))
