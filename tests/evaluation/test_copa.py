"""COPA, in SuperGLUE's layout, as text and spoken."""

import json

import pytest

from ssr_plugin.data.manifest import read_manifest, write_manifest
from ssr_plugin.evaluation.benchmarks.copa import COPA
from ssr_plugin.tts.speak_texts import speak
from ssr_plugin.tts.synthesizers import CommandSynthesizer

ROWS = [
    {
        "premise": "My body cast a shadow over the grass.",
        "choice1": "The sun was rising.",
        "choice2": "The grass was cut.",
        "question": "cause",
        "label": 0,
        "idx": 0,
    },
    {
        "premise": "I was 5 minutes late.",
        "choice1": "I ran.",
        "choice2": "I slept.",
        "question": "effect",
        "label": 1,
        "idx": 1,
    },
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "val.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    return tmp_path


@pytest.fixture
def speech(folder, tmp_path, write_audio):
    tone = write_audio(tmp_path / "tone.wav")
    parrot = CommandSynthesizer(f"cp {tone} {{wav}}", ["polly"])
    speak(COPA(folder).texts(), tmp_path / "speech", parrot)
    return tmp_path / "speech"


def test_premise_and_alternative_are_put_together_to_one_sentence(folder):
    first, second = COPA(folder).items(align=None)
    assert first.context[0].written == "My body cast a shadow over the grass"
    assert first.context[0].text == "my body cast a shadow over the grass"
    assert first.context[1:] == (" because",)
    assert first.choices == (" the sun was rising.", " the grass was cut.")
    assert (first.target, second.target) == (0, 1)
    assert second.context[0].text == "i was five minutes late"
    assert second.context[1] == " so"


def test_what_is_spoken_is_the_premise(folder, speech):
    copa = COPA(folder, speech=speech)
    items = copa.items(align=None)
    rows = read_manifest(speech / "manifest.csv")
    assert [item.context[0].wav for item in items] == [r["wav"] for r in rows.values()]
    assert any("polly" in note for note in copa.notes)


def test_what_was_not_spoken_is_left_out_and_counted(folder, speech):
    rows = read_manifest(speech / "manifest.csv")
    kept = [(k, *r.values()) for k, r in rows.items() if k == "copa-dev-0"]
    write_manifest(speech / "manifest.csv", kept)
    (speech / "skipped.json").write_text('{"copa-dev-1": "symbols: %"}')
    copa = COPA(folder, speech=speech)
    assert [item.id for item in copa.items(align=None)] == ["copa-dev-0"]
    assert "1 of 2 items were not spoken, 1 of them because they read" in copa.notes[0]


def test_speech_of_other_texts_is_refused(folder, speech):
    text = (folder / "val.jsonl").read_text().replace("shadow", "spell")
    (folder / "val.jsonl").write_text(text)
    with pytest.raises(ValueError, match="'copa-dev-0' says.*speak it again"):
        COPA(folder, speech=speech).items(align=None)


def test_fewer_items_are_always_the_same(folder):
    rows = [{**ROWS[0], "idx": i} for i in range(50)]
    (folder / "val.jsonl").write_text("\n".join(map(json.dumps, rows)))
    some, again = (
        [item.id for item in COPA(folder, max_items=9).items(align=None)]
        for _ in range(2)
    )
    assert len(some) == 9 and some == again


@pytest.mark.parametrize(
    "change, says",
    [
        ({"question": "why"}, "why"),
        ({"label": "x"}, "x"),
        ({"premise": None}, "NoneType"),
    ],
)
def test_a_bad_line_is_named(folder, change, says):
    (folder / "val.jsonl").write_text(
        "\n".join(map(json.dumps, [ROWS[0], {**ROWS[1], **change}]))
    )
    with pytest.raises(ValueError, match=f"val.jsonl, line 2 is no question.*{says}"):
        COPA(folder).items(align=None)


def test_without_speech_the_way_to_make_it_is_told(folder, tmp_path):
    with pytest.raises(ValueError, match="ssr speak copa"):
        COPA(folder, speech=tmp_path / "none").items(align=None)
