"""read_segments: what the LLM is given of segments."""

import pytest
import torch

from ssr_plugin import build
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.inference.reading import SHARPNESS, read_segments
from ssr_plugin.llm.text_llm import TextLLM


@pytest.fixture(scope="module")
def models(tiny_encoder_folder, tiny_llm_folder):
    return SpeechEncoder(tiny_encoder_folder), TextLLM(tiny_llm_folder)


def make(models, name):
    encoder, llm = models
    with torch.random.fork_rng():
        torch.manual_seed(0)
        connector = build.connector(name, encoder, llm).eval()
        features = torch.randn(1, 8, encoder.width)
    return (
        connector,
        llm,
        features,
        torch.tensor([[3, 7, -1]]),
        torch.tensor([[0, 4, -1]]),
    )


def test_vectors_are_nearer_to_single_tokens_than_the_probabilities_alone(models):
    connector, llm, features, boundaries, starts = make(models, "ssr")
    vectors, kept = read_segments(connector, llm, features, boundaries, starts)
    states = connector.encode(features, boundaries, starts)[kept]
    probabilities = connector.token_logits(states).softmax(-1) ** SHARPNESS
    probabilities /= probabilities.sum(-1, keepdim=True)
    assert torch.allclose(vectors[kept], probabilities @ connector.table(), atol=1e-6)
    assert not vectors[~kept].any()


def test_a_connector_without_tokens_is_read_as_it_is(models):
    connector, llm, *segments = make(models, "stack_mlp")
    vectors, kept = read_segments(connector, llm, *segments)
    output = connector(*segments)
    assert torch.equal(vectors, output.vectors)
    assert torch.equal(kept, output.kept)
