"""LM fusion: the LLM's expectation times what was heard, the same in any batch."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from ssr_plugin.llm import lm_fusion as module
from ssr_plugin.llm.lm_fusion import LMFusion, fuse_with_lm
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
def scored(llm):
    """What scores tokens, and states of fifteen vectors."""
    torch.manual_seed(0)
    return torch.nn.Linear(K, llm.vocab_size), torch.randn(sum(COUNTS), K)


def fuse(llm, scored, counts=COUNTS, steps=1, weight=1.0, inverse_temperature=1.0):
    settings = LMFusion(steps, weight, inverse_temperature)
    return fuse_with_lm(llm, *scored, counts, settings)


def test_without_a_step_vectors_are_expected_embeddings(llm, scored):
    score, states = scored
    expected = score(states).softmax(-1) @ llm.table()
    torch.testing.assert_close(fuse(llm, scored, steps=0), expected)


def test_a_step_weighs_what_was_heard_by_what_the_llm_expects(llm, scored):
    score, states = scored
    first = fuse(llm, scored, [4, 11], steps=0)[:4]
    start = llm.embed(torch.tensor([llm.start_id]))
    inputs = torch.cat([start, first[:3]])[None]
    expected = llm.load_model()(inputs_embeds=inputs).logits[0].softmax(-1)
    chances = score(states[:4]).softmax(-1) * expected**0.7
    chances = chances / chances.sum(-1, keepdim=True)
    found = fuse(llm, scored, [4, 11], weight=0.7)[:4]
    torch.testing.assert_close(found, chances @ llm.table(), **CLOSE)
    assert (found - first).abs().max() > 0.05


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_batch_gives_what_single_utterances_give(llm, scored, steps):
    score, states = scored
    batched = fuse(llm, scored, steps=steps).split(COUNTS)
    for own, x in zip(batched, states.split(COUNTS), strict=True):
        single = fuse(llm, (score, x), [len(x)], steps=steps)
        torch.testing.assert_close(own, single, **CLOSE)


@pytest.mark.parametrize("rows", [0, 1, 4, 12])
def test_how_many_go_through_at_once_does_not_matter(llm, scored, monkeypatch, rows):
    expected = fuse(llm, scored, steps=2)
    sizes, score = [], scored[0]
    monkeypatch.setattr(module, "_LOGITS", rows * llm.vocab_size)
    inner = module._fuse_group

    def spy(llm, log_probs, *others):
        sizes.append(sum(map(len, log_probs)))
        return inner(llm, log_probs, *others)

    monkeypatch.setattr(module, "_fuse_group", spy)
    found = fuse(llm, (score, scored[1]), steps=2)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert sum(sizes) == sum(COUNTS)
    # One utterance is never split.
    assert max(sizes) <= max(rows, max(COUNTS))


def test_vectors_come_nearer_to_single_tokens_as_the_temperature_falls(llm, scored):
    score, states = scored
    found = fuse(llm, scored, steps=0, inverse_temperature=3.0)
    expected = (3 * score(states)).softmax(-1) @ llm.table()
    torch.testing.assert_close(found, expected, **CLOSE)


def test_without_weight_the_llm_has_no_say(llm, scored):
    found = fuse(llm, scored, steps=2, weight=0.0)
    torch.testing.assert_close(found, fuse(llm, scored, steps=0), **CLOSE)


def test_after_each_step_one_more_vector_stays_as_it_is(llm, scored):
    """Vector i follows from those before it, which settle one by one."""
    after = [fuse(llm, scored, [15], steps=steps) for steps in range(7)]
    for steps, vectors in enumerate(after):
        for later in after[steps + 1 :]:
            torch.testing.assert_close(later[:steps], vectors[:steps], **CLOSE)
    # The next one may change, and at least once does.
    changes = [(a[k] - b[k]).abs().max() for k, (a, b) in enumerate(_pairs(after))]
    assert max(changes[1:]) > 1e-2


def _pairs(after):
    return zip(after, after[1:], strict=False)


def test_no_vector_knows_what_was_heard_after_it(llm, scored):
    score, states = scored
    changed = states.clone()
    changed[6:] = torch.randn(9, K)
    before, after = (fuse(llm, (score, x), [15], steps=3) for x in (states, changed))
    torch.testing.assert_close(after[:6], before[:6], **CLOSE)
    assert not torch.allclose(after[6:], before[6:])


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("counts", [[], [0], [0, 0]])
def test_no_utterance_and_no_vector_give_no_vector(llm, scored, counts, steps):
    found = fuse(llm, (scored[0], torch.zeros(0, K)), counts, steps=steps)
    assert found.shape == (0, llm.hidden_size)


def test_the_llm_stays_as_it_is_and_nothing_takes_a_gradient(llm, scored):
    model = llm.load_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    scored[1].requires_grad_()
    found = fuse(llm, scored, steps=2)
    assert not found.requires_grad
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not any(m._forward_pre_hooks for m in model.modules())
    parameters = [*model.parameters(), *scored[0].parameters()]
    assert all(parameter.grad is None for parameter in parameters)


def test_without_a_step_the_llm_is_not_loaded(tiny_llm_folder, scored):
    llm = TextLLM(tiny_llm_folder)
    fuse(llm, scored, steps=0)
    assert llm.model is None
    fuse(llm, scored, steps=1)
    assert llm.model is not None
