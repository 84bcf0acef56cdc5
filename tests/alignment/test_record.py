"""The alignment record refuses what does not fit, and finds units in transcripts."""

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit, locate

words = st.text(alphabet=string.ascii_letters + "éüß'’", min_size=1, max_size=8)


def two_words(first=(0.1, 0.4), second=(0.5, 0.9), duration=1.0):
    units = (Unit("big", *first, 0), Unit("dog", *second, 4))
    return Alignment("utt-1", "big dog", units, "word", duration)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": (0.4, 0.1)}, "ends before it starts"),
        ({"second": (0.3, 0.9)}, "starts before 0.4 s"),
        ({"second": (0.5, 1.2)}, "ends after the audio"),
        ({"first": (-0.1, 0.4)}, "starts before 0.0 s"),
        ({"first": (math.nan, 0.4)}, "ends before it starts"),
        ({"duration": math.inf}, "duration is inf"),
    ],
)
def test_times_that_make_no_sense_are_refused_and_the_utterance_named(change, message):
    two_words()
    with pytest.raises(AlignmentError, match=f"utt-1.*{message}"):
        two_words(**change)


def test_units_out_of_order_are_refused():
    units = (Unit("dog", 0.1, 0.2, 4), Unit("big", 0.3, 0.4, 0))
    with pytest.raises(AlignmentError, match="utt-1.*before the end of the unit"):
        Alignment("utt-1", "big dog", units, "word", 1.0)


def test_a_unit_that_misspells_its_transcript_is_refused():
    with pytest.raises(AlignmentError, match="says 'BIG' where the transcript"):
        Alignment("utt-1", "big", (Unit("BIG", 0, 1, 0),), "word", 1.0)


def test_a_record_without_a_field_is_refused_by_name():
    fields = two_words().to_json()
    del fields["text"]
    with pytest.raises(AlignmentError, match="utt-1: not an alignment record"):
        Alignment.from_json(fields)


def test_an_alignment_survives_json():
    alignment = two_words()
    assert Alignment.from_json(alignment.to_json()) == alignment


def test_locate_names_the_first_character_where_text_and_units_differ():
    with pytest.raises(AlignmentError, match="utt-9.*at character 4: .*cat sat"):
        locate("utt-9", "The cat sat", ["the", "dog", "sat"])
    with pytest.raises(AlignmentError, match="utt-9.*at character 8: .*nothing more"):
        locate("utt-9", "The cat sat", ["the", "cat"])
    with pytest.raises(AlignmentError, match="utt-9.*at character 11: .*'...down'"):
        locate("utt-9", "The cat sat", ["the", "cat", "sat", "down"])


def test_an_unknown_word_stands_for_one_whole_word():
    text = "The well-known Qwxz, sat"
    assert locate("utt-1", text, ["the", "<unk>", "<unk>", "sat"]) == [
        (0, 3),
        (4, 14),
        (15, 19),
        (21, 24),
    ]
    with pytest.raises(AlignmentError):
        locate("utt-1", "The", ["the", "<unk>"])


def test_an_unknown_word_ends_where_the_next_unit_can_be_read():
    spans = locate("utt-1", "the ne-plus-ultra", ["the", "<unk>", "plus", "ultra"])
    assert spans == [(0, 3), (4, 6), (7, 11), (12, 17)]


@given(st.lists(words, min_size=1, max_size=6), st.data())
def test_locate_finds_any_spelling_of_the_words_in_order(spellings, data):
    gaps = data.draw(
        st.lists(
            st.sampled_from([" ", ", ", " -- ", "... "]),
            min_size=len(spellings),
            max_size=len(spellings),
        )
    )
    text = "".join(word + gap for word, gap in zip(spellings, gaps, strict=True))
    units = [word.upper().replace("’", "'") for word in spellings]
    index = 0
    for word, span in zip(spellings, locate("utt-1", text, units), strict=True):
        index = text.index(word, index)
        if span is None:
            assert not word.strip("'’")
        else:
            assert text[slice(*span)] == word.strip("'’")
        index += len(word)


@given(
    st.lists(
        st.tuples(st.floats(0, 0.04), st.floats(0.06, 0.2)), min_size=1, max_size=5
    )
)
def test_rounding_errors_of_other_tools_are_clipped(steps):
    time, units = 0.0, []
    for overlap, length in steps:
        units.append(("a", max(time - overlap, 0), time + length))
        time += length
    alignment = Alignment.from_units("u", "a " * len(units), units, time - 0.04)
    assert alignment.units[-1].end == time - 0.04
    assert len(alignment.units) == len(units)
