"""Words from a recogniser's tokens."""

import math
import random

import pytest

from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.recognizers.words import Piece, add_alternatives, join, to_hypothesis


def pieces(*texts, log_prob=-0.1):
    return [Piece(text, i / 10, (i + 1) / 10, log_prob) for i, text in enumerate(texts)]


def words(hypothesis):
    return [(u.text, u.offset, u.start, u.end) for u in hypothesis.units]


def test_tokens_join_to_words_at_blanks():
    hypothesis = to_hypothesis(pieces(" he", "llo", ",", " world"), 1.0)
    assert hypothesis.text == "hello, world"
    assert words(hypothesis) == [("hello,", 0, 0.0, 0.2), ("world", 7, 0.3, 0.4)]


def test_a_words_confidence_is_that_of_its_tokens_without_marks():
    (unit,) = to_hypothesis(pieces(" he", "llo", "!"), 1.0).units
    assert unit.confidence == pytest.approx(math.exp(-0.2))


def test_a_mark_before_a_word_is_part_of_it():
    (unit,) = to_hypothesis(pieces(' "', "Hi"), 1.0).units
    assert (unit.text, unit.start, unit.end) == ('"Hi', 0.0, 0.2)


def test_each_token_of_a_script_without_blanks_is_a_unit():
    hypothesis = to_hypothesis(pieces("你好", "世界"), 1.0)
    assert hypothesis.text == "你好世界"
    assert [unit.text for unit in hypothesis.units] == ["你好", "世界"]


def test_no_word_ends_after_the_audio_nor_before_it_starts():
    late = [Piece(" a", 0.9, 1.4, 0.0), Piece(" b", 1.5, 1.2, 0.0)]
    assert [unit.end for unit in to_hypothesis(late, 1.0).units] == [1.0, 1.0]


def test_a_loop_is_said_once_and_the_text_fits():
    hypothesis = to_hypothesis(pieces(" so", *[" I", " see"] * 20, " you"), 9.0)
    assert hypothesis.text == "so I see you" and hypothesis.cut_loops == 1
    assert [unit.offset for unit in hypothesis.units] == [0, 3, 5, 9]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([" he", " ", *["ha"] * 200, ",", " no"], "he ha, no"),
        # Tokens need not end where what is repeated does.
        ([" ahah", *["ahah"] * 60, "a"], "aha"),
        ([" No", *"o" * 40, "!"], "No!"),
        ([" www.a.", *["com/a."] * 20, "com"], "www.a.com/a.com"),
        (["谢谢", *["大家", "谢谢"] * 30, "。"], "谢谢大家谢谢。"),
    ],
)
def test_a_loop_inside_a_word_is_said_once(tokens, text):
    hypothesis = to_hypothesis(pieces(*tokens), 99.0)
    assert hypothesis.text == text and hypothesis.cut_loops == 1
    for unit in hypothesis.units:
        assert hypothesis.text[unit.offset :].startswith(unit.text)


@pytest.mark.parametrize("word", ["hahahahahaha", "1000000000", "Aaaaaah", "11,111.11"])
def test_a_word_that_repeats_itself_a_little_is_left(word):
    hypothesis = to_hypothesis(pieces(" ", *word), 9.0)
    assert hypothesis.text == word and hypothesis.cut_loops == 0


def test_all_loops_of_a_recording_are_counted():
    end = to_hypothesis(pieces(*[" no"] * 9, " so", *[" yes"] * 9), 9.0)
    both = to_hypothesis(pieces(" he", " ", *["ha"] * 99, *[" no"] * 9), 9.0)
    assert (end.text, end.cut_loops) == ("no so yes", 2)
    assert (both.text, both.cut_loops) == ("he ha no", 2)
    whole = join([(0.0, end), (9.0, both), (18.0, to_hypothesis([], 1.0))], 19.0)
    assert whole.cut_loops == 4
    assert Alignment.from_json(whole.to_json()) == whole
    assert "cut_loops" not in to_hypothesis(pieces(" no"), 1.0).to_json()


def test_alternatives_do_not_grow_with_the_square_of_a_words_length():
    rng = random.Random(0)

    def size(count):
        """Of a word without end or loop, each of whose tokens might be another."""
        texts = ["".join(rng.choices("abcdefghij", k=5)) for _ in range(count)]
        tokens = [Piece(text, 0.0, 0.1, -0.5, (("x", 0.2),)) for text in texts]
        (unit,) = to_hypothesis(tokens, 9.0).units
        assert unit.text == "".join(texts)
        return sum(len(other) for other, _ in unit.alternatives)

    assert 500 < size(400) == size(100)


def test_what_else_a_token_might_be_becomes_words():
    first = Piece(" one", 0.0, 0.1, math.log(0.6), ((" won", 0.3), ("'", 0.1)))
    rest = Piece("s", 0.1, 0.2, math.log(0.5), ((" a", 0.2), ("ly", 0.3)))
    (unit,) = to_hypothesis([first, rest], 1.0).units
    assert unit.text == "ones"
    assert dict(unit.alternatives) == pytest.approx(
        # The last two, if the first token is right.
        {"won": 0.3, "onely": 0.18, "one": 0.12}
    )


def test_the_same_word_in_another_case_makes_a_word_surer():
    piece = Piece(" THE", 0.0, 0.1, math.log(0.4), ((" the", 0.3), (" a", 0.1)))
    (unit,) = to_hypothesis([piece], 1.0).units
    assert unit.confidence == pytest.approx(0.7)
    assert dict(unit.alternatives) == {"a": 0.1}


def test_parts_are_joined_at_their_times():
    part = to_hypothesis(pieces(" a", " b"), 1.0)
    whole = join([(0.0, part), (2.0, part)], 3.0)
    assert whole.text == "a b a b"
    assert [unit.start for unit in whole.units] == [0.0, 0.1, 2.0, 2.1]


def test_alternatives_of_the_n_best_hold_words_left_out_and_put_in():
    def said(text):
        units, offset = [], 0
        for word in text.split():
            units.append(Unit(word, 0.0, 0.0, offset, 1.0))
            offset += len(word) + 1
        return Alignment("", text, tuple(units), "word", 1.0)

    others = [said("a big red cat"), said("cat"), said("A, big dog")]
    best = add_alternatives(said("a big cat"), others, [0.2, 0.1, 0.05])
    assert [dict(unit.alternatives) for unit in best.units] == [
        {"": 0.1},
        {"big red": 0.2, "": 0.1},
        {"dog": 0.05},
    ]


def test_letters_of_scripts_without_blanks_are_units_and_other_words_stand_apart():
    said = to_hypothesis(pieces("我", "用", "GP", "U", "。", "吧"), 1.0)
    assert [unit.text for unit in said.units] == [*("我", "用", "GPU。", "吧")]
    assert said.text == "我用GPU。吧"


def test_a_mark_goes_with_the_letter_that_it_is_of():
    said = to_hypothesis(pieces("ว", "\u0e31", "น"), 1.0)
    assert [unit.text for unit in said.units] == ["ว\u0e31", "น"]
