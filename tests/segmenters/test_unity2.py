"""Learned alignment: the search finds the best way, and a toy language is learnt."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.alignment.record import AlignmentError
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.monotonic import (
    NEVER,
    beta_binomial,
    forward_sum,
    runs_of_path,
    search,
)
from ssr_plugin.segmenters import character_segmenter, network_segmenter, unity2
from ssr_plugin.segmenters.base import (
    FrameSegmenter,
    Needs,
    Segments,
    TrainableSegmenter,
)
from ssr_plugin.segmenters.unity2 import Unity2Segmenter

WORDS = ["the", "cat", "sat", "a", "e", "h"]
ALPHABET = " acehst"
FRAME_RATE = 50.0


def ways(num_frames, optional):
    """All paths through symbols, some of which may be left out."""
    count = len(optional)
    for path in itertools.combinations_with_replacement(range(count), num_frames):
        if all(optional[n] or n in path for n in range(count)):
            yield list(path)


def score_of(scores, path):
    return sum(scores[t, n] for t, n in enumerate(path))


@st.composite
def problems(draw, most_frames=7, most_symbols=4):
    num_frames = draw(st.integers(1, most_frames))
    count = draw(st.integers(1, most_symbols))
    optional = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    optional[1:] &= ~optional[:-1]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.standard_normal((num_frames, count)).astype(np.float32), optional


def pad_problems(given):
    """What the search takes; padding would be the best, were it looked at."""
    lengths = [len(scores) for scores, _ in given]
    counts = [scores.shape[1] for scores, _ in given]
    scores = np.full((len(given), max(lengths), max(counts)), 9.0, dtype=np.float32)
    optional = np.zeros((len(given), max(counts)), dtype=bool)
    for row, (own, may) in enumerate(given):
        scores[row, : len(own), : len(may)] = own
        optional[row, : len(may)] = may
    return scores, lengths, counts, optional


# --- Search ------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(problems(), min_size=1, max_size=3), st.data())
def test_the_monotonic_search_finds_the_best_of_all_ways(given, data):
    scores, lengths, counts, optional = pad_problems(given)
    cut = data.draw(st.integers(0, scores.shape[1]))
    blocks = [scores[:, :cut], scores[:, cut:]]
    paths = search(blocks, lengths, counts, optional)
    assert paths.shape == scores.shape[:2]
    for path, (own, may) in zip(paths, given, strict=True):
        found, padding = path[: len(own)].tolist(), path[len(own) :]
        assert (padding == -1).all()
        best = max((score_of(own, way) for way in ways(len(own), may)), default=None)
        if best is None:
            assert set(found) == {-1}
        else:
            assert found in ways(len(own), may)
            assert score_of(own, found) == pytest.approx(best, abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(problems(most_frames=60, most_symbols=30))
def test_the_monotonic_search_gives_symbols_in_order_and_all_frames(problem):
    scores, optional = problem
    (path,) = search([scores[None]], [len(scores)], [len(optional)], optional[None])
    if len(scores) < (~optional).sum():
        assert (path == -1).all()
        return
    runs = runs_of_path(path, len(optional))
    edges = [first for first, _ in runs] + [runs[-1][1]]
    assert edges == sorted(edges) and (edges[0], edges[-1]) == (0, len(scores))
    assert all(stop > first for (first, stop) in itertools.compress(runs, ~optional))


# --- Losses ------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(problems(), min_size=1, max_size=3))
def test_the_forward_sum_is_that_of_all_ways_and_so_is_its_gradient(given):
    scores, *sizes, _ = pad_problems(given)
    scores = torch.from_numpy(scores).double().requires_grad_()
    sizes = [torch.tensor(size) for size in sizes]
    # CTC's gradient is right for what is normalised.
    valid = torch.arange(scores.shape[2]) < sizes[1][:, None, None]
    log_probs = scores.masked_fill(~valid, NEVER).log_softmax(-1)
    found = forward_sum(log_probs, *sizes)
    wanted = []
    for row, (own, may) in zip(log_probs, given, strict=True):
        sums = [score_of(row, way) for way in ways(len(own), [False] * len(may))]
        wanted.append(-torch.stack(sums).logsumexp(0) if sums else 0 * row.sum())
    wanted = torch.stack(wanted)
    torch.testing.assert_close(found, wanted)
    weights = torch.arange(1.0, len(given) + 1).double()
    gradients = (
        torch.autograd.grad(x @ weights, scores, retain_graph=True)[0]
        for x in (found, wanted)
    )
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_beta_binomial_is_the_distribution_of_that_name(scale):
    lengths, counts = torch.tensor([9, 4, 1]), torch.tensor([6, 3, 1])
    prior = beta_binomial(lengths, counts, 9, 6, scale)
    for row, (length, count) in enumerate(
        zip(lengths.tolist(), counts.tolist(), strict=True)
    ):
        for t in range(length):
            a, b = scale * (t + 1), scale * (length - t)
            wanted = betabinom.logpmf(np.arange(count), count - 1, a, b)
            np.testing.assert_allclose(prior[row, t, :count], wanted, atol=1e-4)
    assert (prior[1, 4:] == NEVER).all() and (prior[1, :, 3:] == NEVER).all()


# --- A toy language ----------------------------------------------------------------


def say(rng, words, pauses=1.0):
    """Frames of a text, noisy and of any speed; its characters' first frames and ends.

    There are pauses at the ends, and between so many of the words.
    """
    text = " ".join(words)
    said, spans = [0] * rng.integers(1, 8), []
    for i, character in enumerate(text):
        first = len(said)
        if character == " ":
            # Without a pause, none could tell where one of two like sounds ends.
            pause = text[i - 1] == text[i + 1] or rng.random() < pauses
            said += [0] * (rng.integers(1, 8) if pause else 0)
        else:
            said += [ALPHABET.index(character)] * rng.integers(2, 7)
            spans.append((first, len(said)))
    said += [0] * rng.integers(1, 8)
    frames = torch.eye(len(ALPHABET))[said]
    noise = torch.from_numpy(rng.standard_normal(frames.shape)).float()
    return frames + 0.1 * noise, text, spans


@pytest.fixture(scope="module")
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


@pytest.fixture(scope="module")
def make(llm):
    """``make(**options)``: an untrained segmenter of the toy language."""

    def make(**options):
        torch.manual_seed(0)
        options = {"alphabet": ALPHABET, "width": 16, "num_heads": 2, **options}
        segmenter = Unity2Segmenter(len(ALPHABET), llm, FRAME_RATE, **options)
        return segmenter.eval()

    return make


@pytest.fixture(scope="module")
def toy(llm):
    """Utterances of the toy language: (frames, text, spans, tokens)."""
    rng = np.random.default_rng(0)
    spoken = [say(rng, rng.choice(WORDS, size=rng.integers(3, 7))) for _ in range(40)]
    return [
        (
            *each,
            torch.tensor(llm.tokenizer(each[1], add_special_tokens=False).input_ids),
        )
        for each in spoken
    ]


def collate(utterances, junk=0.0):
    """The arguments of a loss. Where segments lie is not looked at."""
    features = [frames for frames, *_ in utterances]
    tokens = [tokens for *_, tokens in utterances]
    lengths = torch.tensor([len(frames) for frames in features])
    features = pad_sequence(features, batch_first=True, padding_value=junk)
    tokens = pad_sequence(tokens, batch_first=True, padding_value=-1)
    return features, lengths, None, None, tokens


@pytest.fixture(scope="module")
def learnt(make, toy):
    """A segmenter that has learnt the toy language, and its losses on the way."""
    segmenter = make().train()
    optimizer = torch.optim.Adam(segmenter.parameters(), 0.01)
    losses = []
    for step in range(150):
        start = 8 * step % 32
        loss = segmenter(*collate(toy[start : start + 8]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return segmenter.eval(), losses


def shake(segmenter):
    """Moves parameters from their start, where some are zero."""
    with torch.no_grad():
        for parameter in segmenter.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        # No optimizer moves it: it gets no gradient.
        segmenter.keys.embedding.weight[segmenter.star] = 0


def test_the_loss_of_unity2_is_finite_and_falls(learnt):
    _, losses = learnt
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < 0.5 * losses[0]


@pytest.mark.parametrize("pauses", [1.0, 0.5, 0.0])
def test_unity2_finds_characters_of_new_utterances_within_a_frame(learnt, pauses):
    segmenter, _ = learnt
    rng = np.random.default_rng(1)
    for _ in range(10):
        frames, text, spans = say(rng, rng.choice(WORDS, size=6), pauses)
        found = segmenter.align_text(frames, text)
        assert [i for i, _, _ in found] == [i for i, c in enumerate(text) if c != " "]
        times = FRAME_RATE * np.array([times for _, *times in found])
        assert np.abs(times - spans).max() <= 1.001
        assert (times[:, 1] - times[:, 0] > 0.99).all()
        assert (times[1:, 0] >= times[:-1, 1]).all()


def test_unity2_gives_the_same_times_whatever_case_accents_and_punctuation(learnt, toy):
    segmenter, _ = learnt
    frames = toy[0][0]
    plain = segmenter.align_text(frames, "the cat sat")
    found = segmenter.align_text(frames, "Thé, Càt -- sat.")
    assert [times for _, *times in found] == [times for _, *times in plain]
    assert [i for i, *_ in found] == [0, 1, 2, 5, 6, 7, 12, 13, 14]


def test_unity2_gives_unknown_characters_what_is_left_to_them(learnt):
    segmenter, _ = learnt
    frames, text, spans = say(np.random.default_rng(3), ["the", "cat", "sat"])
    found = segmenter.align_text(frames, "the 日本t sat")
    assert [i for i, *_ in found] == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    times = FRAME_RATE * np.array([times for _, *times in found])
    wanted = np.array(spans)
    # The two share what "ca" takes.
    known = [0, 1, 2, 5, 6, 7, 8]
    assert np.abs(times[known] - wanted[known]).max() <= 1.001
    assert abs(times[3, 0] - wanted[3, 0]) <= 1.001
    assert abs(times[4, 1] - wanted[4, 1]) <= 1.001
    (only,) = segmenter.align_text(frames, "本")
    assert only[0] == 0 and only[2] > only[1]


def test_unity2_adds_offsets_in_ms_to_starts_and_ends(make, toy):
    frames, text, *_ = toy[0]
    plain = make().align_text(frames, text)
    moved = make(start_offset=3.0, end_offset=-4.0).align_text(frames, text)
    for (_, *before), (_, *after) in zip(plain, moved, strict=True):
        assert after == pytest.approx([before[0] + 0.003, before[1] - 0.004])


# --- Padding and length ------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"stack": 2}, {"num_layers": 1, "prior": 0}])
def test_the_loss_of_unity2_in_a_batch_is_that_of_single_utterances(make, toy, options):
    segmenter = make(binarization=0.7, **options)
    shake(segmenter)
    batch = toy[:5]
    together = segmenter.loss(*collate(batch, junk=7.0))
    stack = options.get("stack", 1)
    counts = [-(-len(frames) // stack) for frames, *_ in batch]
    alone = [segmenter.loss(*collate([utterance])).item() for utterance in batch]
    wanted = np.dot(alone, counts) / sum(counts)
    assert together.item() == pytest.approx(wanted, abs=1e-4)


def test_unity2_trains_others_as_before_beside_an_unknown_character(make, toy):
    segmenter = make(alphabet=" aehst")
    text = [(frames, tokens) for frames, _, _, tokens in toy[:5]]
    assert any(
        (tokens == segmenter.tokenizer("cat").input_ids[1]).any() for _, tokens in text
    )
    together = segmenter.loss(*collate(text))
    counts = [len(frames) for frames, _ in text]
    alone = [segmenter.loss(*collate([utterance])).item() for utterance in text]
    wanted = np.dot(alone, counts) / sum(counts)
    assert together.item() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("stack", [1, 2])
def test_unity2_aligns_long_audio_in_windows_and_blocks_as_in_one(
    make, toy, monkeypatch, stack
):
    segmenter = make(stack=stack)
    frames = torch.cat([frames for frames, *_ in toy[:8]])
    text = " ".join(text for _, text, *_ in toy[:8])
    whole = segmenter.align_text(frames, text)
    monkeypatch.setattr(network_segmenter, "_WINDOW", 1.2)
    monkeypatch.setattr(network_segmenter, "_CONTEXT", 0.2)
    monkeypatch.setattr(unity2, "_BLOCK", 7)
    assert segmenter.align_text(frames, text) == whole


# --- What cannot be ----------------------------------------------------------------


def test_unity2_refuses_more_characters_than_frames(make):
    segmenter, frames = make(), torch.randn(5, len(ALPHABET))
    assert len(segmenter.align_text(frames, "a sa te")) == 5
    with pytest.raises(AlignmentError, match="utt-1: 6 characters do not fit in its 5"):
        segmenter.align_text(frames, "a sa the", "utt-1")
    with pytest.raises(AlignmentError, match="1 characters do not fit in its 0 frames"):
        segmenter.align_text(frames[:0], "a")


@pytest.mark.parametrize("text", ["", "  ", "?! -"])
def test_unity2_refuses_a_text_with_nothing_to_say(make, text):
    with pytest.raises(AlignmentError, match="no letter or digit in the transcript"):
        make().align_text(torch.randn(5, len(ALPHABET)), text)


def test_unity2_refuses_audio_that_is_too_long(make, toy, monkeypatch):
    monkeypatch.setattr(character_segmenter, "MOST_MEMORY", 100)
    with pytest.raises(AlignmentError, match="too long to align: .* cut the audio"):
        make().align_text(*toy[0][:2])


def test_unity2_is_trained_and_needs_a_transcript():
    assert issubclass(Unity2Segmenter, TrainableSegmenter)
    assert Needs.TRANSCRIPT in Unity2Segmenter.needs
    assert not issubclass(Unity2Segmenter, FrameSegmenter)


# --- Training ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_weight_of_unity2_has_a_finite_gradient(make, toy, dtype):
    segmenter = make().train()
    shake(segmenter)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        loss = segmenter(*collate(toy[:3]))
    loss.backward()
    for name, parameter in segmenter.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_unity2_has_finite_gradients_of_utterances_without_text_or_too_short(make, toy):
    frames, text, spans, tokens = toy[0]
    segmenter = make()
    odd = [(frames, tokens[:0]), (frames[:2], tokens)]
    alone = segmenter.loss(*collate(odd[1:]))
    assert alone.item() == 0
    loss = segmenter.loss(*collate(odd))
    assert torch.isfinite(loss)
    loss.backward()
    for parameter in segmenter.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


def test_unity2_learns_the_alphabet_from_the_training_text(make, toy):
    segmenter = make(alphabet="")
    nothing = np.zeros(0, dtype=np.int64)
    segmenter.learn_symbols(
        Segments(tokens.numpy(), nothing, nothing) for *_, tokens in toy
    )
    assert segmenter.symbols()["alphabet"] == ALPHABET
    assert segmenter.keys.embedding.num_embeddings == len(ALPHABET) + 2
