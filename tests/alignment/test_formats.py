"""Files of other tools are read, and what is wrong with one is said."""

import gzip
import json

import numpy as np
import pytest
import soundfile

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.formats import FormatError, Timed, alignment_files, read_file
from ssr_plugin.alignment.readers import FileAligner
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit

WORDS = (("hello", 0.1, 0.4), ("world", 0.5, 0.9))


def textgrid(path, long=True):
    from praatio import textgrid as praat

    grid = praat.Textgrid()
    for name, entries in (
        ("words", [(s, e, w) for w, s, e in WORDS]),
        ("phones", [(0.1, 0.4, "HH"), (0.5, 0.9, "W")]),
    ):
        grid.addTier(praat.IntervalTier(name, entries, 0, 1.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    style = "long_textgrid" if long else "short_textgrid"
    grid.save(str(path), style, includeBlankSpaces=True)
    return path


@pytest.fixture
def item(tmp_path):
    wav = tmp_path / "audio" / "utt-1.wav"
    wav.parent.mkdir()
    soundfile.write(wav, np.zeros(16000), 16000)
    return AlignmentItem("utt-1", str(wav), "Hello, world!")


@pytest.mark.parametrize("long", [True, False])
def test_a_textgrid_gives_its_words_in_either_form(tmp_path, long):
    (timed,) = read_file(textgrid(tmp_path / "utt-1.TextGrid", long))
    assert timed == Timed("utt-1", WORDS)


def test_a_textgrid_without_words_is_named(tmp_path):
    from praatio import textgrid as praat

    grid = praat.Textgrid()
    for name in ("phones", "tones"):
        grid.addTier(praat.IntervalTier(name, [(0.1, 0.4, "HH")], 0, 1.0))
    grid.save(str(tmp_path / "a.TextGrid"), "long_textgrid", includeBlankSpaces=True)
    with pytest.raises(FormatError, match="a.TextGrid.*found 0 among phones, tones"):
        read_file(tmp_path / "a.TextGrid")


def test_a_ctm_holds_many_utterances(tmp_path):
    path = tmp_path / "all.ctm"
    path.write_text(
        ";; a comment\nb A 0.0 0.2 one 0.9\na A 0.5 0.4 world\na A 0.1 0.3 hello\n"
        "a A 0.4 0.1 <eps>\n"
    )
    assert read_file(path) == [Timed("b", (("one", 0.0, 0.2),)), Timed("a", WORDS)]


def test_a_broken_line_of_a_ctm_is_named(tmp_path):
    (tmp_path / "all.ctm").write_text("a A 0.1 0.3 hello\na A 0.1 hello\n")
    with pytest.raises(FormatError, match="all.ctm.*line 2 is not 'id channel"):
        read_file(tmp_path / "all.ctm")


AS_LISTS = [list(word) for word in WORDS]
AS_DICTS = [{"word": w, "start": s, "end": e} for w, s, e in WORDS]


@pytest.mark.parametrize(
    "content",
    [
        AS_LISTS,
        AS_DICTS,
        {"id": "utt-1", "words": AS_LISTS},
        [{"id": "utt-1", "words": AS_DICTS}],
        {"words": [{"text": w, "start": s, "end": e} for w, s, e in WORDS]},
    ],
)
def test_json_may_be_a_simple_list_of_words(tmp_path, content):
    path = tmp_path / "utt-1.json"
    path.write_text(json.dumps(content))
    assert read_file(path) == [Timed("utt-1", WORDS)]


def test_our_own_records_are_read_even_compressed_or_cut_short(tmp_path):
    record = Alignment(
        "utt-1", "hi", (Unit("h", 0.1, 0.2, 0), Unit("i", 0.2, 0.3, 1)), "char", 1.0
    ).to_json()
    lines = json.dumps(record) + "\n" + json.dumps({"key": "k", "alignment": record})
    (tmp_path / "a.jsonl").write_text(lines + "\n" + '{"id": "utt-2", "te')
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(lines)
    for name in ("a.jsonl", "b.jsonl.gz"):
        first, second = read_file(tmp_path / name)
        assert first == second
        assert first.words() == [("hi", 0.1, 0.3)]


def test_lhotse_supervisions_count_from_the_start_of_the_utterance(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    from lhotse.supervision import AlignmentItem as LhotseItem

    words = [LhotseItem(w, 5 + s, round(e - s, 4)) for w, s, e in WORDS]
    segment = lhotse.SupervisionSegment(
        "utt-1", "rec-1", start=5.0, duration=1.0, text="Hello, world!"
    ).with_alignment("word", words)
    path = tmp_path / "supervisions.jsonl.gz"
    lhotse.SupervisionSet.from_segments([segment]).to_file(path)
    (timed,) = read_file(path)
    assert (timed.id, timed.text, timed.units) == ("utt-1", "Hello, world!", WORDS)


def test_without_lhotse_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lhotse", None)
    (tmp_path / "s.jsonl").write_text('{"id": "a", "recording_id": "r"}\n')
    with pytest.raises(ImportError, match=r"pip install ssr-plugin\[lhotse\]"):
        read_file(tmp_path / "s.jsonl")


def test_a_damaged_file_is_named(tmp_path):
    for name in ("a.json", "a.jsonl", "a.TextGrid"):
        (tmp_path / name).write_text("{{{\n")
        with pytest.raises(FormatError, match=f"cannot read alignments from .*{name}"):
            read_file(tmp_path / name)


def test_a_folder_without_alignments_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no alignment files in .*TextGrid"):
        alignment_files(tmp_path)


def test_an_utterance_is_found_by_name_in_any_subfolder(tmp_path, item):
    textgrid(tmp_path / "mfa" / "speaker-3" / "utt-1.TextGrid")
    (alignment,) = FileAligner(tmp_path / "mfa").align([item])
    assert alignment.text == item.text
    assert alignment.units == (Unit("Hello", 0.1, 0.4, 0), Unit("world", 0.5, 0.9, 7))


def test_characters_of_our_own_records_stay_characters(tmp_path, item):
    units = tuple(Unit(c, i / 20, i / 20 + 0.01, i) for i, c in enumerate(item.text))
    record = Alignment(item.id, item.text, units, "char", 1.0)
    (tmp_path / "a.jsonl").write_text(json.dumps(record.to_json()) + "\n")
    assert FileAligner(tmp_path / "a.jsonl").align([item]) == [record]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "Hello, moon!"}, "part ways at character 7: transcript '...moon!'"),
        ({"id": "utt-2"}, "utt-2: not among the files of"),
        ({"wav": "gone.wav"}, "there is no audio file gone.wav"),
    ],
)
def test_the_file_aligner_gives_an_error_for_each_utterance_that_does_not_fit(
    tmp_path, item, change, message
):
    textgrid(tmp_path / "mfa" / "utt-1.TextGrid")
    other = AlignmentItem(**(vars(item) | change))
    good, bad = FileAligner(tmp_path / "mfa").align([item, other])
    assert isinstance(good, Alignment)
    assert isinstance(bad, AlignmentError)
    assert message in str(bad)


def test_an_utterance_aligned_twice_is_an_error(tmp_path, item):
    for speaker in "ab":
        textgrid(tmp_path / "mfa" / speaker / "utt-1.TextGrid")
    (error,) = FileAligner(tmp_path / "mfa").align([item])
    assert "utt-1: aligned in" in str(error)


def test_a_damaged_textgrid_costs_one_utterance_a_damaged_list_stops(tmp_path, item):
    textgrid(tmp_path / "good.TextGrid").rename(tmp_path / "utt-1.TextGrid")
    (tmp_path / "utt-2.TextGrid").write_text("{{{")
    aligner = FileAligner(tmp_path)
    other = AlignmentItem("utt-2", item.wav, item.text)
    good, bad = aligner.align([item, other])
    assert isinstance(good, Alignment)
    assert "utt-2.TextGrid" in str(bad)
    (tmp_path / "all.ctm").write_text("utt-3 1\n")
    with pytest.raises(FormatError, match="all.ctm"):
        FileAligner(tmp_path).align([AlignmentItem("utt-3", item.wav, "a")])


def test_a_changed_file_changes_the_settings(tmp_path):
    path = tmp_path / "a.ctm"
    path.write_text("a A 0.1 0.3 hello\n")
    before = FileAligner(path).settings()
    assert FileAligner(path).settings() == before
    path.write_text("a A 0.1 0.35 hello\n")
    assert FileAligner(path).settings() != before


def test_words_of_a_script_without_blanks_are_its_letters():
    units = tuple((x, i / 4, i / 4 + 0.25) for i, x in enumerate("你好GPU"))
    timed = Timed("a", units, "char", "你好, GPU", (0, 1, 4, 5, 6))
    assert timed.words() == [
        ("你", 0.0, 0.25),
        ("好", 0.25, 0.5),
        ("GPU", 0.5, 1.25),
    ]
