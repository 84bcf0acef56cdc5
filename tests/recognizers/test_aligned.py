"""A recogniser's words, timed by an aligner."""

import pytest
import torch

from ssr_plugin.alignment.base import Aligner
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit
from ssr_plugin.recognizers.aligned import AlignedRecognizer, with_times
from ssr_plugin.recognizers.base import Recognizer


def said(*words, confidence=0.5):
    units, text = [], ""
    for i, word in enumerate(words):
        text += " " if text else ""
        units.append(Unit(word, i / 10, (i + 1) / 10, len(text), confidence))
        text += word
    return Alignment("", text, tuple(units), "word", 2.0)


class Hears(Recognizer):
    sample_rate = 16000

    def __init__(self, *hypotheses):
        super().__init__()
        self.hypotheses = hypotheses

    def settings(self):
        return {"weights": "x"}

    def recognize(self, wavs, windows=None):
        return list(self.hypotheses)


class Later(Aligner):
    """All words a second later; a text with "lost" in it cannot be found."""

    name = "later"

    def __init__(self):
        self.heard = []

    def settings(self):
        return {"later": 1}

    def align(self, items):
        results = []
        for item in items:
            self.heard.append((item.samples, item.sample_rate))
            if "lost" in item.text:
                results.append(AlignmentError(item.id, "it is lost"))
                continue
            timed = said(*item.text.split())
            units = [
                Unit(u.text, u.start + 1, u.end + 1, u.offset) for u in timed.units
            ]
            results.append(Alignment(item.id, item.text, tuple(units), "word", 2.0))
        return results


def test_words_get_the_aligners_times_and_keep_their_confidence():
    aligner = Later()
    recognizer = AlignedRecognizer(Hears(said("a", "cat")), aligner)
    (found,) = recognizer.recognize([torch.ones(32000)])
    assert [(u.text, u.start, u.confidence) for u in found.units] == [
        ("a", 1.0, 0.5),
        ("cat", pytest.approx(1.1), 0.5),
    ]
    ((samples, rate),) = aligner.heard
    assert samples.shape == (32000,) and rate == 16000


def test_what_cannot_be_aligned_keeps_its_own_times_and_is_counted(caplog):
    lost = said("lost")
    recognizer = AlignedRecognizer(Hears(lost, said("a"), lost), Later())
    found = recognizer.recognize([torch.ones(9)] * 3)
    assert [x.units[0].start for x in found] == [0.0, 1.0, 0.0]
    assert recognizer.num_failed == 2
    warnings = [x for x in caplog.records if x.levelname == "WARNING"]
    assert len(warnings) == 1 and "it is lost" in warnings[0].getMessage()


def test_a_text_of_nothing_is_not_aligned():
    nothing = Alignment("", "", (), "word", 1.0)
    aligner = Later()
    found = AlignedRecognizer(Hears(nothing), aligner).recognize([torch.ones(9)])
    assert found == [nothing] and not aligner.heard


def test_a_word_that_the_aligner_leaves_out_takes_no_time():
    timed = Alignment("", "a b", (Unit("b", 0.5, 0.9, 2),), "word", 2.0)
    units = with_times(said("a", "b"), timed).units
    assert [(u.start, u.end) for u in units] == [(0.0, 0.0), (0.5, 0.9)]


def test_its_settings_tell_the_aligner():
    plain = Hears()
    settings = AlignedRecognizer(plain, Later()).settings()
    assert settings == {"weights": "x", "aligner": {"name": "later", "later": 1}}
