"""The gate between a hypothesis and a connector that hears the same."""

import math

import numpy as np
import pytest
import torch

from ssr_plugin.connectors.base import VocabularyConnector
from ssr_plugin.inference.posterior_gate import (
    Evidence,
    Examples,
    PosteriorGate,
    gate_of,
    known_posteriors,
    settings_of,
)
from ssr_plugin.inference.reading import read_segments
from ssr_plugin.llm.lm_fusion import LMFusion
from ssr_plugin.segmenters.base import Segmentation, Segments, TokenPosteriors


class Heard(VocabularyConnector):
    """Its states are the logits themselves, the last that of no token."""

    def encode(self, features, boundaries, starts=None):
        return features[:, : boundaries.shape[1]]

    def token_logits(self, states, candidates=None):
        return states[..., :-1]

    def null_logits(self, states):
        return states[..., -1]


@pytest.fixture
def connector(llm):
    return Heard(llm)


def evidence(tokens, confidences, alternatives=None):
    """Of one utterance; alternatives are (token, probability), one for each segment."""
    count = len(tokens)
    ids, probs = [[x] for x in tokens], [[x] for x in confidences]
    for i, (token, probability) in enumerate(alternatives or ()):
        ids[i].append(token)
        probs[i].append(probability)
    position = torch.arange(count)
    return Evidence(
        torch.tensor(ids),
        torch.tensor(probs).log(),
        torch.full((count,), 10),
        position == 0,
        position == count - 1,
    )


def states(llm, tokens, sure=8.0):
    """What a connector hears that takes each segment for one token."""
    found = torch.zeros(len(tokens), llm.vocab_size + 1)
    found[range(len(tokens)), tokens] = sure
    found[:, -1] = -9.0
    return found


def read(gate, connector, states, evidence):
    """Probabilities of tokens, and which segments are of one."""
    weights = gate.believe(connector, states, evidence)
    rows = torch.arange(len(states))
    log_probs = gate.log_probs(connector, states, evidence, weights, rows)
    return log_probs, weights[:, 3] <= 0.5


def taught(connector, llm, right, count=400):
    """A gate from segments where hypothesis and connector differ.

    ``right`` says of each confidence whether the hypothesis is right, else the
    connector is.
    """
    torch.manual_seed(0)
    confidence = torch.rand(count)
    told = torch.randint(0, 5, (count,))
    heard = told + 5
    tokens = torch.where(right(confidence), told, heard)
    found = Examples.of(
        connector,
        states(llm, heard.tolist()),
        evidence(told.tolist(), confidence.tolist()),
        tokens,
        llm.vocab_size,
    )
    gate = PosteriorGate()
    return gate, gate.fit([found])


def test_a_hypothesis_is_believed_where_it_is_sure_and_right(connector, llm):
    gate, loss = taught(connector, llm, lambda confidence: confidence > 0.5)
    assert loss < 0.3
    log_probs, is_token = read(
        gate, connector, states(llm, [9, 9]), evidence([2, 2], [0.95, 0.05])
    )
    assert log_probs.argmax(1).tolist() == [2, 9]
    assert is_token.all()


def test_probabilities_sum_to_one(connector, llm):
    log_probs, _ = read(
        PosteriorGate(),
        connector,
        states(llm, [9, 8, 7]),
        evidence([2, 3, 4], [0.9, 0.5, 0.1], [(5, 0.05), (6, 0.4), (7, 0.3)]),
    )
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(3))


def test_alternatives_share_what_is_theirs(connector, llm):
    gate = PosteriorGate()
    known = evidence([2], [0.4], [(5, 0.3)])
    told = Examples.of(connector, states(llm, [9]), known, torch.tensor([5]), 99)
    assert told.alternatives.tolist() == [1.0] and told.hypothesis.tolist() == [0.0]
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias.copy_(torch.tensor([-50.0, 50.0, -50.0, -50.0]))
    log_probs, _ = read(gate, connector, states(llm, [9]), known)
    assert log_probs.exp()[0, 5] == pytest.approx(1.0)


def test_nobody_has_alternatives_where_there_are_none():
    features, has = torch.zeros(2, 11), torch.tensor([True, False])
    weights = PosteriorGate().weights(features, has)
    assert (weights[:, 1] > 0).tolist() == [True, False]
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


def test_a_segment_of_no_token_is_found_out(connector, llm):
    torch.manual_seed(0)
    confidence = torch.cat([torch.full((50,), 0.1), torch.full((50,), 0.9)])
    tokens = torch.where(confidence < 0.5, llm.vocab_size, 3)
    found = Examples.of(
        connector,
        states(llm, [3] * 100),
        evidence([3] * 100, confidence.tolist()),
        tokens,
        llm.vocab_size,
    )
    gate = PosteriorGate()
    gate.fit([found])
    _, is_token = read(
        gate, connector, states(llm, [3, 3]), evidence([3, 3], [0.1, 0.9])
    )
    assert is_token.tolist() == [False, True]


def test_a_fit_takes_no_random_numbers(connector, llm):
    (first, _), (second, _) = (
        taught(connector, llm, lambda confidence: confidence > 0.5) for _ in range(2)
    )
    assert settings_of(first) == settings_of(second)
    examples = [
        Examples.of(
            connector,
            states(llm, [3]),
            evidence([3], [0.5]),
            torch.tensor([3]),
            llm.vocab_size,
        )
    ]
    state = torch.get_rng_state()
    PosteriorGate().fit(examples)
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(ValueError, match="no segment to learn from"):
        PosteriorGate().fit([])


def test_a_gate_is_kept_as_json(connector, llm):
    gate, _ = taught(connector, llm, lambda confidence: confidence > 0.5)
    again = gate_of(settings_of(gate))
    arguments = connector, states(llm, [9]), evidence([2], [0.6])
    torch.testing.assert_close(read(gate, *arguments)[0], read(again, *arguments)[0])
    with pytest.raises(ValueError, match="'gate' is damaged"):
        gate_of({"mean": [1.0]})
    assert gate_of(None) is None and settings_of(None) is None


def posteriors(tokens, confidences):
    return TokenPosteriors(
        np.array([[x] for x in tokens]),
        np.log(np.array([[x] for x in confidences], dtype=np.float32)),
    )


@pytest.mark.parametrize("fusion", [None, LMFusion(steps=1)])
def test_an_utterance_is_read_alike_alone_and_in_a_batch(connector, llm, fusion):
    gate, _ = taught(connector, llm, lambda confidence: confidence > 0.5)
    features = torch.stack([states(llm, [9, 8, 7]), states(llm, [6, 5, 4])])
    boundaries = torch.tensor([[4, 9, 14], [9, -1, -1]])
    starts = torch.tensor([[0, 5, 10], [0, -1, -1]])
    known = [posteriors([1, 2, 3], [0.9, 0.2, 0.8]), posteriors([2], [0.3])]
    together, kept = read_segments(
        connector, llm, features, boundaries, starts, True, fusion, gate, known
    )
    for row, count in enumerate((3, 1)):
        alone, _ = read_segments(
            connector,
            llm,
            features[row : row + 1],
            boundaries[row : row + 1, :count],
            starts[row : row + 1, :count],
            True,
            fusion,
            gate,
            known[row : row + 1],
        )
        torch.testing.assert_close(
            together[row][kept[row]], alone[0], atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("fusion", [None, LMFusion(steps=1)])
def test_a_batch_in_which_nothing_is_said_has_no_vectors(connector, llm, fusion):
    boundaries = torch.full((2, 0), -1)
    vectors, kept = read_segments(
        connector,
        llm,
        states(llm, [1])[None].expand(2, -1, -1),
        boundaries,
        boundaries,
        True,
        fusion,
        PosteriorGate(),
        [],
    )
    assert vectors.shape == (2, 0, llm.hidden_size) and kept.shape == (2, 0)


def test_a_sure_hypothesis_gives_the_llms_own_embedding(connector, llm):
    gate, _ = taught(connector, llm, lambda confidence: confidence > 0.02)
    vectors, _ = read_segments(
        connector,
        llm,
        states(llm, [9])[None],
        torch.tensor([[9]]),
        torch.tensor([[0]]),
        True,
        gate=gate,
        posteriors=[posteriors([2], [0.999])],
    )
    embedding = llm.table()[2]
    assert torch.cosine_similarity(vectors[0, 0], embedding, 0) > 0.99


def test_posteriors_are_known_only_if_all_segments_have_them():
    one = Segments(*(np.zeros(1, dtype=np.int64) for _ in range(3)))
    told = posteriors([1], [0.5])
    with_them, nothing = Segmentation(one, "a", told), Segmentation(Segments.none(), "")
    assert known_posteriors([with_them, nothing]) == [told]
    assert known_posteriors([with_them, Segmentation(one, "a")]) is None
    assert math.isfinite(told.log_probs[0, 0])
