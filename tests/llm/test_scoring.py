"""Token likelihoods: those of the plain model, whatever stands beside a sequence."""

import pytest
import torch
import transformers as hf

from ssr_plugin.llm import next_token, scoring
from ssr_plugin.llm.scoring import cache_argument, token_log_probs

TINY = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
MODELS = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**TINY)),
    "gemma2, capped logits": lambda: hf.Gemma2ForCausalLM(
        hf.Gemma2Config(**TINY, sliding_window=4, final_logit_softcapping=0.5)
    ),
    "gpt2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    ),
    "opt": lambda: hf.OPTForCausalLM(
        hf.OPTConfig(
            vocab_size=40,
            hidden_size=16,
            word_embed_proj_dim=8,
            ffn_dim=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32,
        )
    ),
}


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[request.param]().eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def sentences():
    """Ids of three sentences of unlike lengths."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, 40, (n,), generator=generator) for n in (9, 4, 6)]


def score(model, sentences, side):
    """Scores of all tokens but the first, of each sentence."""
    longest = max(map(len, sentences))
    ids, targets = torch.zeros(2, len(sentences), longest).long()
    mask = torch.zeros(len(sentences), longest, dtype=torch.bool)
    targets -= 1
    places = []
    for i, sentence in enumerate(sentences):
        start = longest - len(sentence) if side == "left" else 0
        stop = start + len(sentence)
        ids[i, start:stop] = sentence
        mask[i, start:stop] = True
        targets[i, start : stop - 1] = sentence[1:]
        places.append(slice(start, stop - 1))
    embeds = model.get_input_embeddings()(ids)
    scores = token_log_probs(model, embeds, mask, targets)
    assert (scores[targets < 0] == 0).all()
    return [row[place] for row, place in zip(scores, places, strict=True)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_scores_are_the_plain_models_on_either_side_of_padding(model, side):
    for sentence, scores in zip(
        sentences(), score(model, sentences(), side), strict=True
    ):
        logits = model(sentence[None]).logits[0, :-1]
        plain = logits.log_softmax(-1).gather(1, sentence[1:, None])[:, 0]
        torch.testing.assert_close(scores, plain, atol=1e-5, rtol=1e-4)


def test_a_few_positions_at_a_time_give_the_same(model, monkeypatch):
    at_once = score(model, sentences(), "right")
    monkeypatch.setattr(scoring, "positions_at_once", lambda model: 10)
    monkeypatch.setattr(next_token, "_LOGITS", 40 * 3)
    passes, logits = [], []
    hooks = [
        model.get_decoder().register_forward_pre_hook(lambda *_: passes.append(1)),
        model.get_output_embeddings().register_forward_hook(
            lambda layer, args, logits_: logits.append(logits_.shape[1])
        ),
    ]
    in_parts = score(model, sentences(), "right")
    for hook in hooks:
        hook.remove()
    # Of 9, 4 and 6 positions, the last two share a pass of 10.
    assert len(passes) == 2
    assert max(logits) == 3 and sum(logits) == 8 + 3 + 5
    for a, b in zip(at_once, in_parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_scoring_has_little_more_than_the_sequences_in_a_pass(model):
    slots = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: slots.append(kwargs["inputs_embeds"][..., 0].numel()),
        with_kwargs=True,
    )
    ids = [torch.full((n,), 5) for n in (20, 2, 2, 2, 2, 2, 2, 2, 2)]
    score(model, ids, "left")
    hook.remove()
    # Rows padded to the longest would be 180.
    assert slots == [64]


def test_nothing_asked_for_gives_nothing(model):
    embeds = model.get_input_embeddings()(torch.tensor([[3, 4]]))
    targets = torch.full((1, 2), -1)
    assert not token_log_probs(model, embeds, targets < 0, targets).any()


def test_the_cache_goes_by_the_name_that_the_model_has_for_it():
    class Old(torch.nn.Module):
        def forward(self, inputs_embeds=None, past_key_values=None): ...

    class New(torch.nn.Module):
        # As transformers renames an argument: the old name still gets through.
        def forward(self, inputs_embeds=None, cache=None, **kwargs): ...

    class Stateless(torch.nn.Module):
        def forward(self, inputs_embeds=None): ...

    class Recurrent(Old):
        _is_stateful = True

    found = [cache_argument(kind()) for kind in (Old, New, Stateless, Recurrent)]
    assert found == ["past_key_values", "cache", None, None]
