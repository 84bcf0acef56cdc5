"""Sequences that share a row: each is read as if it were alone."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import (
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode

from ssr_plugin.llm import next_token, packing
from ssr_plugin.llm.next_token import next_token_loss, read_logits
from ssr_plugin.llm.packing import (
    can_pack,
    find_way,
    make_pack,
    plan_layout,
    read_states,
)
from ssr_plugin.llm.text_llm import TextLLM

TINY = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": None,
}
GEMMA = {**TINY, "head_dim": 8, "sliding_window": 4}
GPT2 = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
OPT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "word_embed_proj_dim": 8,
    "ffn_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": None,
}
#: How each is told which tokens of a row belong together.
FAMILIES = {
    "llama": (hf.LlamaForCausalLM, TINY, "mask"),
    "qwen3": (hf.Qwen3ForCausalLM, {**TINY, "head_dim": 8}, "mask"),
    "mistral, near attention": (
        hf.MistralForCausalLM,
        {**TINY, "sliding_window": 4},
        "mask",
    ),
    "gemma3, near and far attention": (hf.Gemma3ForCausalLM, GEMMA, "mask"),
    "gemma2, eager attention": (
        hf.Gemma2ForCausalLM,
        {**GEMMA, "final_logit_softcapping": 9.0},
        "positions",
    ),
    "granite, scaled logits": (
        hf.GraniteForCausalLM,
        {**TINY, "logits_scaling": 3.0},
        "mask",
    ),
    "mixtral, experts": (hf.MixtralForCausalLM, TINY, "mask"),
    "gpt2, absolute positions": (hf.GPT2LMHeadModel, GPT2, "mask"),
    "opt, narrow embeddings": (hf.OPTForCausalLM, OPT, "mask"),
    "bloom, slopes in place of positions": (
        hf.BloomForCausalLM,
        {"vocab_size": 40, "hidden_size": 16, "n_layer": 2, "n_head": 2},
        None,
    ),
    "mamba, recurrent": (
        hf.MambaForCausalLM,
        {
            "vocab_size": 40,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "state_size": 4,
            "pad_token_id": None,
        },
        None,
    ),
}
LENGTHS = (9, 4, 6, 1, 11)


def make_model(name):
    model_class, settings, _ = FAMILIES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(model_class.config_class(**settings)).eval()
        for parameter in model.requires_grad_(False).parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


@pytest.fixture(params=FAMILIES, scope="module")
def family(request):
    return make_model(request.param), FAMILIES[request.param][2]


def sequences():
    """Ids of some sequences of unlike lengths."""
    generator = np.random.default_rng(1)
    return [generator.integers(3, 40, n) for n in LENGTHS]


def read(model, ids, packed):
    """Logits of sequences in one pass, and the embeddings they were read from."""
    pack = make_pack(ids, ids, packed)
    embeds = model.get_input_embeddings()(pack.ids).requires_grad_()
    states = read_states(model, embeds, pack.layout, pack.wanted, packed)
    return read_logits(model, states), embeds, pack.layout.slots


# --- Through models ------------------------------------------------------------------


def test_packed_logits_are_those_of_each_sequence_alone(family):
    model, way = family
    ids = sequences()
    logits, _, _ = read(model, ids, packed=way is not None)
    ones = [torch.from_numpy(x)[None] for x in ids]
    alone = [model(x, attention_mask=torch.ones_like(x)).logits[0] for x in ones]
    torch.testing.assert_close(logits, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_packed_logits_and_gradients_are_those_of_padded_rows(family):
    model, way = family
    if way is None:
        pytest.skip("it reads padded rows alone")
    found = []
    for packed in (False, True):
        logits, embeds, slots = read(model, sequences(), packed)
        logits.square().sum().backward()
        found += [logits, embeds.grad.flatten(0, 1)[slots]]
    torch.testing.assert_close(found[2], found[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[3], found[1], atol=1e-3, rtol=1e-4)


def test_a_model_is_told_which_tokens_belong_together_in_the_way_it_takes(family):
    model, way = family
    assert find_way(model) == way
    assert can_pack(model) == (way is not None)


@pytest.mark.parametrize("name", ["mamba, recurrent"])
def test_a_model_that_cannot_pack_is_named_once_with_the_reason(name, caplog):
    model = make_model(name)
    with caplog.at_level(logging.WARNING):
        assert not can_pack(model) and not can_pack(model)
    (message,) = (x.message for x in caplog.records if x.name == packing.__name__)
    assert "MambaForCausalLM reads each sequence in a row of its own" in message
    assert "by positions: sequences of a row read each other" in message


def test_trying_a_model_in_training_leaves_it_in_training():
    model = make_model("llama").train()
    assert can_pack(model) and model.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_packs_too(dtype):
    assert can_pack(make_model("llama").to(dtype))


def test_a_hook_that_takes_states_is_gone_after_an_exception():
    model = make_model("llama")
    with pytest.raises(RuntimeError):
        layout = plan_layout([3])
        embeds = torch.zeros(*layout.positions.shape, 7)
        read_states(model, embeds, layout, layout.slots, True)
    assert not model.get_output_embeddings()._forward_pre_hooks


def fake_model(mode, way):
    """A model of tensors that have shapes and no values, which is told packs so."""
    with mode:
        model = hf.LlamaForCausalLM(hf.LlamaConfig(**TINY)).requires_grad_(False)
    packing._WAYS[model] = way
    return model


def fake_pack(mode, pack):
    """A pack whose tensors have shapes and no values."""
    fakes = {
        name: mode.from_tensor(value)
        for name, value in vars(pack).items()
        if isinstance(value, torch.Tensor)
    }
    layout = packing.Layout(*map(mode.from_tensor, vars(pack.layout).values()))
    return dataclasses.replace(pack, layout=layout, **fakes)


def step(model, pack):
    """A forward and backward pass; the gradient of what is read."""
    embeds = model.get_input_embeddings()(pack.ids).requires_grad_()
    states = read_states(model, embeds, pack.layout, pack.wanted, pack.packed)
    next_token_loss(model, states, pack.targets).backward()
    return embeds.grad


@pytest.mark.parametrize("logits", [2**26, 400], ids=["at once", "in parts"])
def test_a_step_asks_no_tensor_for_its_values(monkeypatch, logits):
    monkeypatch.setattr(next_token, "_LOGITS", logits)
    mode, pack = FakeTensorMode(), make_pack(sequences(), sequences())
    model, there = fake_model(mode, "mask"), fake_pack(mode, pack)
    with mode:
        assert step(model, there).shape == (*pack.ids.shape, 16)


def test_positions_chosen_by_a_mask_would_ask_for_values():
    mode, pack = FakeTensorMode(), make_pack(sequences(), sequences())
    model, there = fake_model(mode, "mask"), fake_pack(mode, pack)
    with mode, pytest.raises(DynamicOutputShapeException):
        model.get_input_embeddings()(there.ids)[there.ids > 0]


# --- Layouts -------------------------------------------------------------------------


@given(st.lists(st.integers(1, 700), min_size=1, max_size=60), st.booleans())
def test_each_token_of_a_layout_has_a_slot_of_its_own(lengths, packed):
    layout = plan_layout(lengths, packed)
    slots = layout.slots.tolist()
    assert len(set(slots)) == len(slots) == sum(lengths)
    owners = [i for i, n in enumerate(lengths) for _ in range(n)]
    assert layout.sequences.flatten()[layout.slots].tolist() == owners
    counts = [i for n in lengths for i in range(n)]
    assert layout.positions.flatten()[layout.slots].tolist() == counts
    assert (layout.sequences >= 0).sum() == sum(lengths)
    # A sequence lies in one row, without a gap.
    width = layout.positions.shape[1]
    first = 0
    for n in lengths:
        (one,) = {slot // width for slot in slots[first : first + n]}
        assert slots[first : first + n] == list(range(slots[first], slots[first] + n))
        first += n


@given(st.lists(st.integers(1, 130), min_size=20, max_size=60))
def test_packed_rows_are_nearly_full_and_of_few_lengths(lengths):
    rows, width = plan_layout(lengths).positions.shape
    assert width % 32 == 0
    # Besides the last 31 slots of a row, what is left is less than a sequence each.
    assert rows * (width - 31) <= sum(lengths) + rows * max(lengths)


def test_packed_rows_of_text_and_speech_have_less_padding_than_padded_ones():
    lengths = np.random.default_rng(0).integers(10, 130, 60)
    packed, padded = (plan_layout(lengths, x).positions.numel() for x in (True, False))
    assert sum(lengths) > 0.85 * packed and sum(lengths) < 0.6 * padded


def test_a_pack_comes_to_another_device_in_one_transfer():
    pack = make_pack([np.array([1, -1, -2]), np.array([7])], [np.zeros(3), np.ones(1)])
    copies = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            copies.extend([function] if "_to_copy" in str(function) else [])
            return function(*args, **(kwargs or {}))

    with Count():
        there = pack.to("meta")
    assert len(copies) == 1
    for name, value in vars(pack).items():
        if isinstance(value, torch.Tensor):
            assert getattr(there, name).shape == value.shape
            assert getattr(there, name).is_meta
    for name, value in vars(pack.layout).items():
        assert getattr(there.layout, name).shape == value.shape
        assert getattr(there.layout, name).is_meta


def test_a_pack_reads_vectors_where_they_stand_and_tokens_elsewhere(tiny_llm_folder):
    llm = TextLLM(tiny_llm_folder)
    vectors = torch.randn(3, 16)
    one, two = np.array([1, -3, 5]), np.array([-1, 7])
    pack = make_pack([one, two], [one, two])
    embeds = pack.embed(llm, vectors).flatten(0, 1)[pack.layout.slots]
    words = llm.embed(torch.tensor([1, 5, 7]))
    expected = [words[0], vectors[2], words[1], vectors[0], words[2]]
    assert torch.equal(embeds, torch.stack(expected))
