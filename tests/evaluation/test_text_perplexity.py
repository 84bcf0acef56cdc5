"""Perplexity of text, before and after an LLM was tuned."""

import math

import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.evaluation.benchmarks.text_perplexity import TextPerplexity
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.llm.tuning import TunedLLM

TEXT = "the cat sat\n\na cat\n\nthe the the sat a b c d\n"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


@pytest.fixture
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


def figures_of(lm, benchmark):
    items = benchmark.items(align=None)
    wanted = make_conditions(["none", "text", "forced", "base"])
    conditions, _ = benchmark.conditions(wanted, lm, items)
    records, _ = answer_items(lm, items, conditions, None, answer=benchmark.answer)
    summaries = benchmark.metrics(records, conditions, seed=0)
    return {title: summary["conditions"] for title, summary in summaries.items()}


def loss_by_hand(llm, model, documents):
    """Nats and tokens."""
    nats, count = 0.0, 0
    for document in documents:
        ids = torch.tensor(llm.tokenizer(document).input_ids)  # <s> first
        scores = model(ids[None]).logits[0, :-1].log_softmax(-1)
        nats -= scores.gather(1, ids[1:, None]).sum().item()
        count += len(ids) - 1
    return nats, count


def test_it_is_that_of_all_tokens(lm, path):
    figures = figures_of(lm, TextPerplexity(path))
    documents = [x.strip() for x in TEXT.split("\n\n")]
    nats, tokens = loss_by_hand(lm.llm, lm.llm.load_model(), documents)
    assert set(figures["perplexity"]) == {"text"}
    found = figures["perplexity"]["text"]
    assert found["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert found["segmentation"] is None
    low, high = found["interval"]
    assert low <= found["perplexity"] <= high
    size = sum(map(len, documents))
    bits = figures["perplexity bits_per_byte"]["text"]["bits_per_byte"]
    assert bits == pytest.approx(nats / math.log(2) / size, rel=1e-4)


def test_a_tuned_llm_is_shown_beside_the_base_model(lm, path):
    before = figures_of(lm, TextPerplexity(path))["perplexity"]["text"]
    tuned = TunedLLM(lm.llm, "full")
    with torch.no_grad():
        for parameter in tuned.model.parameters():
            # The table of embeddings is the original's.
            parameter.mul_(1.5 if parameter.requires_grad else 1)
    after = SpeechLM(
        lm.encoder, lm.llm, lm.connector, dict(lm.segmenters), lm.settings, tuned
    )
    found = figures_of(after, TextPerplexity(path))["perplexity"]
    assert found["base"]["perplexity"] == pytest.approx(before["perplexity"])
    assert abs(found["text"]["perplexity"] - before["perplexity"]) > 0.1


def test_long_documents_are_read_in_parts(lm, path, tiny_llm_folder):
    parts = ["the cat", "sat", "a cat", "the the", "the sat", "a b", "c d"]
    nats, tokens = loss_by_hand(lm.llm, TextLLM(tiny_llm_folder).load_model(), parts)
    found = figures_of(lm, TextPerplexity(path, longest=2))["perplexity"]
    expected = pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert found["text"]["perplexity"] == expected
    assert TextPerplexity(path).settings() != TextPerplexity(path, longest=2).settings()


def test_a_text_must_be_named(tmp_path):
    with pytest.raises(ValueError, match="benchmark_options, perplexity, data"):
        TextPerplexity(None)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="no text in"):
        TextPerplexity(tmp_path / "empty.txt").items(align=None)
