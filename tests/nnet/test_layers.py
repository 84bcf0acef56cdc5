"""Decoder layers: attention on a CPU, the norm's own gradient, older checkpoints."""

import pytest
import torch
import torch.nn.functional as F

from ssr_plugin.nnet.layers import (
    DecoderLayer,
    RMSNorm,
    _AddScaled,
    _SwiGLU,
    attention,
)

SHAPE = {"num_heads": 4, "num_kv_heads": 2, "head_size": 3, "hidden_size": 10}


@pytest.mark.parametrize("kind", ["causal", "mask", "none"])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attention_of_short_rows_in_half_precision_is_torchs_own(kind, kv_heads):
    torch.manual_seed(0)
    query = torch.randn(3, 4, 7, 5).bfloat16()
    key, value = torch.randn(2, 3, kv_heads, 7, 5).bfloat16()
    mask = None
    if kind == "mask":
        mask = (torch.rand(3, 1, 7, 7) < 0.5) | torch.eye(7).bool()
    causal = kind == "causal"
    found = attention(query, key, value, mask, causal)
    expected = F.scaled_dot_product_attention(
        *(x.double() for x in (query, key, value)),
        attn_mask=mask,
        is_causal=causal,
        enable_gqa=True,
    )
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, atol=0.03, rtol=0.03)


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


def test_a_branch_off_a_norm_passes_its_input_on_and_adds_up_both_gradients():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    norm = RMSNorm(8, eps=1e-3).double()
    past, normed = norm.branch(x)
    assert torch.equal(past, x) and torch.equal(normed, norm(x))
    assert torch.autograd.gradcheck(norm.branch, x)
    # Either may be left unused.
    assert torch.equal(torch.autograd.grad(past.sum(), x)[0], torch.ones_like(x))
    alone = torch.autograd.grad(norm.branch(x)[1].square().sum(), x)
    torch.testing.assert_close(alone, torch.autograd.grad(norm(x).square().sum(), x))


def test_swiglu_is_the_plain_formula_with_its_gradient():
    torch.manual_seed(0)
    gate_up = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    gate, up = gate_up.chunk(2, dim=-1)
    torch.testing.assert_close(_SwiGLU.apply(gate_up), F.silu(gate) * up)
    assert torch.autograd.gradcheck(_SwiGLU.apply, gate_up)


def test_adding_what_is_scaled_is_the_plain_formula_with_its_gradient():
    torch.manual_seed(0)
    x, y, factor = torch.randn(3, 2, 3, 8, dtype=torch.float64)
    inputs = (x.requires_grad_(), y.requires_grad_(), factor)
    torch.testing.assert_close(_AddScaled.apply(*inputs), x + y * factor)
    assert torch.autograd.gradcheck(_AddScaled.apply, inputs)


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


def test_dropout_of_a_layer_draws_what_torchs_own_draws_on_a_cpu():
    layer = DecoderLayer(6, **SHAPE, dropout=0.2).train()
    torch.manual_seed(0)
    kept = layer._draw_kept(torch.zeros(3, 5, 6))
    torch.manual_seed(0)
    torch.testing.assert_close(kept, F.dropout(torch.ones(2, 3, 5, 6), 0.2))
