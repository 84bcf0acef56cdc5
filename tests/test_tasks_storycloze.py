"""Spoken StoryCloze, in the layout of its release with transcripts."""

import pytest

from ssr_plugin import SpeechLM
from ssr_plugin.tasks.answering import answer_items
from ssr_plugin.tasks.storycloze import StoryCloze, TopicStoryCloze


@pytest.fixture
def folder(tmp_path, write_audio):
    for place in ("1", "part/2"):
        write_audio(tmp_path / f"{place}_mutual.wav", 1.0)
        for name, text in (
            ("mutual", "The cat sat. It was 5."),
            ("correct", "It ate."),
            ("incorrect", "It sang.\n"),
        ):
            (tmp_path / f"{place}_{name}.txt").write_text(text)
    return tmp_path


@pytest.mark.parametrize("task", [StoryCloze, TopicStoryCloze])
def test_the_story_is_heard_and_its_endings_are_transcripts(folder, task):
    one, two = task(folder).items(align=None)
    assert (one.id, two.id) == ("1", "part/2")
    (part,) = two.context
    assert part.wav == str(folder / "part" / "2_mutual.wav")
    assert (part.text, part.written) == (
        "the cat sat it was five",
        "The cat sat. It was 5.",
    )
    assert [choice.text for choice in one.choices] == ["it ate", "it sang"]
    assert all(choice.wav is None for choice in one.choices)
    assert one.answer == 0 and task(folder).rule == "mean"


def test_a_model_answers_it(folder, tiny_speech_lm_folder):
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder)
    items = StoryCloze(folder).items(align=None)
    records, _ = answer_items(lm, items, ["none", "text", "predicted"], align=None)
    assert [record["id"] for record in records] == ["1", "part/2"]
    assert set(records[0]["sums"]) == {"none", "text", "predicted"}


def test_a_lacking_transcript_is_named(folder):
    (folder / "1_incorrect.txt").unlink()
    with pytest.raises(ValueError, match="1_incorrect.txt"):
        StoryCloze(folder).items(align=None)


def test_the_release_without_transcripts_is_told_apart(tmp_path, write_audio):
    write_audio(tmp_path / "1_correct.wav")
    with pytest.raises(ValueError, match="does not tell where the ending begins"):
        StoryCloze(tmp_path).items(align=None)
