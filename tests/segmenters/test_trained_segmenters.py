"""Trained segmenters: what they learn, and what they find in any batch and window."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.frames import FrameNetwork
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters import network_segmenter, subword_ctc
from ssr_plugin.segmenters.base import Needs, Segments
from ssr_plugin.segmenters.char_ctc import CharCTCSegmenter
from ssr_plugin.segmenters.spikes import not_repeated, peaks, runs_of_labels
from ssr_plugin.segmenters.trained import load_segmenter, save_segmenter

SETUPS = {
    "spelling": ("subword_ctc", {"output": "spelling"}),
    "distance": ("subword_ctc", {"output": "distance"}),
    "linear": ("subword_ctc", {"output": "linear"}),
    "char_ctc": ("char_ctc", {"stack": 2}),
    "boundary": ("boundary", {}),
    "cif": ("cif", {}),
}
SUBWORDS = ["spelling", "distance", "linear"]
D = 6
TINY = {
    "width": 16,
    "num_layers": 2,
    "num_heads": 2,
    "kernel_size": 5,
    "dropout": 0.0,
}


def segments_of(tokens, starts, boundaries):
    """Segments of lists."""
    rows = (tokens, starts, boundaries)
    return Segments(*(np.asarray(row, dtype=np.int64) for row in rows))


# Frames, and the forced segments in them: one of a frame; one of tokens that share a
# state; one with more tokens than states; one with nothing said.
UTTERANCES = [
    (1, segments_of([5], [0], [0])),
    (37, segments_of([29, 5, 5, 7, 30], [2, 8, 9, 10, 20], [7, 8, 9, 19, 36])),
    (4, segments_of([6, 7, 8, 9], [0, 1, 2, 3], [0, 1, 2, 3])),
    (20, segments_of([], [], [])),
    (12, segments_of([3, 31], [1, 6], [3, 11])),
]


@pytest.fixture(scope="module")
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


@pytest.fixture(scope="module")
def encoder(tiny_encoder_folder):
    return SpeechEncoder(tiny_encoder_folder)


def make_segmenter(llm, setup, input_size=D, utterances=UTTERANCES, **options):
    name, own = SETUPS[setup]
    torch.manual_seed(0)
    part = get_registry().segmenters.get(name)
    options = {**TINY, **own, **options}
    segmenter = part(input_size=input_size, llm=llm, frame_rate=50.0, **options)
    segmenter.learn_symbols(segments for _, segments in utterances)
    return segmenter.eval()


@pytest.fixture(params=SETUPS)
def setup(request):
    return request.param


@pytest.fixture
def segmenter(llm, setup):
    """One that is far from its start, where few frames are told apart."""
    segmenter = make_segmenter(llm, setup)
    shake(segmenter)
    return segmenter


def shake(segmenter):
    """Moves parameters, so that segments come thick and fast."""
    with torch.no_grad():
        for name, parameter in segmenter.named_parameters():
            # Keys that all tokens shared would leave but one to tell.
            if not name.startswith("head.keys"):
                parameter.add_(0.3 * torch.randn_like(parameter))
        segmenter.network.last_norm.weight.mul_(4)


def make_batch(utterances=UTTERANCES):
    """The arguments of a loss; padding is no zeros, and longer than need be."""
    lengths = torch.tensor([length for length, _ in utterances])
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(len(lengths), int(lengths.max()) + 9, D, generator=generator)
    segments = pad_segments([segments for _, segments in utterances])
    segments = [torch.nn.functional.pad(x, (0, 3), value=-1) for x in segments]
    return features, lengths, *segments


def cut(segmenter, features, lengths):
    """The segments that are found."""
    return [x.segments for x in segmenter.segment_frames(features, lengths)]


def arrays(segments):
    return segments.tokens, segments.starts, segments.boundaries


def lists(segments):
    """Segments as lists, which are equal if their numbers are."""
    return [array.tolist() for array in arrays(segments)]


def check(segments, num_frames, vocab_size):
    """Segments are in order, next to each other and within the utterance."""
    tokens, starts, boundaries = arrays(segments)
    assert tokens.dtype == starts.dtype == boundaries.dtype == np.int64
    assert tokens.shape == starts.shape == boundaries.shape == (len(segments),)
    assert (starts <= boundaries).all()
    assert (starts[1:] == boundaries[:-1] + 1).all()
    assert ((starts >= 0) & (boundaries < num_frames)).all()
    assert (tokens == -1).all() or ((tokens >= 0) & (tokens < vocab_size)).all()


# --- Batches -----------------------------------------------------------------------


def test_a_padded_batch_gives_the_segments_of_single_utterances(segmenter):
    lengths = torch.tensor([1, 37, 0, 12, 4, 64])
    features = torch.randn(len(lengths), 70, D)
    batched = cut(segmenter, features, lengths)
    for x, length, found in zip(features, lengths, batched, strict=True):
        (single,) = cut(segmenter, x[None, :length], length[None])
        assert lists(found) == lists(single)
    assert sum(map(len, batched)) > 6


def test_a_padded_batch_gives_the_loss_of_single_utterances(segmenter):
    batch = make_batch()
    total, weights = 0.0, []
    for row, (length, segments) in enumerate(UTTERANCES):
        x, n, *own = (part[row : row + 1] for part in batch)
        own = [part[:, : len(segments)] for part in own]
        # Per character or token.
        characters = isinstance(segmenter, CharCTCSegmenter)
        spell = segmenter.spell if characters else list
        weights.append(len(spell(segments.tokens)))
        total += segmenter.loss(x[:, :length], n, *own) * max(weights[-1], 1)
    torch.testing.assert_close(
        segmenter.loss(*batch), total / sum(weights), atol=1e-4, rtol=1e-5
    )


def test_states_do_not_depend_on_what_padding_holds(llm):
    torch.manual_seed(0)
    network = FrameNetwork(D, width=8, num_layers=2, num_heads=2, stack=3, dropout=0.0)
    lengths = torch.tensor([1, 20, 0, 9])
    features = torch.randn(4, 23, D)
    states, counts = network(features, lengths)
    assert states.shape == (4, 8, 8)
    assert counts.tolist() == [1, 7, 0, 3]
    for x, length, row, count in zip(features, lengths, states, counts, strict=True):
        if length:
            single, _ = network(x[None, :length], length[None])
            torch.testing.assert_close(row[:count], single[0], atol=1e-5, rtol=0)
        assert (row[count:] == 0).all()


def test_a_state_knows_all_frames_of_its_utterance():
    torch.manual_seed(0)
    network = FrameNetwork(D, width=8, num_layers=1, num_heads=2, stack=2, dropout=0.0)
    features = torch.randn(1, 60, D)
    changed = features.clone()
    # Not a shift of all its numbers: the network's norm takes that away.
    changed[:, 0] = torch.randn(D)
    length = torch.tensor([60])
    before, after = (network(x, length)[0][0, -1] for x in (features, changed))
    assert not torch.equal(before, after)


# --- Utterances of any kind --------------------------------------------------------


def test_segments_are_in_order_without_gaps_and_within_the_utterance(segmenter, llm):
    lengths = torch.arange(41)
    batch = cut(segmenter, 2 * torch.randn(41, 40, D), lengths)
    for length, segments in zip(lengths.tolist(), batch, strict=True):
        check(segments, length, llm.vocab_size)
    assert sum(map(len, batch)) > 41


def test_no_frame_one_frame_and_silence_have_segments_or_none(segmenter, llm):
    (nothing,) = cut(segmenter, torch.zeros(1, 0, D), torch.tensor([0]))
    assert len(nothing) == 0
    for length in (1, 2, 3, 50):
        features, lengths = torch.zeros(1, length, D), torch.tensor([length])
        (segments,) = cut(segmenter, features, lengths)
        check(segments, length, llm.vocab_size)


def test_a_batch_of_no_utterance_has_no_segments(segmenter):
    nobody = torch.zeros(0, dtype=torch.long)
    assert cut(segmenter, torch.zeros(0, 5, D), nobody) == []


def tell(segmenter, fires):
    """Has a segmenter tell a token wherever it can, or nowhere."""

    def alternate(states, labels):
        one_hot = torch.nn.functional.one_hot
        labels = torch.tensor(labels)[torch.arange(len(states)) % 2]
        return one_hot(labels, 10).float()

    name = type(segmenter).__name__
    if name == "SubwordCTCSegmenter":
        torch.nn.init.constant_(segmenter.blank.bias, -1e6 if fires else 1e6)
        segmenter.score = lambda states, _=None: alternate(states, [3, 4])
        segmenter.token_ids = torch.arange(10)
    elif name == "CharCTCSegmenter":
        labels = [segmenter.labels["c"], segmenter.labels[" "]] if fires else [0, 0]
        segmenter.log_probs = lambda states: alternate(states, labels)
    elif name == "BoundarySegmenter":
        value = 9.0 if fires else -9.0
        segmenter.logits = lambda states: torch.full((2 * len(states),), value)
    else:
        value = 1.0 if fires else 0.0
        segmenter.weights = lambda states: torch.full((2 * len(states),), value)


def test_segments_of_tokens_everywhere_take_all_frames(segmenter, setup, llm):
    tell(segmenter, fires=True)
    (found,) = cut(segmenter, torch.randn(1, 10, D), torch.tensor([10]))
    check(found, 10, llm.vocab_size)
    starts = {
        # Of each state, one; which of its four frames is not told here.
        **dict.fromkeys(SUBWORDS, [0, 1, 2]),
        # Every other is a blank between two words.
        "char_ctc": [0, 4, 8],
        # No segment is shorter than three frames but the last.
        "boundary": [0, 3, 6, 9],
        "cif": list(range(10)),
    }[setup]
    places = found.starts // 4 if setup in SUBWORDS else found.starts
    assert places.tolist() == starts
    assert found.boundaries[-1] == 9


def test_no_token_anywhere_gives_no_segment(segmenter):
    tell(segmenter, fires=False)
    (found,) = cut(segmenter, torch.randn(1, 10, D), torch.tensor([10]))
    assert lists(found) == [[], [], []]


# --- Gradients ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_weight_of_a_segmenter_has_a_finite_gradient(segmenter, dtype):
    segmenter.train()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        loss = segmenter(*make_batch())
    assert loss.shape == () and torch.isfinite(loss)
    loss.backward()
    for name, parameter in segmenter.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


def test_a_batch_in_which_nothing_is_said_has_a_finite_gradient(segmenter):
    features, lengths, *segments = make_batch()
    loss = segmenter.train()(features, lengths, *(x[:, :0] for x in segments))
    assert torch.isfinite(loss)
    loss.backward()
    for parameter in segmenter.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("setup", SUBWORDS, indirect=True)
def test_the_loss_among_few_candidates_is_less_and_finite(llm, setup):
    few = make_segmenter(llm, setup, num_candidates=8)
    all_of_them = make_segmenter(llm, setup, num_candidates=0)
    less, whole = few.loss(*make_batch()), all_of_them.loss(*make_batch())
    # The training text has eight types, all that "linear" can tell.
    assert torch.isfinite(less)
    assert less < whole or setup == "linear"


# --- What is heard beside the segments -------------------------------------------


def test_a_hypothesis_is_the_text_of_the_segments_tokens(segmenter, setup, llm):
    lengths = torch.tensor([64, 0, 37])
    for found in segmenter.segment_frames(torch.randn(3, 64, D), lengths):
        tokens, text = found.segments.tokens, found.hypothesis
        if setup in ("boundary", "cif"):
            assert text is None
        elif setup == "char_ctc":
            # The letters, though a token for them may be unknown.
            assert set(text) <= set(segmenter.alphabet)
            ids = llm.tokenizer(text, add_special_tokens=False).input_ids
            assert tokens.tolist() == ids
        else:
            assert text == llm.tokenizer.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize("setup", SUBWORDS, indirect=True)
@pytest.mark.parametrize("beam_size", [1, 3])
def test_posteriors_of_subword_ctc_are_those_of_the_states_that_tokens_begin_in(
    segmenter, beam_size, monkeypatch
):
    segmenter.beam_size = beam_size
    features, lengths = torch.randn(2, 80, D), torch.tensor([80, 41])
    found = segmenter.segment_frames(features, lengths)
    assert sum(len(x.segments) for x in found) > 4
    for states, each in zip(segmenter.read(features, [80, 41]), found, strict=True):
        scores = torch.cat([segmenter.blank(states), segmenter.score(states)], -1)
        log_probs = scores.float().log_softmax(-1).detach()
        count = min(8, len(segmenter.token_ids))
        assert each.posteriors.log_probs.shape == (len(each.segments), count)
        for start, tokens, values in zip(
            each.segments.starts,
            each.posteriors.token_ids,
            each.posteriors.log_probs,
            strict=True,
        ):
            # A state holds some frames; where it meets the end, starts are moved.
            state = min(start // segmenter.stack, len(states) - 1)
            best, index = log_probs[state, 1:].topk(count)
            np.testing.assert_allclose(values, best, atol=1e-4)
            assert tokens.tolist() == segmenter.token_ids[index].tolist()
        if beam_size == 1 and len(each.segments):
            first = each.posteriors.token_ids[:, 0]
            assert first.tolist() == each.segments.tokens.tolist()


@pytest.mark.parametrize("setup", ["boundary", "cif"], indirect=True)
def test_segmenters_that_score_no_tokens_give_no_posteriors(segmenter):
    (found,) = segmenter.segment_frames(torch.randn(1, 64, D), torch.tensor([64]))
    assert len(found.segments) and found.posteriors is None


# --- Long audio --------------------------------------------------------------------


def without_attention(segmenter):
    """Has states know their neighbours alone, so that windows need change nothing."""
    for layer in segmenter.network.layers:
        torch.nn.init.zeros_(layer.out.weight)
    return segmenter


def test_audio_of_one_window_is_read_at_once(segmenter, monkeypatch):
    monkeypatch.setattr(network_segmenter, "_WINDOW", 1.6)
    monkeypatch.setattr(network_segmenter, "_CONTEXT", 0.4)
    features, lengths = torch.randn(2, 80, D), torch.tensor([80, 33])
    states, counts = segmenter.network(features, lengths)
    for found, row, count in zip(
        segmenter.read(features, [80, 33]), states, counts, strict=True
    ):
        torch.testing.assert_close(found, row[:count], atol=1e-5, rtol=0)


def test_longer_audio_is_read_as_its_windows_are(segmenter, monkeypatch):
    monkeypatch.setattr(network_segmenter, "_WINDOW", 1.6)
    monkeypatch.setattr(network_segmenter, "_CONTEXT", 0.4)
    features = torch.randn(1, 203, D)
    (states,) = segmenter.read(features, [203])
    assert len(states) == -(-203 // segmenter.stack)
    # The first 1.6 s, and what is kept of them.
    first, _ = segmenter.network(features[:, :80], torch.tensor([80]))
    kept = round(1.2 * 50 / segmenter.stack)
    torch.testing.assert_close(states[:kept], first[0, :kept], atol=1e-5, rtol=0)


def test_windows_change_nothing_for_a_network_that_sees_no_farther(
    segmenter, monkeypatch
):
    without_attention(segmenter)
    lengths = torch.tensor([517, 3, 300])
    features = torch.randn(3, 517, D)
    whole = cut(segmenter, features, lengths)
    monkeypatch.setattr(network_segmenter, "_WINDOW", 2.0)
    monkeypatch.setattr(network_segmenter, "_CONTEXT", 0.4)
    for one, other in zip(whole, cut(segmenter, features, lengths), strict=True):
        assert lists(one) == lists(other)
    assert len(whole[0]) > 5


def test_long_audio_goes_through_a_few_windows_at_a_time(llm, setup, monkeypatch):
    network = {"width": 8, "num_layers": 1, "stack": 4}
    segmenter = without_attention(make_segmenter(llm, setup, **network))
    seen = []
    segmenter.network.register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0].shape[:2].numel())
    )
    features, lengths = torch.randn(1, 20000, D), torch.tensor([20000])
    (found,) = cut(segmenter, features, lengths)
    check(found, 20000, llm.vocab_size)
    # 40 s at 50 Hz, four times over.
    assert max(seen) <= 4 * 40 * 50
    assert sum(seen) < 1.5 * 20000
    monkeypatch.setattr(network_segmenter, "_WINDOW", 1e3)
    (whole,) = cut(segmenter, features, lengths)
    assert seen[-1] == 20000
    assert lists(found) == lists(whole)


@pytest.mark.parametrize("setup", SUBWORDS, indirect=True)
def test_few_scores_of_the_vocabulary_are_in_memory_at_once(segmenter, monkeypatch):
    features, lengths = torch.randn(1, 200, D), torch.tensor([200])
    (whole,) = cut(segmenter, features, lengths)
    sizes, score = [], segmenter.score

    def spy(states):
        sizes.append(len(states))
        return score(states)

    monkeypatch.setattr(segmenter, "score", spy)
    monkeypatch.setattr(subword_ctc, "_SCORES", 7 * (len(segmenter.token_ids) + 1))
    (found,) = cut(segmenter, features, lengths)
    assert lists(found) == lists(whole)
    assert max(sizes) == 7 and sum(sizes) == 50


# --- Saved and loaded --------------------------------------------------------------


@pytest.fixture
def save(tmp_path, llm, encoder):
    """``save(setup)``: a segmenter, and the folder that it is saved in."""

    def save(setup):
        segmenter = make_segmenter(llm, setup, encoder.width)
        shake(segmenter)
        name, own = SETUPS[setup]
        folder = tmp_path / "segmenter"
        save_segmenter(folder, segmenter, name, {**TINY, **own}, encoder, llm)
        return segmenter, folder

    return save


def test_a_saved_segmenter_is_loaded_frozen_and_cuts_as_before(
    save, setup, llm, encoder
):
    segmenter, folder = save(setup)
    assert {path.name for path in folder.iterdir()} == {
        "segmenter.json",
        "segmenter.safetensors",
    }
    loaded = load_segmenter(folder, encoder, llm)
    assert type(loaded) is type(segmenter)
    assert not loaded.training and loaded.needs is Needs.FRAMES
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    features, lengths = torch.randn(3, 90, encoder.width), torch.tensor([90, 1, 30])
    for one, other in zip(
        cut(segmenter, features, lengths),
        cut(loaded, features, lengths),
        strict=True,
    ):
        assert lists(one) == lists(other)


def test_a_saved_segmenter_keeps_what_was_learnt_or_set_beside_the_weights(
    tmp_path, llm, encoder
):
    expected = {"char_ctc": {"alphabet": " acdefghst"}, "boundary": {"threshold": 0.7}}
    expected["linear"] = {"token_ids": [3, 5, 6, 7, 8, 9, 29, 30, 31]}
    for setup, symbols in expected.items():
        segmenter = make_segmenter(llm, setup, encoder.width)
        segmenter.threshold = 0.7
        name, own = SETUPS[setup]
        save_segmenter(tmp_path, segmenter, name, {**TINY, **own}, encoder, llm)
        loaded = load_segmenter(tmp_path, encoder, llm)
        assert loaded.symbols().items() >= symbols.items()


def test_a_segmenter_is_the_same_under_any_path_of_encoder_and_llm(
    save, tmp_path, tiny_encoder_folder, tiny_llm_folder
):
    _, folder = save("boundary")
    paths = tiny_encoder_folder, tiny_llm_folder
    encoder, llm = (shutil.copytree(path, tmp_path / path.name) for path in paths)
    load_segmenter(folder, SpeechEncoder(encoder), TextLLM(llm))


def change_weights(path):
    """Adds a little to one of a file's tensors."""
    weights = load_file(path)
    name = min(weights)
    save_file({**weights, name: weights[name] + 0.01}, path, {"format": "pt"})


@pytest.mark.parametrize("kind", ["encoder", "llm"])
def test_a_segmenter_of_another_encoder_or_llm_is_refused(
    save, tmp_path, kind, encoder, llm, tiny_encoder_folder, tiny_llm_folder
):
    _, folder = save("boundary")
    if kind == "encoder":
        other = shutil.copytree(tiny_encoder_folder, tmp_path / "other")
        change_weights(other / "model.safetensors")
        encoder = SpeechEncoder(other)
    else:
        other = shutil.copytree(tiny_llm_folder, tmp_path / "other")
        change_weights(other / "model.safetensors")
        llm = TextLLM(other)
    source = tiny_encoder_folder if kind == "encoder" else tiny_llm_folder
    with pytest.raises(
        ValueError, match=f"'{folder}' .*another {kind} .*{source}.*segmenter.yaml"
    ):
        load_segmenter(folder, encoder, llm)


def test_a_segmenter_of_another_layer_is_refused(save, llm, tiny_encoder_folder):
    _, folder = save("boundary")
    encoder = SpeechEncoder(tiny_encoder_folder, layer=1)
    with pytest.raises(ValueError, match=f"'{folder}' reads layer .*set encoder_layer"):
        load_segmenter(folder, encoder, llm)


def rewrite(**changes):
    """Changes keys of a folder's settings; None takes one out."""

    def spoil(folder):
        path = folder / "segmenter.json"
        noted = {**json.loads(path.read_text()), **changes}
        noted = {key: value for key, value in noted.items() if value is not None}
        path.write_text(json.dumps(noted))

    return spoil


def write(name, content):
    """Puts other bytes in the place of a folder's file."""
    return lambda folder: (folder / name).write_bytes(content)


def cut_weights(folder):
    path = folder / "segmenter.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


SPOILT = {
    "no settings": lambda folder: (folder / "segmenter.json").unlink(),
    "settings that are no JSON": write("segmenter.json", b"{"),
    "settings that are no text": write("segmenter.json", b"\xff\xfe\x00"),
    "settings of another kind": write("segmenter.json", b"[1]"),
    "settings without a name": rewrite(segmenter=None),
    "settings without an encoder": rewrite(encoder=None),
    "settings without options": rewrite(options=None),
    "an unknown name": rewrite(segmenter="boundaries"),
    "the name of one that is not trained": rewrite(segmenter="fixed"),
    "an unknown option": rewrite(options={**TINY, "widht": 16}),
    "another size": rewrite(options={**TINY, "width": 8}),
    "no weights": lambda folder: (folder / "segmenter.safetensors").unlink(),
    "weights cut short": cut_weights,
    "weights that are none": write("segmenter.safetensors", b"nothing"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_folder_of_a_segmenter_is_named_with_the_mend(
    save, llm, encoder, spoil
):
    _, folder = save("boundary")
    spoil(folder)
    with pytest.raises(ValueError) as raised:
        load_segmenter(folder, encoder, llm)
    message = str(raised.value)
    assert f"'{folder}'" in message
    assert "hparams/segmenter.yaml" in message


# --- Learning ----------------------------------------------------------------------

KINDS = 6


def marked_utterance(rng):
    """Frames that plainly say which of six tokens they are of, and its segments."""
    tokens = [int(rng.integers(KINDS))]
    for step in rng.integers(1, KINDS, rng.integers(2, 6)):
        tokens.append((tokens[-1] + int(step)) % KINDS)
    durations = rng.integers(6, 13, len(tokens))
    silence = int(rng.integers(6))
    boundaries = silence + durations.cumsum() - 1
    starts = boundaries - durations + 1
    features = 0.1 * rng.standard_normal((boundaries[-1] + 1, KINDS))
    for token, start, boundary in zip(tokens, starts, boundaries, strict=True):
        features[start : boundary + 1, token] += 1
    # The letters a to f.
    found = segments_of(np.array(tokens) + 3, starts, boundaries)
    return torch.from_numpy(features).float(), found


def marked_batch(utterances):
    lengths = torch.tensor([len(x) for x, _ in utterances])
    features = pad_sequence([x for x, _ in utterances], batch_first=True)
    return features, lengths, *pad_segments([found for _, found in utterances])


def test_tokens_that_frames_plainly_mark_are_found_after_a_few_steps(llm, setup):
    rng = np.random.default_rng(0)
    batches = [[marked_utterance(rng) for _ in range(16)] for _ in range(160)]
    sizes = {"width": 32, "num_layers": 1, "kernel_size": 7}
    segmenter = make_segmenter(llm, setup, KINDS, batches[0], **sizes).train()
    if setup == "spelling":
        # Weights that need not change to tell six letters apart.
        segmenter.head.keys.grams.requires_grad_(False)
    learning = [p for p in segmenter.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, len(batches))
    for utterances in batches:
        optimizer.zero_grad()
        segmenter(*marked_batch(utterances)).backward()
        optimizer.step()
        schedule.step()

    unseen = [marked_utterance(rng) for _ in range(20)]
    batch = cut(segmenter.eval(), *marked_batch(unseen)[:2])
    # The sums of "cif" pass whole numbers a little sooner or later.
    most = 5 if setup == "cif" else 2
    near, wrong = [], 0
    for found, (_, wanted) in zip(batch, unseen, strict=True):
        # "cif" knows no silence before the first.
        apart = abs(wanted.starts[1:, None] - found.starts).min(1, initial=99)
        near += (apart <= most).tolist()
        said = (found.tokens >= 0).any()
        wrong += found.tokens.tolist() != wanted.tokens.tolist() if said else 0
    assert np.mean(near) > 0.9
    assert wrong <= 3
    numbers = [sum(map(len, x)) for x in (batch, [wanted for _, wanted in unseen])]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.05)


# --- From labels and probabilities to places ---------------------------------------


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("_burning ning ing _then", "_burning _then"),
        ("_burning _ing", "_burning _ing"),  # a word of its own
        ("_burn ing s ing", "_burn ing s ing"),  # nothing ends so
        ("_dress s", "_dress s"),  # a letter is too little to go by
        ("_ha ha", "_ha ha"),  # as long as that before it
        ("ing", "ing"),
        ("", ""),
    ],
)
def test_not_repeated_leaves_out_the_end_of_a_token_that_is_told_again(words, kept):
    words = words.split()

    class Tokenizer:
        def decode(self, tokens):
            return "".join(words[token] for token in tokens).replace("_", " ")

    found = not_repeated(list(range(len(words))), Tokenizer())
    assert [word for word, keep in zip(words, found, strict=True) if keep] == (
        kept.split()
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=20), st.integers(0, 3))
def test_runs_spell_out_the_labels_again(labels, blank):
    found, first, last = runs_of_labels(torch.tensor(labels, dtype=torch.long), blank)
    again = [blank] * len(labels)
    for label, start, stop in zip(found, first, last, strict=True):
        assert label != blank and start <= stop
        again[start : stop + 1] = [label] * (stop + 1 - start)
    assert again == labels
    # No run could be longer, and none is met twice.
    for start, stop in zip(first, last, strict=True):
        assert start == 0 or labels[start - 1] != labels[start]
        assert stop == len(labels) - 1 or labels[stop + 1] != labels[stop]
    assert first == sorted(set(first))


# Tenths, of which many are equal.
PROBABILITIES = st.lists(st.integers(0, 10).map(lambda n: n / 10), max_size=25)


@settings(max_examples=100, deadline=None)
@given(PROBABILITIES, st.floats(0, 1), st.integers(1, 6))
def test_peaks_are_likely_apart_and_all_there_are(probabilities, threshold, distance):
    values = torch.tensor(probabilities)
    found = peaks(values, threshold, distance)
    assert found == sorted(found)
    assert all(b - a >= distance for a, b in zip(found, found[1:], strict=False))
    assert all(values[place] >= threshold for place in found)
    for place in range(len(values)):
        if values[place] >= threshold and place not in found:
            near = [p for p in found if abs(p - place) < distance]
            assert any(values[p] >= values[place] for p in near)


@settings(max_examples=100, deadline=None)
@given(PROBABILITIES, st.floats(0, 1))
def test_peaks_without_a_distance_are_all_places_above_the_threshold(
    probabilities, threshold
):
    values = torch.tensor(probabilities)
    above = torch.nonzero(values >= threshold).flatten().tolist()
    assert peaks(values, threshold, 1) == above
