"""What is written in other tools' forms is what is read from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.alignment.formats import read_file
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit
from ssr_plugin.alignment.writers import to_ctm, words, write_textgrid


@st.composite
def alignments(draw):
    """Words with gaps between some, times in ms."""
    units, time, text = [], 0.0, ""
    for word in draw(st.lists(st.sampled_from(["it's", "a", "日本"]), min_size=1)):
        start = time + draw(st.sampled_from([0.0, 0.2]))
        time = start + draw(st.integers(10, 500)) / 1000
        units.append(Unit(word, round(start, 3), round(time, 3), len(text)))
        text += f"{word}, "
    return Alignment("utt-1", text, tuple(units), "word", round(time, 3))


@given(alignment=alignments())
def test_ctm_and_textgrid_keep_words_and_times(alignment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    (folder / "all.ctm").write_text(to_ctm(alignment), encoding="utf-8")
    write_textgrid(folder / "utt-1.TextGrid", alignment)
    expected = words(alignment)
    for path in folder.iterdir():
        (timed,) = read_file(path)
        assert timed.id == "utt-1"
        read_words = timed.words()
        assert [word for word, *_ in read_words] == [word for word, *_ in expected]
        times = [time for _, *both in read_words for time in both]
        expected_times = [time for _, *both in expected for time in both]
        assert times == pytest.approx(expected_times, abs=2e-3)


def test_writers_join_characters_to_words():
    units = tuple(
        Unit(c, i / 10, (i + 1) / 10, i) for i, c in enumerate("ab d") if i != 2
    )
    alignment = Alignment("utt 1", "ab d", units, "char", 0.4)
    assert words(alignment) == [("ab", 0.0, 0.2), ("d", 0.3, 0.4)]
    assert to_ctm(alignment).splitlines()[1] == "utt_1 1 0.300 0.100 d"


def test_a_word_of_no_time_is_no_interval(tmp_path):
    alignment = Alignment("utt-1", "a", (Unit("a", 0.5, 0.5, 0),), "word", 1.0)
    with pytest.raises(AlignmentError, match="'a' takes no time"):
        write_textgrid(tmp_path / "a.TextGrid", alignment)
    assert not list(tmp_path.iterdir())
