"""Decoder layers: attention on a CPU, the norm's own gradient, older checkpoints."""

import pytest
import torch
import torch.nn.functional as F

from ssr_plugin.nnet.layers import DecoderLayer, RMSNorm, attention
from ssr_plugin.training.losses import cosine_distance

SHAPE = {"num_heads": 4, "num_kv_heads": 2, "head_size": 3, "hidden_size": 10}


@pytest.mark.parametrize("kind", ["causal", "mask", "none"])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attention_of_short_rows_is_torchs_own(kind, kv_heads):
    torch.manual_seed(0)
    query = torch.randn(3, 4, 7, 5, dtype=torch.float64)
    key, value = torch.randn(2, 3, kv_heads, 7, 5, dtype=torch.float64)
    mask = None
    if kind == "mask":
        mask = (torch.rand(3, 1, 7, 7) < 0.5) | torch.eye(7).bool()
    causal = kind == "causal"
    found = attention(query, key, value, mask, causal)
    expected = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=True
    )
    # The softmax is in float32.
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_the_norm_on_a_cpu_is_torchs_own_with_its_gradient():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    norm = RMSNorm(8, eps=1e-3).double()
    with torch.no_grad():
        norm.weight.copy_(torch.rand(8))
    found, expected = norm(x), F.rms_norm(x, (8,), norm.weight, norm.eps)
    torch.testing.assert_close(found, expected)
    slope = torch.randn_like(found)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, norm.weight), slope),
        torch.autograd.grad(expected, (x, norm.weight), slope),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_the_cosine_has_torchs_own_gradient():
    torch.manual_seed(0)
    z, h = torch.randn(2, 5, 8, dtype=torch.float64)
    z.requires_grad_()
    expected = 1 - F.cosine_similarity(z, h, dim=-1).mean()
    torch.testing.assert_close(cosine_distance(z, h), expected)
    (ours,) = torch.autograd.grad(cosine_distance(z, h), z)
    (theirs,) = torch.autograd.grad(expected, z)
    torch.testing.assert_close(ours, theirs)


def test_a_layer_reads_checkpoints_with_a_weight_for_each_projection():
    torch.manual_seed(0)
    layer, other = DecoderLayer(6, **SHAPE), DecoderLayer(6, **SHAPE)
    weights = layer.state_dict()
    size = SHAPE["head_size"]
    heads = [size * SHAPE[key] for key in ("num_heads", "num_kv_heads", "num_kv_heads")]
    qkv = weights.pop("qkv.weight").split(heads)
    gate_up = weights.pop("gate_up.weight").chunk(2)
    names = ("query", "key", "value", "gate", "up")
    for name, weight in zip(names, [*qkv, *gate_up], strict=True):
        weights[f"{name}.weight"] = weight
    holder = torch.nn.ModuleDict({"layer": other})
    holder.load_state_dict({f"layer.{key}": value for key, value in weights.items()})
    x = torch.randn(1, 4, 6)
    torch.testing.assert_close(other(x, causal=True), layer(x, causal=True))


def test_dropout_of_a_layer_leaves_out_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = DecoderLayer(6, **SHAPE, dropout=0.5).train()
    kept = layer._draw_kept(torch.zeros(10, 20, 6))
    assert kept.shape == (2, 10, 20, 6)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert kept.mean().item() == pytest.approx(1.0, abs=0.1)
    assert layer.eval()._draw_kept(torch.zeros(1, 2, 6)) is None
