"""CTC alignment: the same alone and in a batch, for any model and any length."""

import numpy as np
import pytest
import soundfile
import torch
from ctc_models import LETTERS, save_model

from ssr_plugin.alignment import ctc_model
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.ctc import CTCAligner, viterbi, with_star
from ssr_plugin.alignment.record import AlignmentError


@pytest.fixture(scope="module")
def layer_model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("layer"))


@pytest.fixture
def items(tmp_path):
    rng = np.random.default_rng(0)
    texts = ["Hello, world!", "It’s 1455", "a b c d", "Ünder 日本."]
    items = []
    for i, (text, seconds) in enumerate(zip(texts, (0.5, 0.8, 0.4, 0.5), strict=True)):
        wav = tmp_path / f"utt-{i}.wav"
        soundfile.write(wav, 0.1 * rng.standard_normal(round(16000 * seconds)), 16000)
        items.append(AlignmentItem(f"utt-{i}", str(wav), text))
    return items


def emissions(aligner, items):
    aligner._load()
    model = aligner._model
    inputs = {i: aligner._input(item)[0] for i, item in enumerate(items)}
    return {
        i: emission
        for batch in model.batches(inputs)
        for i, emission in zip(
            batch, model.emissions([inputs[i] for i in batch]), strict=True
        )
    }


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("hubert", [False, True])
def test_a_batch_gives_what_single_utterances_give(tmp_path, items, norm, hubert):
    aligner = CTCAligner(save_model(tmp_path, norm=norm, hubert=hubert))
    together = emissions(aligner, items)
    for i, item in enumerate(items):
        alone = emissions(aligner, [item])[0]
        torch.testing.assert_close(together[i], alone, atol=1e-4, rtol=0)


def test_alignments_of_a_batch_are_those_of_single_utterances(layer_model, items):
    aligner = CTCAligner(layer_model)
    alone = [aligner.align([item])[0] for item in items]
    assert aligner.align(items) == alone


def test_layer_norm_models_are_run_in_batches(layer_model, items):
    aligner = CTCAligner(layer_model)
    aligner._load()
    model = aligner._model
    inputs = {i: aligner._input(item)[0] for i, item in enumerate(items)}
    assert len(model.batches(inputs)) == 1
    model.batch_seconds = 1.2
    assert sorted(map(len, model.batches(inputs))) == [1, 1, 2]


def test_every_letter_and_digit_gets_a_time(layer_model, items):
    for item, alignment in zip(
        items, CTCAligner(layer_model).align(items), strict=True
    ):
        assert alignment.kind == "char"
        assert alignment.text == item.text
        offsets = {unit.offset for unit in alignment.units}
        assert {i for i, c in enumerate(item.text) if c.isalnum()} <= offsets
        assert alignment.units[-1].end <= alignment.duration


def test_long_audio_in_windows_gives_what_one_pass_gives(
    layer_model, tmp_path, monkeypatch
):
    wav = tmp_path / "long.wav"
    samples = 0.1 * np.random.default_rng(0).standard_normal(16000 * 4)
    soundfile.write(wav, samples, 16000)
    aligner = CTCAligner(layer_model)
    item = AlignmentItem("long", str(wav), "hello")
    whole = emissions(aligner, [item])[0]
    monkeypatch.setattr(ctc_model, "WINDOW", 2.4)
    monkeypatch.setattr(ctc_model, "CONTEXT", 0.8)
    windowed = emissions(aligner, [item])[0]
    assert windowed.shape == whole.shape
    # Attention reaches across windows, so that they agree but roughly.
    assert (windowed.exp() - whole.exp()).abs().max() < 0.01


def test_ctc_finds_characters_where_they_are_emitted(layer_model, items):
    aligner = CTCAligner(layer_model)
    aligner._load()
    emission = torch.full((50, len(LETTERS)), -8.0)
    emission[:, 0] = 0.0
    for frame, letter in ((10, "H"), (11, "H"), (18, "I")):
        emission[frame, 0], emission[frame, LETTERS.index(letter)] = -8.0, 0.0
    item = AlignmentItem("utt-1", "utt-1.wav", "hi")
    h, i = aligner._align(item, emission, 1.0).units
    # Nothing is told for less than a pause: the first letter goes on.
    assert (h.start, h.end, i.start, i.end) == (0.2, 0.36, 0.36, 0.38)
    aligner.start_offset, aligner.end_offset = -30, 10
    h, i = aligner._align(item, emission, 1.0).units
    assert (h.start, h.end, i.start, i.end) == (0.17, 0.33, 0.33, 0.39)


def test_a_star_takes_the_frames_that_nothing_else_explains():
    emission = torch.full((9, 4), -9.0)
    emission[[0, 8], [1, 2]] = 0.0
    emission[4, 3] = 0.0
    assert viterbi(with_star(emission), [1, 4, 2], blank=0)[1] == (1, 8)


def test_the_ctc_aligner_gives_an_error_for_each_utterance_it_cannot_align(
    layer_model, items
):
    other = [
        AlignmentItem("gone", "gone.wav", "a"),
        AlignmentItem("mute", items[0].wav, "..."),
        AlignmentItem("much", items[0].wav, "too many letters " * 9),
    ]
    results = CTCAligner(layer_model).align([items[0], *other, items[1]])
    assert [isinstance(r, AlignmentError) for r in results] == [0, 1, 1, 1, 0]
    assert str(results[1]) == "gone: there is no audio file gone.wav"
    assert "mute: nothing that" in str(results[2])
    assert "much: 170 characters do not fit in its 24 frames" in str(results[3])


def test_a_transcript_of_which_most_letters_are_unknown_is_refused(layer_model, items):
    texts = ["Он", "ab Он", "abc Он", "12", "a Онлайн"]
    results = CTCAligner(layer_model).align(
        [AlignmentItem(text, items[1].wav, text) for text in texts]
    )
    refused = [isinstance(result, AlignmentError) for result in results]
    assert refused == [True, False, False, False, True]
    assert "does not know 6 of its 7 letters ('Онлай')" in str(results[-1])
    assert all(name in str(results[-1]) for name in ("ctc", "files", "even", "unity2"))


def test_too_little_audio_is_an_error_of_that_utterance(layer_model, tmp_path):
    wav = str(tmp_path / "short.wav")
    soundfile.write(wav, np.zeros(300), 16000)
    (error,) = CTCAligner(layer_model).align([AlignmentItem("short", wav, "a")])
    assert "short: only 0.019 s of audio" in str(error)


def test_a_model_of_subwords_is_refused(tmp_path):
    source = save_model(tmp_path, tokens=[*LETTERS[:5], "A", "THE", "IN", "AND"])
    with pytest.raises(ValueError, match="no character CTC model: 4 labels"):
        CTCAligner(source).align([])


def test_another_model_or_offset_is_another_setting(layer_model):
    settings = CTCAligner(layer_model).settings()
    assert settings == CTCAligner(layer_model, batch_seconds=1.0).settings()
    assert settings != CTCAligner(layer_model, end_offset=20).settings()
