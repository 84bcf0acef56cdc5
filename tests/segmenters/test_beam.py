"""The search for what was said: the best in ear and LLM together, however it is run."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from ssr_plugin.llm.prefixes import GrowingTexts
from ssr_plugin.segmenters import beam
from ssr_plugin.segmenters.beam import Emissions, search_prefixes
from ssr_plugin.segmenters.subword_ctc import SubwordCTCSegmenter

TOKENS = [5, 9, 20]


def log_probs_after(llm, tokens):
    """[V], by reading the whole text."""
    ids = torch.tensor([[llm.start_id, *tokens]])
    return llm.load_model()(ids).logits[0, -1].detach().log_softmax(-1)


def make_emissions(seed, count, first=0):
    """Log-probabilities [count, 4] of the blank and all of TOKENS, and as emissions."""
    generator = torch.Generator().manual_seed(seed)
    scores = (2 * torch.randn(count, 4, generator=generator)).log_softmax(-1)
    order = scores[:, 1:].argsort(descending=True)
    return scores, Emissions(
        list(range(first, first + count)),
        scores[:, 0].tolist(),
        torch.tensor(TOKENS)[order].tolist(),
        scores[:, 1:].gather(1, order).tolist(),
    )


def best_by_definition(llm, scores, weight, bonus):
    """Of all token sequences, the one with the highest score."""
    found = {}
    for length in range(len(scores) + 1):
        for places in itertools.product(range(3), repeat=length):
            target = torch.tensor([[place + 1 for place in places]], dtype=torch.long)
            heard = -F.ctc_loss(
                scores[:, None], target, [len(scores)], [length], reduction="sum"
            )
            tokens = [TOKENS[place] for place in places]
            text = sum(
                log_probs_after(llm, tokens[:i])[token].item()
                for i, token in enumerate(tokens)
            )
            found[tuple(tokens)] = heard.item() + weight * text + bonus * length
    return max(found, key=found.get)


def test_growing_texts_that_branch_and_wait_are_read_as_if_alone(llm):
    texts, wanted = GrowingTexts(llm, 2), [(), ()]
    steps = [
        ([0, 0, 1], [4, 7, None]),
        ([2, 1, 0, 0], [5, None, 6, None]),
        ([3, 0, 1], [8, 9, 10]),
    ]
    for parents, tokens in steps:
        texts.grow(parents, tokens)
        wanted = [
            wanted[parent] + (() if token is None else (token,))
            for parent, token in zip(parents, tokens, strict=True)
        ]
        assert len(texts.log_probs) == len(wanted)
        for row, text in zip(texts.log_probs, wanted, strict=True):
            assert torch.allclose(row, log_probs_after(llm, text), atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("weight", "bonus"), [(0.0, 0.0), (0.5, 0.4), (1.5, 2.0)])
def test_the_beam_search_finds_the_best_of_all_in_ctc_and_llm(llm, seed, weight, bonus):
    scores, emissions = make_emissions(seed, 4)
    ((tokens, places),) = search_prefixes([emissions], llm, 200, weight, bonus)
    assert tuple(tokens) == best_by_definition(llm, scores, weight, bonus)
    assert places == sorted(set(places)) and len(places) == len(tokens)


def test_the_beam_search_lets_the_llm_settle_what_ctc_leaves_open(llm):
    likely = log_probs_after(llm, []).topk(1).indices.item()
    other = likely - 1
    heard = Emissions([2], [-9.0], [[other, likely]], [[-0.69, -0.70]])
    assert search_prefixes([heard], llm, weight=0.0) == [([other], [2])]
    assert search_prefixes([heard], llm, weight=0.5) == [([likely], [2])]


def test_the_beam_search_takes_a_repeated_token_for_two_after_a_blank_alone(llm):
    def search(states):
        heard = Emissions(states, [-9.0, -9.0], [[5], [5]], [[-0.01], [-0.01]])
        return search_prefixes([heard], llm, weight=0.0, bonus=0.0)[0]

    assert search([1, 2]) == ([5], [1])
    assert search([1, 3]) == ([5, 5], [1, 3])


def test_the_beam_search_begins_a_token_where_it_is_likeliest_to(llm):
    heard = Emissions([3, 4], [-0.05, -3.0], [[5], [5]], [[-3.0], [-0.05]])
    assert search_prefixes([heard], llm, weight=0.0, bonus=0.0) == [([5], [4])]


def test_the_beam_search_of_a_batch_is_that_of_single_utterances(llm):
    heard = [make_emissions(seed, count)[1] for seed, count in enumerate([3, 9, 0, 6])]
    together = search_prefixes(heard, llm)
    assert together == [search_prefixes([own], llm)[0] for own in heard]
    assert any(tokens for tokens, _ in together)
    assert together[2] == ([], [])


def test_the_beam_search_cuts_a_long_recording_where_least_is_told(llm, monkeypatch):
    places = enumerate((0, 40, 60))
    parts = [make_emissions(seed, 5, first)[1] for seed, first in places]
    fields = zip(*map(fields_of, parts), strict=True)
    whole = Emissions(*(sum(own, []) for own in fields))
    monkeypatch.setattr(beam, "_LONGEST", 7)
    apart = search_prefixes(parts, llm)
    ((tokens, places),) = search_prefixes([whole], llm)
    assert tokens == [x for own, _ in apart for x in own]
    assert places == [x for _, own in apart for x in own]


def fields_of(emissions):
    return (emissions.states, emissions.blanks, emissions.tokens, emissions.scores)


def test_subword_ctc_runs_the_llm_only_where_it_may(llm, monkeypatch):
    torch.manual_seed(0)
    sizes = {"width": 8, "num_heads": 2, "num_layers": 1}
    segmenter = SubwordCTCSegmenter(6, llm, 50.0, beam_size=3, **sizes).eval()
    features, lengths = 3 * torch.randn(2, 60, 6), torch.tensor([60, 31])
    read = []
    monkeypatch.setattr(
        "ssr_plugin.segmenters.subword_ctc.search_prefixes",
        lambda *given: read.append(given) or search_prefixes(*given),
    )
    greedy = segmenter.segment_frames(features, lengths, use_lm=False)
    assert not read
    found = segmenter.segment_frames(features, lengths)
    assert len(read) == 1
    for each, length in zip(found, lengths, strict=True):
        segments = each.segments
        assert (segments.starts[1:] > segments.starts[:-1]).all()
        assert not len(segments) or segments.boundaries[-1] == length - 1
    segmenter.beam_size = 1
    alone = segmenter.segment_frames(features, lengths)
    assert len(read) == 1
    for one, other in zip(alone, greedy, strict=True):
        assert one.segments.tokens.tolist() == other.segments.tokens.tolist()


def test_subword_ctc_leaves_out_an_llm_that_keeps_no_keys_and_values(llm, monkeypatch):
    sizes = {"width": 8, "num_heads": 2, "beam_size": 3}
    segmenter = SubwordCTCSegmenter(6, llm, 50.0, **sizes).eval()
    monkeypatch.setattr(GrowingTexts, "can_read", staticmethod(lambda llm: False))
    monkeypatch.setattr("ssr_plugin.segmenters.subword_ctc.search_prefixes", None)
    assert len(segmenter.segment_frames(torch.randn(1, 20, 6), torch.tensor([20]))) == 1
