"""Characters are spelt in a model's vocabulary and get times back."""

import string

from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.alignment.ctc_characters import (
    PAUSE,
    ctc_spelling,
    label_times,
    spread_characters,
    unknown_letters,
)

STAR, DELIMITER = 90, 91
VOCABULARY = {c: i for i, c in enumerate(string.ascii_uppercase + "'")}


def spelling_of(text, delimiter=DELIMITER):
    names = {i: c for c, i in VOCABULARY.items()} | {STAR: "*", DELIMITER: "|"}
    spelling = ctc_spelling(text, VOCABULARY, delimiter, STAR)
    return "".join(names[token] for token in spelling.tokens)


def test_a_spelling_takes_case_and_accents_from_the_model():
    assert spelling_of("Élan it’s") == "ELAN|IT'S"


def test_punctuation_that_the_model_lacks_is_left_out():
    assert spelling_of(" Well... (so) -- yes! ") == "WELL|SO|YES"


def test_a_run_of_characters_outside_the_vocabulary_is_one_star():
    assert spelling_of("in 1455, 日本 x2y") == "IN|*|*|X*Y"


def test_unknown_letters_are_those_the_model_has_in_no_form():
    assert unknown_letters("Élan it’s 1455 -- жд ß ж", VOCABULARY) == [*"жд", "ß", "ж"]


def test_a_model_without_word_delimiters_gets_none():
    assert spelling_of("a b", delimiter=None) == "AB"


def test_two_stars_side_by_side_are_two_words_or_broken_by_punctuation():
    spelling = ctc_spelling("12 34", VOCABULARY, None, STAR)
    assert spelling.spans == ((0, 2), (3, 5))
    assert ctc_spelling("1,5", VOCABULARY, None, STAR).spans == ((0, 1), (2, 3))


@given(st.text(alphabet="aB'é1日 ,.|*\u0301ß", max_size=20))
def test_spans_are_in_order_and_hold_every_letter_and_digit(text):
    spans = [s for s in ctc_spelling(text, VOCABULARY, DELIMITER, STAR).spans if s]
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    inside = {i for span in spans for i in range(*span)}
    assert {i for i, c in enumerate(text) if c.isalnum()} <= inside


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=8),
    st.floats(-0.3, 0.3),
    st.floats(-0.3, 0.3),
)
def test_times_are_ordered_and_inside_the_audio_whatever_the_offsets(
    labels, start_offset, end_offset
):
    times, spans, time, index = [], [], 0.0, 0
    for frames, characters in labels:
        times.append((time + start_offset, time + frames * 0.02 + end_offset))
        spans.append((index, index + characters))
        time += frames * 0.02
        index += characters
    timed_characters = spread_characters(spans, times, time)
    assert [i for i, _, _ in timed_characters] == list(range(index))
    edges = [edge for _, start, end in timed_characters for edge in (start, end)]
    assert edges == sorted(edges)
    assert edges[0] >= 0 and edges[-1] <= time + 1e-6


def test_a_label_lasts_until_the_next_unless_there_is_a_pause():
    near, far = PAUSE - 0.01, PAUSE + 0.01
    ((_, end), (start, _)) = label_times([(0, 1), (1 + near, 9)], 1.0)
    assert end == start
    ((_, end), _) = label_times([(0, 1), (1 + far, 9)], 1.0)
    assert end == 1.0


def test_an_end_before_a_pause_moves_up_to_the_next_start_at_most():
    runs = [(0, 2), (22, 24)]
    ((_, end), _) = label_times(runs, 0.01, end_offset=50.0)
    assert round(end, 6) == 0.07
    ((_, end), (start, _)) = label_times(runs, 0.01, -30.0, end_offset=500.0)
    assert end == start == 0.19
