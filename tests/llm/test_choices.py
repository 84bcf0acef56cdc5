"""Several texts after one context: read once, in any company, as if alone."""

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from ssr_plugin.llm import choices as choices_module
from ssr_plugin.llm import next_token
from ssr_plugin.llm.choices import score_choices
from ssr_plugin.llm.text_llm import TextLLM

CONTEXTS = [[1], [1, 5, 6, 7, 8, 9, 10], [4, 5], [1, 9, 9], [11, 12, 13, 14]]
CHOICES = [
    [[5, 6], [7]],
    [[8], [9, 10, 11, 12], [4]],
    [[7, 8, 9]],
    [[5], [6]],
    [[4, 4], [4, 4, 4], [6], [7, 8]],
]


@pytest.fixture(scope="module")
def llm(tiny_llm_folder):
    llm = TextLLM(tiny_llm_folder)
    llm.load_model()
    return llm


@pytest.fixture
def passes(llm, monkeypatch):
    """A list that gets the [B, L] of each pass through the model."""
    model, seen = llm.load_model().model, []
    forward = model.forward

    def count(*args, **kwargs):
        seen.append(kwargs["inputs_embeds"].shape[:2])
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", count)
    return seen


def score(llm, contexts, choices, **options):
    embedded = [llm.embed(torch.tensor(ids)) for ids in contexts]
    return score_choices(llm.load_model(), llm.embed, embedded, choices, **options)


def by_hand(model, context, choice):
    logits = model(torch.tensor([context + choice])).logits[0].log_softmax(-1)
    asked = logits[len(context) - 1 : -1]
    return asked.gather(1, torch.tensor(choice)[:, None]).sum().item()


def expected(model):
    return [
        [by_hand(model, context, choice) for choice in own]
        for context, own in zip(CONTEXTS, CHOICES, strict=True)
    ]


# Examples, then a question: what most of them have in common is read once.
HEAD = [1, *range(4, 20)]
ALIKE = [[*HEAD, *tail] for tail in ([20], [21, 22, 23], [24, 25], [20, 22])]
LETTERS = [[[26], [27], [28]]] * 3
ALIKE_CHOICES = [*LETTERS, [[26, 27], [28], [29, 30, 31]]]


def close(found, wanted):
    assert [len(own) for own in found] == [len(own) for own in wanted]
    for own, other in zip(found, wanted, strict=True):
        assert own == pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_choices_together_are_scored_as_each_alone(llm, batch_size):
    found = score(llm, CONTEXTS, CHOICES, batch_size=batch_size)
    close(found, expected(llm.load_model()))


def test_little_memory_changes_no_score(llm, monkeypatch, request):
    wanted = expected(llm.load_model())
    passes = request.getfixturevalue("passes")
    close(score(llm, CONTEXTS, CHOICES), wanted)
    few = len(passes)
    monkeypatch.setattr(choices_module, "positions_at_once", lambda model: 1)
    monkeypatch.setattr(next_token, "_LOGITS", 1)
    close(score(llm, CONTEXTS, CHOICES), wanted)
    assert len(passes) > 2 * few


def test_a_context_goes_through_the_model_once(llm, passes):
    score(llm, [[1, *range(4, 24)]], [[[5], [6], [7, 8], [9]]])
    # 20 positions of the context, then its last with all but the last of each text.
    assert passes == [(1, 20), (4, 2)]


@pytest.mark.parametrize("batch_size", [1, 64])
def test_what_contexts_have_in_common_changes_no_score(llm, batch_size):
    # One that begins otherwise stands between them.
    contexts = [*ALIKE[:3], CONTEXTS[1], *ALIKE]
    choices = [*ALIKE_CHOICES[:3], CHOICES[1], *ALIKE_CHOICES]
    found = score(llm, contexts, choices, batch_size=batch_size)
    model = llm.load_model()
    wanted = [
        [by_hand(model, context, choice) for choice in own]
        for context, own in zip(contexts, choices, strict=True)
    ]
    close(found, wanted)


def test_what_contexts_have_in_common_goes_through_the_model_once(llm, passes):
    score(llm, ALIKE[:3], LETTERS)
    # Then the questions, each once: one position tells of all three letters.
    assert passes == [(1, len(HEAD)), (3, 3)]


def test_a_hundred_items_take_few_passes(llm, passes):
    score(llm, [[1, 5, 6]] * 100, [[[5], [6, 7]]] * 100)
    assert len(passes) <= 10


@pytest.mark.parametrize("kind", ["gpt2", "opt", "bloom", "gemma3_text", "mistral"])
def test_every_kind_of_position_and_window_is_kept(kind):
    from transformers import AutoConfig

    sizes = {
        "vocab_size": 32,
        "hidden_size": 16,
        "n_embd": 16,
        "word_embed_proj_dim": 16,
    }
    sizes |= {"num_hidden_layers": 2, "n_layer": 2, "num_attention_heads": 2}
    sizes |= {"n_head": 2, "num_key_value_heads": 1, "head_dim": 8, "ffn_dim": 32}
    sizes |= {"intermediate_size": 32, "sliding_window": 4, "pad_token_id": 0}
    sizes |= {"n_positions": 64, "max_position_embeddings": 64}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **sizes)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        # As drawn, tiny models say the same whatever comes before.
        parameter.data = parameter.data * 5 if parameter.dim() > 1 else parameter.data
    table = model.get_input_embeddings()
    embedded = [table(torch.tensor(ids)).detach() for ids in CONTEXTS]
    found = score_choices(model, table, embedded, CHOICES)
    close(found, expected(model))
    embedded = [table(torch.tensor(ids)).detach() for ids in ALIKE]
    found = score_choices(model, table, embedded, ALIKE_CHOICES)
    wanted = [
        [by_hand(model, context, choice) for choice in own]
        for context, own in zip(ALIKE, ALIKE_CHOICES, strict=True)
    ]
    close(found, wanted)


def test_a_model_without_a_cache_reads_the_context_anew(llm, monkeypatch):
    model = llm.load_model()
    monkeypatch.setattr(type(model), "_is_stateful", True)
    close(score(llm, CONTEXTS, CHOICES), expected(model))


def test_half_precision_keeps_the_order(tiny_llm_folder, llm):
    half = TextLLM(tiny_llm_folder, dtype="bfloat16")
    found = torch.tensor(score(half, CONTEXTS, CHOICES)[4])
    wanted = torch.tensor(score(llm, CONTEXTS, CHOICES)[4])
    assert F.l1_loss(found, wanted) < 0.1
