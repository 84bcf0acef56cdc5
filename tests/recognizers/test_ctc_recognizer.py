"""CTC models as recognisers."""

import math

import pytest
import torch
from ctc_models import LETTERS, save_model

from ssr_plugin.recognizers.ctc import CTCRecognizer
from ssr_plugin.recognizers.load import load_recognizer

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("ctc"))


@pytest.fixture
def recognizer(folder):
    return CTCRecognizer(folder)


def emission(labels, sure=0.9):
    """Log-probabilities of one label a frame; "" is the blank."""
    count = len(LETTERS)
    found = torch.full((len(labels), count), (1 - sure) / (count - 1))
    for frame, label in enumerate(labels):
        found[frame, LETTERS.index(label) if label else 0] = sure
    return found.log()


def wavs(*seconds):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(round(s * RATE), generator=generator) / 10 for s in seconds]


def hear(recognizer, monkeypatch, log_probs):
    """What it makes of some emissions of a second of audio."""
    monkeypatch.setattr(recognizer._ctc, "emissions", lambda inputs: [log_probs])
    (hypothesis,) = recognizer.recognize(wavs(1.0))
    return hypothesis


def test_labels_become_words_at_their_times(recognizer, monkeypatch):
    labels = ["", "H", "H", "", "I", "|", "", "", "B", "", "O", "", "O"]
    hypothesis = hear(recognizer, monkeypatch, emission(labels))
    assert hypothesis.text == "HI BOO"
    hi, boo = hypothesis.units
    assert (hi.start, boo.start) == pytest.approx((0.02, 0.16))
    assert hi.end <= boo.start < boo.end <= 1.0


def test_a_words_confidence_is_that_of_its_labels(recognizer, monkeypatch):
    (unit,) = hear(recognizer, monkeypatch, emission(["H", "H", "I"], 0.8)).units
    assert unit.confidence == pytest.approx(0.8**2, abs=1e-4)
    assert math.isfinite(unit.confidence)


def test_special_labels_are_no_text(recognizer, monkeypatch):
    labels = ["<s>", "A", "<unk>", "</s>"]
    assert hear(recognizer, monkeypatch, emission(labels)).text == "A"


def test_blanks_of_sentencepiece_begin_words(tmp_path, monkeypatch):
    tokens = [*LETTERS[:4], "\u2581he", "llo", "\u2581you"]
    recognizer = CTCRecognizer(save_model(tmp_path, tokens))
    found = torch.full((4, len(tokens)), -9.0)
    found[range(4), [4, 5, 0, 6]] = 0.0
    assert hear(recognizer, monkeypatch, found).text == "hello you"


def test_recordings_are_heard_alike_alone_and_together(recognizer):
    recordings = wavs(0.5, 1.1, 0.8)
    together = recognizer.recognize(recordings)
    for wav, hypothesis in zip(recordings, together, strict=True):
        (alone,) = recognizer.recognize([wav])
        assert alone.text == hypothesis.text
        assert [u.start for u in alone.units] == [u.start for u in hypothesis.units]


def test_nothing_is_heard_in_silence_or_next_to_no_audio(recognizer):
    heard = recognizer.recognize([torch.zeros(RATE), torch.ones(100), torch.ones(0)])
    assert [hypothesis.text for hypothesis in heard] == ["", "", ""]


def test_a_ctc_model_is_loaded_as_one_and_stays_frozen(folder):
    recognizer = load_recognizer(folder)
    assert isinstance(recognizer, CTCRecognizer)
    assert not recognizer.train().training
    assert not any(x.requires_grad for x in recognizer.parameters())
    assert recognizer.settings() == CTCRecognizer(folder).settings()
