"""Losses over the whole vocabulary: the same, however few logits are in memory."""

import sys
import types

import pytest
import torch
import torch.nn.functional as F
import transformers as hf

from ssr_plugin.llm import next_token
from ssr_plugin.llm.next_token import (
    next_token_log_probs,
    next_token_loss,
    read_logits,
)

TINY = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}
CAPPED = {**TINY, "head_dim": 8, "final_logit_softcapping": 0.5}
MODELS = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**TINY)),
    "gemma2, capped logits": lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**CAPPED)),
    "granite, scaled logits": lambda: hf.GraniteForCausalLM(
        hf.GraniteConfig(**TINY, logits_scaling=3.0)
    ),
}
TARGETS = torch.tensor([3, 0, 39, 7, 7])


def make(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[name]().eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


@pytest.fixture(params=MODELS)
def model(request):
    return make(request.param)


@pytest.fixture
def states():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, 16, generator=generator).requires_grad_()


def few_logits(monkeypatch, positions):
    monkeypatch.setattr(next_token, "_LOGITS", 40 * positions)


def sizes(model):
    """What the output layer is given from now on: positions of each call."""
    seen = []
    model.get_output_embeddings().register_forward_hook(
        lambda _, args, logits: seen.append(logits.shape[1])
    )
    return seen


def test_logits_of_states_are_the_models_own(model):
    embeds = torch.randn(1, 5, 16)
    taken = []
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, args: taken.append(args[0][0])
    )
    logits = model(inputs_embeds=embeds).logits[0]
    hook.remove()
    torch.testing.assert_close(read_logits(model, taken[0]), logits)


def test_reading_logits_leaves_the_model_as_it_was(model, states):
    modules = list(model.modules())
    read_logits(model, states)
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True))


@pytest.mark.parametrize("positions", [1, 2, 5])
def test_next_token_loss_and_its_gradient_are_those_of_all_logits(
    model, states, monkeypatch, positions
):
    expected = F.cross_entropy(read_logits(model, states), TARGETS)
    (slope,) = torch.autograd.grad(3 * expected, states)
    few_logits(monkeypatch, positions)
    seen = sizes(model)
    loss = next_token_loss(model, states, TARGETS)
    torch.testing.assert_close(loss, expected)
    (found,) = torch.autograd.grad(3 * loss, states)
    torch.testing.assert_close(found, slope)
    # Each position once, those of the backward pass too.
    assert sum(seen) == 5 and max(seen) == positions


@pytest.mark.parametrize("positions", [2, 5])
def test_next_token_loss_trains_an_output_layer(model, states, monkeypatch, positions):
    weight = model.get_output_embeddings().weight.requires_grad_()
    expected = F.cross_entropy(read_logits(model, states), TARGETS)
    slopes = torch.autograd.grad(expected, [states, weight])
    few_logits(monkeypatch, positions)
    loss = next_token_loss(model, states, TARGETS)
    torch.testing.assert_close(torch.autograd.grad(loss, [states, weight]), slopes)
    frozen = next_token_loss(model, states.detach(), TARGETS)
    (slope,) = torch.autograd.grad(frozen, [weight])
    torch.testing.assert_close(slope, slopes[1])


@pytest.mark.parametrize("positions", [2, 5])
@pytest.mark.parametrize("weight, kl_weight", [(0.0, 1.0), (0.5, 0.0), (2.0, 3.0)])
def test_next_token_loss_has_the_kl_from_the_base_model_per_token(
    model, states, monkeypatch, positions, weight, kl_weight
):
    base, base_states = make("llama"), torch.randn(5, 16)
    p, q = read_logits(base, base_states).softmax(-1), read_logits(model, states)
    q = q.softmax(-1)
    divergence = (p * (p / q).log()).sum(-1).mean()
    error = -q[torch.arange(5), TARGETS].log().mean()
    expected = weight * error + kl_weight * divergence
    (slope,) = torch.autograd.grad(expected, states)
    few_logits(monkeypatch, positions)
    loss = next_token_loss(
        model, states, TARGETS, weight, (base, base_states), kl_weight
    )
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, states)[0], slope)


def test_kl_has_no_gradient_where_the_llm_equals_the_base_model(model, states):
    base = (model, states.detach())
    loss = next_token_loss(model, states, None, 0.0, base, 1.0)
    loss.backward()
    assert abs(loss.item()) < 1e-6 and states.grad.abs().max() < 1e-6


@pytest.mark.parametrize("positions", [2, 5])
def test_next_token_loss_in_bfloat16_is_near_that_in_float32(
    model, states, monkeypatch, positions
):
    weight = model.get_output_embeddings().weight.requires_grad_()
    expected = F.cross_entropy(read_logits(model, states), TARGETS)
    slopes = torch.autograd.grad(expected, [states, weight])
    few_logits(monkeypatch, positions)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = next_token_loss(model, states, TARGETS)
    near = {"rtol": 0.1, "atol": 0.02}
    torch.testing.assert_close(loss, expected, **near)
    found = torch.autograd.grad(loss, [states, weight])
    torch.testing.assert_close(found, slopes, **near)


def test_no_token_at_all_has_no_loss(model, states):
    loss = next_token_loss(model, states[:0], TARGETS[:0])
    loss.backward()
    assert loss == 0 and not states.grad.any()


@pytest.mark.parametrize("positions", [2, 5])
def test_log_probs_are_those_of_all_logits(model, states, monkeypatch, positions):
    expected = read_logits(model, states).log_softmax(-1)[torch.arange(5), TARGETS]
    few_logits(monkeypatch, positions)
    seen = sizes(model)
    scores = next_token_log_probs(model, states, TARGETS)
    torch.testing.assert_close(scores, expected.detach())
    assert max(seen) == positions


# --- liger-kernel, which runs on a GPU alone -----------------------------------------


@pytest.fixture
def liger(monkeypatch):
    """A stand-in for the package: notes what it is asked, and computes it."""
    calls = []

    class Loss(torch.nn.Module):
        def __init__(self, reduction):
            super().__init__()
            self.reduction = reduction

        def forward(self, lin_weight, _input, target, bias=None):
            calls.append((lin_weight, bias))
            logits = F.linear(_input, lin_weight, bias)
            return F.cross_entropy(logits, target, reduction=self.reduction)

    package = types.ModuleType("liger_kernel.transformers")
    package.LigerFusedLinearCrossEntropyLoss = Loss
    monkeypatch.setitem(sys.modules, "liger_kernel", types.ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", package)
    next_token._liger.cache_clear()
    yield calls
    next_token._liger.cache_clear()


def test_liger_kernel_computes_the_loss_of_a_plain_output_layer(
    liger, states, monkeypatch
):
    model = make("llama")
    expected = 2 * next_token_loss(model, states, TARGETS)
    assert not liger, "it was asked for what is not on a GPU"
    monkeypatch.setattr(next_token, "_is_on_gpu", lambda states: True)
    loss = next_token_loss(model, states, TARGETS, 2.0)
    torch.testing.assert_close(loss, expected)
    assert liger == [(model.get_output_embeddings().weight, None)]


@pytest.mark.parametrize("name", ["gemma2, capped logits", "granite, scaled logits"])
def test_liger_kernel_is_not_asked_where_a_model_changes_its_logits(
    liger, states, monkeypatch, name
):
    monkeypatch.setattr(next_token, "_is_on_gpu", lambda states: True)
    next_token_loss(make(name), states, TARGETS)
    assert not liger


def test_liger_kernel_is_not_asked_for_a_kl(liger, states, monkeypatch):
    model = make("llama")
    monkeypatch.setattr(next_token, "_is_on_gpu", lambda states: True)
    next_token_loss(model, states, TARGETS, 1.0, (model, states.detach()), 1.0)
    assert not liger


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_liger_kernel_on_a_gpu_gives_the_loss_and_slopes_of_torch(monkeypatch):
    pytest.importorskip("liger_kernel")
    model, found = make("llama").cuda(), []
    start = torch.randn(5, 16, device="cuda")
    for fuses in (True, False):
        if not fuses:
            monkeypatch.setattr(next_token, "_can_fuse", lambda model, states: False)
        states = start.clone().requires_grad_()
        loss = next_token_loss(model, states, TARGETS.cuda())
        loss.backward()
        found.append((loss.detach(), states.grad))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-3)
