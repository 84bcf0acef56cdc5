"""Keys made of tokens' spelling."""

import torch

from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.spelling import (
    Spelling,
    SpellingKeys,
    VocabularyHead,
    character_ngrams,
)

WORDS = ["cat", "cats", "a", "dog"]


def test_looked_up_n_grams_sum_up_to_each_tokens_mean_times_the_root_of_their_number():
    keys = SpellingKeys(Spelling(WORDS), size=8).eval()
    grams = keys.look_up(torch.tensor([3, 0, 2]))
    found = keys.grams(grams["grams"], grams["offsets"], grams["weight"])
    for row, word in zip(found, ("dog", "cat", "a"), strict=True):
        buckets = Spelling([word]).look_up(torch.tensor([0]))["grams"]
        count = len(character_ngrams(word))
        mean = keys.grams.weight[buckets[:count]].mean(0)
        torch.testing.assert_close(row, mean * count**0.5)


def test_a_key_does_not_depend_on_the_tokens_beside_it():
    keys = SpellingKeys(Spelling(WORDS), size=8).eval()
    together, biases = keys(keys.look_up(torch.arange(4)))
    for i in range(4):
        alone, bias = keys(keys.look_up(torch.tensor([i])))
        torch.testing.assert_close(alone[0], together[i])
        torch.testing.assert_close(bias[0], biases[i])


def test_logits_of_a_vocabulary_head_are_a_bias_and_a_scaled_product(tiny_llm_folder):
    head = VocabularyHead(TextLLM(tiny_llm_folder), width=16)
    candidates, states = torch.tensor([3, 7, 30]), torch.rand(2, 5, 16)
    keys, bias = head.keys(head.keys.look_up(candidates))
    expected = bias + head.scale * (head.query(states) @ keys.T)
    torch.testing.assert_close(head(states, candidates), expected)


@torch.no_grad()
def test_cached_keys_of_a_vocabulary_head_have_the_precision_asked_for(tiny_llm_folder):
    head = VocabularyHead(TextLLM(tiny_llm_folder), width=16).eval()
    states = torch.rand(5, 16)
    exact = head(states)
    head.eval()  # forgets
    with torch.autocast("cpu", torch.bfloat16):
        rough = head(states)
    assert not torch.equal(rough, exact)
    assert torch.equal(head(states), exact)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(states), rough)
