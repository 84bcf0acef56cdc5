"""Calibration: what is added to times so that they are neither early nor late."""

import numpy as np
import pytest

from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.segmenters.calibration import calibrate, words_of

TEXT = "the cat, sat down"


def alignment(starts, ends, text=TEXT, id="a"):
    words, offset, units = text.split(), 0, []
    for word, start, end in zip(words, starts, ends, strict=True):
        units.append(Unit(word, float(start), float(end), offset))
        offset += len(word) + 1
    return Alignment(id, text, tuple(units), "word", 10.0)


STARTS, ENDS = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.5, 2.5, 3.5, 4.5])


def test_calibrate_gives_back_the_offsets_that_were_added():
    reference = {"a": alignment(STARTS, ENDS), "b": alignment(STARTS + 1, ENDS + 1)}
    found = {
        "a": alignment(STARTS + 0.03, ENDS - 0.0123),
        "b": alignment(STARTS + 1.03, ENDS + 0.9877),
    }
    assert calibrate(found, reference) == (-30.0, 12.3)
    assert calibrate(reference, reference) == (0.0, 0.0)


def test_calibrate_is_not_moved_by_a_word_that_went_wrong():
    found = alignment(STARTS + [0.02, 0.02, 0.02, 0.4], ENDS + [-0.3, 0.01, 0.01, 0.01])
    reference = {"a": alignment(STARTS, ENDS)}
    assert calibrate({"a": found}, reference) == (-20.0, -10.0)


def test_calibrate_leaves_out_ends_that_are_the_next_words_starts():
    # The first two words meet; were they counted, the median would be theirs.
    found = alignment(STARTS, [2.0, 3.0, 3.45, 4.45])
    reference = {"a": alignment(STARTS, ENDS)}
    assert calibrate({"a": found}, reference) == (0.0, 50.0)


def test_calibrate_takes_characters_as_the_words_they_make():
    units = [
        Unit(letter, 1.0 + i / 4, 1.25 + i / 4, i) for i, letter in enumerate("hi")
    ]
    units.append(Unit("u", 2.0, 2.2, 4))
    found = Alignment("a", "hi, u", tuple(units), "char", 10.0)
    assert words_of(found) == [("hi", 1.0, 1.5), ("u", 2.0, 2.2)]
    reference = alignment([1.01, 2.01], [1.55, 2.25], "HI U")
    assert calibrate({"a": found}, {"a": reference}) == (10.0, 50.0)


def test_calibrate_leaves_out_words_and_utterances_in_one_alone():
    found = {"a": alignment(STARTS + 0.02, ENDS), "c": alignment(STARTS + 9e-3, ENDS)}
    other = alignment([1.0, 2.0, 4.0], [1.5, 2.6, 4.5], "the dog down")
    assert calibrate(found, {"a": other, "b": other}) == (-20.0, 0.0)


def test_calibrate_refuses_alignments_with_nothing_in_common():
    other = {"b": alignment(STARTS, ENDS)}
    with pytest.raises(ValueError, match="no word in common"):
        calibrate({"a": alignment(STARTS, ENDS)}, other)
    with pytest.raises(ValueError, match="no word in common"):
        calibrate({}, other)
