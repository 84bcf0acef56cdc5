"""LibriSQA's second part, in the layout of its release, over LibriSpeech."""

import json

import pytest

from ssr_plugin.evaluation.benchmarks.librisqa import LibriSQA
from ssr_plugin.evaluation.harness.lettered_options import parse_options
from ssr_plugin.problems import TooManyProblems

QUESTION = "What is said of the cat?\nA. it sat\nB. it ran\nC. it flew\nD. nothing"


@pytest.fixture
def corpus(small_corpus):
    return small_corpus / "LibriSpeech"


@pytest.fixture
def rows(corpus):
    found = []
    for path in sorted(corpus.glob("test-a/*/*/*.trans.txt")):
        for line in path.read_text().splitlines():
            name, _, text = line.partition(" ")
            found.append(
                {
                    "speech_path": f"/home/x/LibriSpeech/test-clean/1/2/{name}.flac",
                    "question_and_option": QUESTION,
                    "answer": "ABCD"[len(found) % 4],
                    "answer_and_analysis": "A. it sat. The speech says so.",
                    "text": text,
                    "duration": 1.0,
                }
            )
    assert len(found) == 10
    return found


def write(folder, rows, lines=False):
    path = folder / "LibriSQA-PartII" / "LibriSQA-PartII-test.json"
    path.parent.mkdir(exist_ok=True)
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    path.write_text(text)
    return path


@pytest.mark.parametrize("lines", [False, True])
def test_a_question_follows_the_recording_that_it_is_about(
    rows, corpus, tmp_path, lines
):
    path = write(tmp_path, rows, lines)
    items = LibriSQA(tmp_path, corpus).items(align=None)
    assert [item.target for item in items] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    for item, row in zip(items, rows, strict=True):
        spoken, rest = item.context
        name = row["speech_path"].split("/")[-1]
        assert spoken.wav.startswith(str(corpus)) and spoken.wav.endswith(name)
        assert spoken.text == row["text"]
        assert rest == f"\n\n{QUESTION}\nAnswer:"
        assert item.choices == (" A", " B", " C", " D")
        assert item.cluster == name.removesuffix(".flac")
    assert LibriSQA(path, corpus).items(align=None) == items


def test_bad_rows_are_named_by_file_and_row_and_counted(rows, corpus, tmp_path, caplog):
    rows[3]["answer"] = "E"
    write(tmp_path, rows)
    benchmark = LibriSQA(tmp_path, corpus)
    assert len(benchmark.items(align=None)) == 9
    assert benchmark.notes == ["1 of 10 rows are no questions"]
    assert "LibriSQA-PartII-test.json, row 4: the answer 'E' is" in caplog.text
    del rows[0]["text"]
    rows[1]["question_and_option"] = "What?\nA. this"
    write(tmp_path, rows)
    with pytest.raises(TooManyProblems) as error:
        LibriSQA(tmp_path, corpus).items(align=None)
    assert "test.json, row 1: " in str(error.value)
    assert "test.json, row 2: there are no options" in str(error.value)


def test_a_recording_that_is_missing_is_named(rows, corpus, tmp_path):
    rows[5]["speech_path"] = "test-clean/9/9/9-9-0000.flac"
    write(tmp_path, rows)
    with pytest.raises(ValueError, match="lacks 1 of .*is 9-9-0000, row 6"):
        LibriSQA(tmp_path, corpus).items(align=None)
    with pytest.raises(ValueError, match="there are no recordings in"):
        LibriSQA(tmp_path, tmp_path).items(align=None)
    with pytest.raises(ValueError, match="librispeech: name the folder"):
        LibriSQA(tmp_path)
    with pytest.raises(ValueError, match="no LibriSQA-PartII/LibriSQA-PartII-train"):
        LibriSQA(tmp_path, corpus, split="train").items(align=None)


def test_a_file_that_is_no_json_is_named_with_its_line(rows, corpus, tmp_path):
    path = write(tmp_path, rows, lines=True)
    path.write_text(path.read_text().replace('"answer": "C"', '"answer": C', 1))
    with pytest.raises(ValueError, match="PartII-test.json, line 3: it is no JSON"):
        LibriSQA(tmp_path, corpus).items(align=None)


@pytest.mark.parametrize(
    "text",
    [
        "Who?\n(A) he\n(B) she, or A. Smith\n(C) it",
        "Who? A. he B. she, or A. Smith C. it",
        "Of A. and B. who?\n A) he;\n B) she, or A. Smith;\n C) it\nSelect one.",
    ],
)
def test_options_are_found_by_their_letters_in_turn(text):
    assert parse_options(text) == ["he", "she, or A. Smith", "it"]


@pytest.mark.parametrize("text", ["A. one alone", "B. no\nC. first", "A. \nB. x", ""])
def test_a_text_without_options_is_refused(text):
    with pytest.raises(ValueError, match="option"):
        parse_options(text)
