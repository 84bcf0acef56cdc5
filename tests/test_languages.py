"""Languages: their codes, and where the words of a text are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssr_plugin.languages import (
    first_language,
    has_words,
    is_undivided,
    parse_language,
    whisper_code,
    word_spans,
)

SCRIPTS = "ab Zéß'-.你好，。これーสว\u0e31\u05e9\u0645 😀"


@pytest.mark.parametrize("tag", ["german", "e", "de_", "", "de-toolongasubtag", None])
def test_what_is_no_code_is_refused(tag):
    with pytest.raises(ValueError, match="language: .* is no BCP-47 code, such as en"):
        parse_language(tag)


def test_norwegian_is_no_truth_value():
    # As a YAML 1.1 reader understands "language: no".
    assert parse_language(False) == "no"
    assert whisper_code("no") == whisper_code("nb-NO") == "no"


def test_the_first_language_that_is_said_counts():
    assert first_language() == first_language(None, None) == "en"
    assert first_language(None, "zh_CN") == "zh-CN"
    with pytest.raises(ValueError, match="'chinese'"):
        first_language("chinese", "zh")


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        *[("ko", True), ("vi", True), ("he", True), ("sr-Cyrl-RS", True)],
        *[("zh-Hant-HK", False), ("yue", False), ("lo", False), ("zh-Latn", True)],
        ("ko-Hani", False),
    ],
)
def test_the_script_decides_whether_there_are_words(tag, words):
    assert has_words(tag) == words


@settings(deadline=None)
@given(st.text(SCRIPTS))
def test_words_are_in_order_and_leave_nothing_but_blanks(text):
    spans = word_spans(text)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert all(start < stop for start, stop in spans)
    covered = "".join(text[start:stop] for start, stop in spans)
    assert covered == "".join(text.split())


@settings(deadline=None)
@given(st.text(SCRIPTS))
def test_no_word_has_two_letters_of_a_script_without_blanks(text):
    for start, stop in word_spans(text):
        letters = [x for x in text[start:stop] if x.isalnum()]
        assert len(letters) <= 1 or not is_undivided("".join(letters))


@settings(deadline=None)
@given(st.text("ab Zéß'-.\u05e9\u0645 "))
def test_where_blanks_part_words_those_are_the_words(text):
    assert [text[start:stop] for start, stop in word_spans(text)] == text.split()
