"""Transcripts are read as an English speaker says them, and nothing is left out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssr_plugin.alignment.english import (
    ARPABET,
    foreign_letters,
    guess_phones,
    spoken_number,
    spoken_words,
    unknown_share,
)
from ssr_plugin.alignment.record import sayable

KNOWN = {"mr", "u.s.", "'tis", "don't", "the", "cafe", "well", "known", "dogs"}


def read(text):
    spoken = spoken_words(text, KNOWN.__contains__)
    return [(text[s.start : s.end], " ".join(s.words)) for s in spoken]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("THE (dogs)...", [("THE", "the"), ("dogs", "dogs")]),
        ("'Tis the U.S.", [("Tis", "'tis"), ("the", "the"), ("U.S", "u.s.")]),
        ("Mr. don’t", [("Mr", "mr"), ("don’t", "don't")]),
        ("well-known", [("well", "well"), ("known", "known")]),
        ("well—known the--dogs", [(w, w) for w in ("well", "known", "the", "dogs")]),
        ("dogs' 'the'", [("dogs", "dogs"), ("the", "the")]),
        ("café cafe\u0301", [("café", "cafe"), ("cafe\u0301", "cafe")]),
        ("in 1455.", [("in", "in"), ("1455", "fourteen fifty five")]),
        ("$2.50, 1st", [("2.50", "two dollars fifty cents"), ("1st", "first")]),
        ("1,500 3-4", [("1,500", "one thousand five hundred"), ("3", "three"),
                       ("4", "four")]),
        ("qux,quux _x_", [("qux", "qux"), ("quux", "quux"), ("x", "x")]),
        ("— & ...", []),
    ],
)  # fmt: skip
def test_a_transcript_is_cut_into_words_as_they_are_said(text, expected):
    assert read(text) == expected


@settings(deadline=None, max_examples=25)
@given(st.text(alphabet="aé1٣½²日ß’'-. \u0301$_,ﬁǅİ", max_size=12))
def test_every_letter_and_digit_is_in_a_span_that_says_something(text):
    spoken = spoken_words(text, KNOWN.__contains__)
    inside = {i for s in spoken for i in range(s.start, s.end)}
    letters = {i for c, i in sayable(text) if c.isalnum()}
    assert letters <= inside
    assert all(s.words and all(s.words) for s in spoken)
    assert all(a.end <= b.start for a, b in zip(spoken, spoken[1:], strict=False))
    for s in spoken:
        assert all(guess_phones(word) for word in s.words)


def test_numbers_that_the_library_cannot_say_are_said_in_parts():
    assert spoken_number("1850s") == ("eighteen", "fifty", "s")
    assert spoken_number("abc123") == (
        "abc",
        "one",
        "hundred",
        "and",
        "twenty",
        "three",
    )


@pytest.mark.parametrize("word", ["zyxel", "wraxall", "qwxz", "smollm's", "żółć", "1"])
def test_any_word_has_a_pronunciation_in_the_models_phones(word):
    phones = guess_phones(word).split()
    assert phones
    assert set(phones) <= set(ARPABET.values())


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("Plain, “quoted” & 1½ — dogs’", ""),
        ("naïve Ærø Müller ﬁn straße Hawaiʻi São", ""),
        ("½ ² ٣ 5º", ""),
        ("да Да", "даД"),
        ("10 µm", "µ"),
        ("日本の日", "日本の"),
    ],
)
def test_only_letters_that_are_not_latin_are_foreign(text, foreign):
    assert foreign_letters(text) == foreign


def test_words_are_unknown_as_they_are_spelt_and_numbers_are_not_counted():
    share, count = unknown_share(["Café DON’T 1455", "the dogs x2"], KNOWN.__contains__)
    # "café" and the letter of "x2".
    assert (share, count) == (2 / 5, 5)
