"""An LLM in 4 bits, of its configuration alone: sizes as bitsandbytes has them.

What is counted is that of :func:`ssr_plugin.llm.compact_weights.quantized_options`:
4-bit NormalFloat in blocks of 64, whose scales are 8-bit numbers in blocks of 256
("QLoRA", arXiv 2305.14314).
"""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

# Weights that share a scale, and scales that share one; numbers of their two tables.
_BLOCK, _SCALES, _CODE = 64, 256, 16


class FourBitLinear(nn.Linear):
    """A linear layer whose weight would be in 4 bits; it has sizes, and no numbers.

    Arguments
    ---------
    in_features, out_features : int
    bias : torch.nn.Parameter or None
    dtype : torch.dtype
        Computed in.

    Example
    -------
    >>> layer = FourBitLinear(128, 64, None, torch.bfloat16)
    >>> layer.weight.shape, sum(x.nbytes for x in layer.buffers())
    (torch.Size([4096, 1]), 200)
    >>> layer(torch.empty(3, 128, dtype=torch.bfloat16)).shape
    torch.Size([3, 64])
    """

    def __init__(self, in_features, out_features, bias, dtype):
        nn.Module.__init__(self)
        self.in_features, self.out_features = in_features, out_features
        self.dtype = dtype
        count = in_features * out_features
        blocks = -(-count // _BLOCK)
        packed = torch.empty(-(-count // 2), 1, dtype=torch.uint8)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = bias
        self.register_buffer("scales", torch.empty(blocks, dtype=torch.uint8))
        # Of the scales, and their mean; and what 4 bits stand for.
        floats = -(-blocks // _SCALES) + 1 + _CODE
        self.register_buffer("floats", torch.empty(floats))

    def forward(self, inputs):
        """As bitsandbytes: the weight in full, for as long as a product takes."""
        shape = self.out_features, self.in_features
        product = _Product.apply(inputs.to(self.dtype), self.weight, shape)
        product = product.to(inputs.dtype)
        return product if self.bias is None else product + self.bias


class _Product(torch.autograd.Function):
    """A product that keeps the small weight alone for the backward pass."""

    @staticmethod
    def forward(ctx, inputs, weight, shape):
        ctx.shape = shape
        return inputs @ torch.empty(shape, dtype=inputs.dtype, device=inputs.device).T

    @staticmethod
    def backward(ctx, grad):
        weight = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device)
        return grad @ weight, None, None


def quantize_sizes(model, dtype):
    """Puts :class:`FourBitLinear` where transformers quantises a model's layers.

    Arguments
    ---------
    model : transformers.PreTrainedModel
        On the meta device; it is changed. Embeddings and output layer stay.
    dtype : torch.dtype
        Computed in.
    """
    kept = model.get_output_embeddings()
    for module in [*model.modules()]:
        for name, child in [*module.named_children()]:
            if child is kept or not isinstance(child, nn.Linear | Conv1D):
                continue
            sizes = child.weight.shape
            if isinstance(child, nn.Linear):
                sizes = sizes[::-1]
            with torch.device("meta"):
                layer = FourBitLinear(*sizes, child.bias, dtype)
            setattr(module, name, layer)
