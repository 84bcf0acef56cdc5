"""What the LLM expects settles what was heard, the same in any batch and group."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from ssr_plugin.llm import lm_fusion as module
from ssr_plugin.llm.lm_fusion import refine
from ssr_plugin.llm.text_llm import TextLLM

K = 5
LLAMA = LlamaConfig(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
)
GPT2 = GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=64)
FAMILIES = {"llama": (LlamaForCausalLM, LLAMA), "gpt2": (GPT2LMHeadModel, GPT2)}
COUNTS = [3, 0, 9, 1, 2]
CLOSE = {"atol": 1e-4, "rtol": 0}


@pytest.fixture(scope="module", params=FAMILIES)
def llm(request, tmp_path_factory, tiny_tokenizer):
    """An LLM that expects some tokens much more than others."""
    folder = tmp_path_factory.mktemp("llm")
    model_class, config = FAMILIES[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config)
        for parameter in model.requires_grad_(False).parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return TextLLM(folder)


@pytest.fixture
def heard(llm):
    """States of fifteen vectors, and what scores them."""
    torch.manual_seed(0)
    return torch.nn.Linear(K, llm.vocab_size), torch.randn(sum(COUNTS), K)


def read(llm, heard, counts=COUNTS, passes=1, weight=1.0):
    score, states = heard
    return refine(llm, score, states, counts, passes, weight)


def test_without_a_pass_vectors_are_expected_embeddings(llm, heard):
    score, states = heard
    expected = score(states).softmax(-1) @ llm.table()
    torch.testing.assert_close(read(llm, heard, passes=0), expected)


def test_a_pass_weighs_what_was_heard_by_what_the_llm_expects(llm, heard):
    score, states = heard
    first = read(llm, heard, [4, 11], passes=0)[:4]
    start = llm.embed(torch.tensor([llm.start_id]))
    inputs = torch.cat([start, first[:3]])[None]
    expected = llm.load_model()(inputs_embeds=inputs).logits[0].softmax(-1)
    chances = score(states[:4]).softmax(-1) * expected**0.7
    chances = chances / chances.sum(-1, keepdim=True)
    found = read(llm, heard, [4, 11], weight=0.7)[:4]
    torch.testing.assert_close(found, chances @ llm.table(), **CLOSE)
    assert (found - first).abs().max() > 0.05


@pytest.mark.parametrize("passes", [0, 1, 3])
def test_a_batch_gives_what_single_utterances_give(llm, heard, passes):
    score, states = heard
    batched = read(llm, heard, passes=passes).split(COUNTS)
    for own, x in zip(batched, states.split(COUNTS), strict=True):
        single = read(llm, (score, x), [len(x)], passes=passes)
        torch.testing.assert_close(own, single, **CLOSE)


@pytest.mark.parametrize("rows", [0, 1, 4, 12])
def test_how_many_go_through_at_once_does_not_matter(llm, heard, monkeypatch, rows):
    expected = read(llm, heard, passes=2)
    sizes, score = [], heard[0]
    monkeypatch.setattr(module, "_LOGITS", rows * llm.vocab_size)
    inner = module._refine

    def spy(llm, heard, *others):
        sizes.append(sum(map(len, heard)))
        return inner(llm, heard, *others)

    monkeypatch.setattr(module, "_refine", spy)
    found = read(llm, (score, heard[1]), passes=2)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert sum(sizes) == sum(COUNTS)
    # One utterance is never split.
    assert max(sizes) <= max(rows, max(COUNTS))


def test_without_weight_the_llm_has_no_say(llm, heard):
    found = read(llm, heard, passes=2, weight=0.0)
    torch.testing.assert_close(found, read(llm, heard, passes=0), **CLOSE)


def test_after_each_pass_one_more_vector_stays_as_it_is(llm, heard):
    """Vector i follows from those before it, which settle one by one."""
    after = [read(llm, heard, [15], passes=passes) for passes in range(7)]
    for passes, vectors in enumerate(after):
        for later in after[passes + 1 :]:
            torch.testing.assert_close(later[:passes], vectors[:passes], **CLOSE)
    # The next one may change, and at least once does.
    changes = [(a[k] - b[k]).abs().max() for k, (a, b) in enumerate(_pairs(after))]
    assert max(changes[1:]) > 1e-2


def _pairs(after):
    return zip(after, after[1:], strict=False)


def test_no_vector_knows_what_was_heard_after_it(llm, heard):
    score, states = heard
    changed = states.clone()
    changed[6:] = torch.randn(9, K)
    before, after = (read(llm, (score, x), [15], passes=3) for x in (states, changed))
    torch.testing.assert_close(after[:6], before[:6], **CLOSE)
    assert not torch.allclose(after[6:], before[6:])


@pytest.mark.parametrize("passes", [0, 2])
@pytest.mark.parametrize("counts", [[], [0], [0, 0]])
def test_no_utterance_and_no_vector_give_no_vector(llm, heard, counts, passes):
    found = read(llm, (heard[0], torch.zeros(0, K)), counts, passes=passes)
    assert found.shape == (0, llm.hidden_size)


def test_the_llm_stays_as_it_is_and_nothing_takes_a_gradient(llm, heard):
    model = llm.load_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    heard[1].requires_grad_()
    found = read(llm, heard, passes=2)
    assert not found.requires_grad
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not any(m._forward_pre_hooks for m in model.modules())
    parameters = [*model.parameters(), *heard[0].parameters()]
    assert all(parameter.grad is None for parameter in parameters)


def test_without_a_pass_the_llm_is_not_loaded(tiny_llm_folder, heard):
    llm = TextLLM(tiny_llm_folder)
    read(llm, heard, passes=0)
    assert llm.model is None
    read(llm, heard, passes=1)
    assert llm.model is not None
