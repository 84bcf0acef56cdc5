"""Reading metrics against values counted by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from ssr_plugin.metrics.vector_metrics import VectorMetrics
from ssr_plugin.nnet.nearest import nearest_tokens

WORDS = ["the", "cat", "sat", "mat", "dog"]
TOKENIZER = SimpleNamespace(
    decode=lambda ids, **options: " " + " ".join(WORDS[i] for i in ids)
)
TABLE = 2 * torch.eye(5)


def reading(metrics, name, said, read, seconds=1.0):
    """Adds an utterance whose vectors are the embeddings of other words."""
    said, read = (
        torch.tensor([WORDS.index(w) for w in x.split()]) for x in (said, read)
    )
    metrics.add(name, TABLE[read], said, seconds)


def make_metrics(seen=(True,) * 5):
    return VectorMetrics(TOKENIZER, TABLE, torch.tensor(seen))


def test_the_nearest_token_is_that_of_the_least_distance():
    torch.manual_seed(0)
    table, vectors = torch.randn(40, 6) * torch.rand(40, 1), torch.randn(30, 6)
    expected = torch.cdist(vectors, table).argmin(-1)
    assert torch.equal(nearest_tokens(vectors, table), expected)
    assert torch.equal(nearest_tokens(vectors, table, rows_at_once=7), expected)


def test_no_vector_has_no_nearest_token():
    found = nearest_tokens(torch.zeros(0, 5), TABLE)
    assert found.shape == (0,)
    assert found.dtype == torch.long


def test_perfect_vectors_score_perfectly():
    metrics = make_metrics()
    reading(metrics, "u1", "the cat sat", "the cat sat", seconds=2.0)
    summary = metrics.summary()
    assert summary == {
        "cosine": pytest.approx(1.0),
        "mse": 0.0,
        "token_accuracy": 100.0,
        "token_accuracy_seen": 100.0,
        "token_accuracy_unseen": None,
        "retrieval_wer": 0.0,
        "retrieval_wer_whisper": 0.0,
        "vectors_per_second": 1.5,
        "vectors_per_token": 1.0,
        "utterances": 1,
    }


def test_figures_are_over_all_tokens_not_means_over_utterances():
    metrics = make_metrics()
    reading(metrics, "u1", "the", "cat")
    reading(metrics, "u2", "the cat sat", "the cat sat", seconds=3.0)
    summary = metrics.summary()
    assert summary["token_accuracy"] == 75.0
    assert summary["retrieval_wer"] == 25.0
    assert summary["cosine"] == pytest.approx(0.75)
    assert summary["mse"] == pytest.approx(8 / 4)
    assert summary["vectors_per_second"] == 1.0
    assert summary["utterances"] == 2


def test_seen_and_unseen_token_types_are_told_apart():
    metrics = make_metrics(seen=(True, True, False, False, False))
    reading(metrics, "u1", "the cat sat mat dog", "the the sat dog mat")
    summary = metrics.summary()
    assert summary["token_accuracy"] == pytest.approx(100 * 2 / 5)
    assert summary["token_accuracy_seen"] == pytest.approx(100 * 1 / 2)
    assert summary["token_accuracy_unseen"] == pytest.approx(100 * 1 / 3)


def test_the_error_is_the_squared_distance_and_the_cosine_is_not_centred():
    metrics = make_metrics()
    vector = torch.tensor([[2.0, 2.0, 0.0, 0.0, 0.0]])
    metrics.add("u1", vector, torch.tensor([0]), seconds=1.0)
    summary = metrics.summary()
    assert summary["mse"] == pytest.approx(4.0)
    assert summary["cosine"] == pytest.approx(1 / math.sqrt(2))


def test_readings_are_kept_beside_their_transcripts():
    metrics = make_metrics()
    reading(metrics, "u1", "the cat", "the dog")
    assert metrics.readings == [("u1", "the cat", "the dog")]


def test_nothing_scored_is_none_rather_than_an_error():
    summary = make_metrics().summary()
    assert summary.pop("utterances") == 0
    assert set(summary.values()) == {None}


def test_vectors_and_table_may_be_in_half_precision():
    metrics = VectorMetrics(TOKENIZER, TABLE.bfloat16(), torch.ones(5, dtype=bool))
    metrics.add("u1", TABLE[:2].half(), torch.tensor([0, 1]), seconds=1.0)
    assert metrics.summary()["token_accuracy"] == 100.0
