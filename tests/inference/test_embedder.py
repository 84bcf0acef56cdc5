"""Embedder: what is heard, what LM fusion adds, and several threads at once."""

import threading

import numpy as np
import pytest
import torch

from ssr_plugin import SpeechLM, build
from ssr_plugin.inference.reading import SHARPNESS
from ssr_plugin.llm.lm_fusion import LMFusion, fuse_with_lm
from ssr_plugin.llm.tuning import TunedLLM
from ssr_plugin.nnet.segments import pad_segments


def noise(seconds, seed=0):
    """A recording: (samples, rate)."""
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(16000 * seconds)).astype("float32"), 16000)


WAVS = [noise(1.0), noise(2.0, 1)]


@pytest.fixture
def lm(tiny_speech_lm_folder):
    """A model whose LLM expects some tokens much more than others."""
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder, device="cpu")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        table = lm.llm.table().clone()
        for parameter in lm.llm.load_model().parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        lm.llm.embedding.weight.copy_(table)
    return lm


def frames(lm, wav):
    """Features [1, T, D] of a recording, and its segments."""
    samples, _ = wav
    features, lengths = lm.encoder(torch.tensor(samples)[None], [len(samples)])
    segmentations = lm.embedder.segment(features, lengths)
    boundaries, starts, _ = pad_segments([x.segments for x in segmentations])
    return features, boundaries, starts


def same(one, other):
    return torch.allclose(one.vectors, other.vectors, atol=1e-5)


# --- Heard and guessed -------------------------------------------------------------


def test_an_embedder_gives_what_the_connector_alone_hears(lm):
    speech = lm.embed(WAVS[0])
    features, boundaries, starts = frames(lm, WAVS[0])
    states = lm.connector.encode(features, boundaries, starts)[0]
    is_token = lm.connector.is_token(states)
    heard = lm.connector.expected_embeddings(states[is_token], SHARPNESS)
    assert len(heard) > 0
    torch.testing.assert_close(speech.vectors, heard)
    assert not speech.lm_fusion
    # Segments that say nothing are told, too; times are those of vectors.
    assert speech.segments.boundaries.tolist() == boundaries[0].tolist()
    times = starts[0][is_token] / lm.encoder.frame_rate
    assert speech.starts == pytest.approx(times.tolist())


def test_an_embedder_runs_no_llm_unless_lm_fusion_is_asked_for(tiny_speech_lm_folder):
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder)
    lm.embed(WAVS)
    assert lm.llm.model is None
    lm.embed(WAVS, lm_fusion=True)
    assert lm.llm.model is not None


def test_lm_fusion_multiplies_in_what_the_llm_expects(lm):
    (heard, _), (fused, _) = lm.embed(WAVS), lm.embed(WAVS, lm_fusion=True)
    features, boundaries, starts = frames(lm, WAVS[0])
    states = lm.connector.encode(features, boundaries, starts)[0]
    states = states[lm.connector.is_token(states)]
    expected = fuse_with_lm(
        lm.llm,
        lm.connector.token_logits,
        states,
        [len(states)],
        LMFusion(**lm.settings["lm_fusion"]),
    )
    torch.testing.assert_close(fused.vectors, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(fused.vectors, heard.vectors, atol=1e-3)
    assert fused.lm_fusion


def test_lm_fusion_is_the_same_one_by_one_and_in_several_cuts(lm):
    expected = lm.embed(WAVS, lm_fusion=True)
    each = lm.embed_each(WAVS, lm_fusion=True)
    cuts = lm.embed_cuts(WAVS, [[None], [None]], lm_fusion=True)
    for speech, one, (cut,) in zip(expected, each, cuts, strict=True):
        assert same(speech, one) and same(speech, cut)
        assert one.lm_fusion and cut.lm_fusion


@pytest.mark.parametrize("steps", [0, 1])
def test_what_lm_fusion_cannot_change_says_so(lm, steps):
    """A connector without token scores, and LM fusion of no step."""
    settings = {**lm.settings, "lm_fusion": {**lm.settings["lm_fusion"]}}
    settings["lm_fusion"]["steps"] = steps
    options = {"num_layers": 1, "head": "direct" if steps else "vocabulary"}
    connector = build.connector("ssr", lm.encoder, lm.llm, {"ssr": options})
    lm = SpeechLM(lm.encoder, lm.llm, connector, dict(lm.segmenters), settings)
    speech = lm.embed(WAVS[0], lm_fusion=True)
    assert not speech.lm_fusion
    assert torch.equal(speech.vectors, lm.embed(WAVS[0]).vectors)


def test_transcribe_takes_lm_fusion_unless_told_otherwise(lm):
    heard, fused = lm.embed(WAVS), lm.embed(WAVS, lm_fusion=True)
    assert lm.transcribe(WAVS) == [speech.text for speech in fused]
    without = lm.transcribe(WAVS, lm_fusion=False)
    assert without == [speech.text for speech in heard]
    assert without != lm.transcribe(WAVS)
    # What was embedded already has its own text.
    assert lm.transcribe(heard) == without


def test_an_embedder_takes_relative_lengths(lm):
    features = torch.rand(2, 40, lm.encoder.width)
    absolute = lm.embedder.segment(features, torch.tensor([40, 20]))
    relative = lm.embedder.segment(features, torch.tensor([1.0, 0.5]))
    for one, other in zip(absolute, relative, strict=True):
        boundaries = one.segments.boundaries.tolist()
        assert boundaries == other.segments.boundaries.tolist() != []


# --- A tuned LLM, and threads ------------------------------------------------------


@pytest.fixture
def tuned_lm(lm):
    """The same model with adapters in its LLM that change what it writes."""
    lm.tuned = TunedLLM(lm.llm, "lora", r=4)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for name, weight in lm.tuned.model.named_parameters():
            if ".lora_B." in name:
                weight += 0.5 * torch.randn_like(weight)
    lm.requires_grad_(False)
    return lm


WRITE = {"max_new_tokens": 60, "min_new_tokens": 60, "do_sample": False}


def test_lm_fusion_asks_the_base_model_of_a_tuned_llm(lm, request):
    expected = lm.embed(WAVS, lm_fusion=True)
    text = lm.generate("the", **WRITE)
    tuned_lm = request.getfixturevalue("tuned_lm")
    for one, other in zip(expected, tuned_lm.embed(WAVS, lm_fusion=True), strict=True):
        assert torch.equal(one.vectors, other.vectors)
    assert tuned_lm.generate("the", **WRITE) != text


def test_what_is_embedded_while_another_thread_writes_changes_neither(tuned_lm):
    expected = tuned_lm.embed(WAVS, lm_fusion=True)
    text = tuned_lm.generate("the cat", **WRITE)
    scored = tuned_lm.score("the", " cat sat")
    ended, wrong, rounds = threading.Event(), [], 0

    def embed():
        nonlocal rounds
        while not ended.is_set():
            rounds += 1
            found = tuned_lm.embed(WAVS, lm_fusion=True)
            if not all(map(same, found, expected)):
                wrong.append("vectors")
            if abs(tuned_lm.score("the", " cat sat") - scored) > 1e-4:
                wrong.append("score")

    thread = threading.Thread(target=embed, daemon=True)
    thread.start()
    streamed = ["".join(tuned_lm.stream("the cat", **WRITE)) for _ in range(5)]
    ended.set()
    thread.join(60)
    assert not thread.is_alive() and rounds > 3
    assert streamed == [text] * 5 and not wrong


def test_embedding_between_pieces_of_a_stream_hangs_nothing(tuned_lm):
    expected = tuned_lm.embed(WAVS[0], lm_fusion=True)
    text = tuned_lm.generate("the cat", **WRITE)
    pieces, found = [], []

    def consume():
        for piece in tuned_lm.stream("the cat", **WRITE):
            pieces.append(piece)
            found.append(tuned_lm.embed(WAVS[0], lm_fusion=True))

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    assert "".join(pieces) == text and len(found) > 5
    assert all(same(speech, expected) for speech in found)
