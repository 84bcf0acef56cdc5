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
        # Alone, a token has one row for each n-gram, unless two share a number.
        buckets = Spelling([word]).buckets
        count = len(character_ngrams(word))
        assert len(buckets) == count
        index = torch.searchsorted(keys.spelling.buckets, buckets)
        mean = keys.grams.weight[index].mean(0)
        torch.testing.assert_close(row, mean * count**0.5)


def test_keys_keep_only_numbers_that_some_token_has():
    keys = SpellingKeys(Spelling(WORDS), size=8)
    grams = {gram for word in WORDS for gram in character_ngrams(word)}
    assert len(keys.grams.weight) == len(grams) < keys.spelling.num_buckets


def test_an_n_gram_begins_alike_in_every_vocabulary():
    torch.manual_seed(0)
    some = SpellingKeys(Spelling(WORDS[:2]), size=8)
    torch.manual_seed(0)
    more = SpellingKeys(Spelling(WORDS), size=8)
    index = torch.searchsorted(more.spelling.buckets, some.spelling.buckets)
    assert torch.equal(some.grams.weight, more.grams.weight[index])
    # Nor does the vocabulary change what is drawn after it.
    assert torch.equal(some.rank.weight, more.rank.weight)


def test_keys_load_the_table_of_all_numbers_that_checkpoints_had_before():
    keys = SpellingKeys(Spelling(WORDS), size=8).eval()
    saved = keys.state_dict()
    table = torch.rand(keys.spelling.num_buckets, 8)
    table[keys.spelling.buckets] = saved["grams.weight"]
    found = SpellingKeys(Spelling(WORDS), size=8).eval()
    found.load_state_dict({**saved, "grams.weight": table})
    ids = torch.arange(4)
    for one, other in zip(
        found(found.look_up(ids)), keys(keys.look_up(ids)), strict=True
    ):
        assert torch.equal(one, other)


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
    # Those of one alone are kept: of a large vocabulary they are large.
    assert len(head._cached) == 1
