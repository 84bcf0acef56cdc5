"""Answers: columns that differ in what stands for speech alone, kept item by item."""

import json

import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.evaluation.harness import answering
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.audio_inputs import read_part
from ssr_plugin.evaluation.harness.conditions import as_speech, choose_columns
from ssr_plugin.evaluation.harness.items import Item, Spoken
from ssr_plugin.problems import TooManyProblems

COLUMNS = ["none", "text", "predicted", "forced"]


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


def align(items):
    found = {}
    for item in items:
        words = item.text.split()
        units, place = [], 0
        for i, word in enumerate(words):
            step = 1.0 / len(words)
            units.append(Unit(word, i * step, (i + 1) * step, place))
            place += len(word) + 1
        found[item.id] = Alignment(item.id, item.text, units, "word", 1.0)
    return found


@pytest.fixture
def items(tmp_path, write_audio):
    texts = ["THE CAT", "A CAT SAT", "SAT THE CAT", "CAT", "THE", "SAT A"]
    return [
        Item(
            str(i),
            (
                "say ",
                Spoken(text, str(write_audio(tmp_path / f"{i}.wav", 1.0, seed=i))),
                " so",
            ),
            (" the cat", Spoken("A B C"), " sat"),
            answer=i % 3,
        )
        for i, text in enumerate(texts)
    ]


def hear_perfectly(lm, monkeypatch):
    """Speech is what its alignment says, as if a connector had learnt it by heart."""
    said = {}

    def embed_cuts(wavs, alignments, **options):
        heard = []
        for wav, own in zip(wavs, alignments, strict=True):
            key = wav[0].numpy().tobytes()
            for alignment in filter(None, own):
                said[key] = alignment.text
            speech = as_speech(lm, said.get(key, "b b b"))
            speech.hypothesis = said.get(key, "b b b").lower()
            heard.append([speech] * len(own))
        return heard

    monkeypatch.setattr(lm, "embed_cuts", embed_cuts)


def test_vectors_that_are_the_transcripts_embeddings_score_as_the_text(
    lm, items, monkeypatch
):
    hear_perfectly(lm, monkeypatch)
    records, _ = answer_items(lm, items, COLUMNS, align)
    for record in records:
        sums = record["sums"]
        assert sums["forced"] == pytest.approx(sums["text"], abs=1e-4)
        assert sums["none"] != pytest.approx(sums["text"], abs=1e-3)


def test_answers_together_are_those_alone(lm, items):
    together, _ = answer_items(lm, items, COLUMNS, align)
    for item, record in zip(items, together, strict=True):
        ((alone,), _) = answer_items(lm, [item], COLUMNS, align)
        assert alone["id"] == record["id"]
        for column in COLUMNS:
            expected = pytest.approx(alone["sums"][column], abs=1e-4)
            assert record["sums"][column] == expected


def test_a_choice_is_scored_as_the_models_own_score_says(lm, items):
    records, _ = answer_items(lm, items, ["predicted"], align)
    for item, record in zip(items, records, strict=True):
        speech = lm.embed([read_part(lm, item.heard()[0])])[0]
        context = ["say ", speech, " so"]
        expected = lm.score(context, [" the cat", " a b c", " sat"])
        assert record["sums"]["predicted"] == pytest.approx(expected, abs=1e-4)
        assert record["counts"]["predicted"] == [2, 3, 1]


def test_a_part_without_audio_is_read_as_text_by_all_columns(lm, items):
    told = [
        Item(i.id, (Spoken("A CAT"), "so", *i.context), i.choices, i.answer)
        for i in items
    ]
    columns, _ = choose_columns(lm, told)
    assert {"predicted", "forced"} <= set(columns)
    records, _ = answer_items(lm, told, ["predicted"], align=None)
    for item, record in zip(told, records, strict=True):
        speech = lm.embed(item.heard()[0].wav)
        context = [as_speech(lm, "A CAT"), "sosay ", speech, " so"]
        expected = lm.score(context, [" the cat", " a b c", " sat"])
        assert record["sums"]["predicted"] == pytest.approx(expected, abs=1e-4)


def test_a_recording_of_several_columns_and_items_is_encoded_once(
    lm, items, monkeypatch
):
    shared = items[0].heard()[0]
    items = [Item(i.id, ("a", shared, *i.context), i.choices, i.answer) for i in items]
    encoded, aligned = [], []
    forward = lm.encoder.forward
    monkeypatch.setattr(
        lm.encoder, "forward", lambda x, n: encoded.extend(n) or forward(x, n)
    )
    columns = ["cascade", "predicted", "forced"]
    records, _ = answer_items(
        lm, items, columns, lambda rows: aligned.extend(rows) or align(rows)
    )
    assert len(records) == len(encoded) == len(aligned) == 6


def test_only_so_much_of_the_audio_is_heard(lm, tmp_path, write_audio):
    wav = write_audio(tmp_path / "long.wav", 2.0)
    samples, rate = read_part(lm, Spoken("x", str(wav), seconds=0.75))
    assert len(samples) == 12000 and rate == 16000


def test_without_a_reference_nothing_is_aligned(lm, items):
    answer_items(lm, items, ["none", "text", "predicted"], align=None)


# --- Columns -----------------------------------------------------------------------


def test_a_model_gives_the_columns_that_it_can(lm, items):
    columns, notes = choose_columns(lm, items)
    assert columns == ["none", "text", "cascade", "predicted", "forced"]
    assert not notes
    segmenters = {"forced": lm.segmenters["forced"], "predicted": None}
    alone = SpeechLM(lm.encoder, lm.llm, lm.connector, segmenters, lm.settings)
    columns, notes = choose_columns(alone, items)
    assert columns == ["none", "text", "forced"]
    assert "no segmenter for audio alone" in notes[0]


def test_a_set_without_audio_is_read_as_text(lm):
    written = Item("1", (Spoken("the cat", written="The cat."),), (" a", " b"), 0)
    assert choose_columns(lm, [written])[0] == ["none", "written", "text"]
    plain = Item("1", ("the cat",), (" a", " b"), 0)
    assert choose_columns(lm, [plain])[0] == ["text"]


def test_what_is_written_is_read_as_it_stands(lm):
    part = Spoken("the cat", written="the cat sat")
    item = Item("1", (part, " so"), (" a", " the cat"), 0)
    (record,), _ = answer_items(lm, [item], ["none", "written", "text"], align=None)
    expected = lm.score("the cat sat so", [" a", " the cat"])
    assert record["sums"]["written"] == pytest.approx(expected, abs=1e-4)
    assert record["sums"]["text"] != pytest.approx(expected, abs=1e-3)


def test_a_segmenter_that_tells_no_tokens_gives_no_cascade(lm, items):
    records, _ = answer_items(lm, items, ["text", "cascade", "predicted"], align)
    assert all(set(record["sums"]) == {"text", "predicted"} for record in records)


def test_the_cascade_is_the_hypothesis_as_text(lm, items, monkeypatch):
    hear_perfectly(lm, monkeypatch)
    answer_items(lm, items, ["forced"], align)
    records, _ = answer_items(lm, items, ["text", "cascade", "predicted"], align)
    for item, record in zip(items, records, strict=True):
        assert record["read"]["cascade"] == [item.heard()[0].text.lower()]
        sums = record["sums"]
        assert sums["cascade"] == pytest.approx(sums["text"], abs=1e-4)


def test_a_tuned_llm_is_shown_beside_the_untouched(lm, items):
    from ssr_plugin.llm.tuning import TunedLLM

    tuned = TunedLLM(lm.llm, "full")
    with torch.no_grad():
        for parameter in tuned.model.parameters():
            parameter.mul_(1.5)
    parts = lm.encoder, lm.llm, lm.connector, dict(lm.segmenters), lm.settings
    after = SpeechLM(*parts, tuned)
    columns, _ = choose_columns(after, items)
    assert columns[-1] == "untouched"
    both, _ = answer_items(after, items, columns, align)
    nothing, _ = answer_items(lm, items, ["none"], align)
    for record, other in zip(both, nothing, strict=True):
        expected = pytest.approx(other["sums"]["none"], abs=1e-4)
        assert record["sums"]["untouched none"] == expected
    records, _ = answer_items(after, items, ["text", "untouched"], align)
    before, _ = answer_items(lm, items, ["text"], align)
    for record, other in zip(records, before, strict=True):
        expected = pytest.approx(other["sums"]["text"], abs=1e-4)
        assert record["sums"]["untouched"] == expected
        assert record["sums"]["text"] != expected


# --- Keeping on --------------------------------------------------------------------


def test_what_was_answered_is_not_answered_again(lm, items, tmp_path, monkeypatch):
    path = tmp_path / "answers.jsonl"
    first, _ = answer_items(lm, items[:4], COLUMNS, align, path)
    asked = []
    answer = answering._answer
    monkeypatch.setattr(
        answering,
        "_answer",
        lambda lm, own, *rest: asked.extend(own) or answer(lm, own, *rest),
    )
    again, _ = answer_items(lm, items, COLUMNS, align, path)
    assert again[:4] == first
    assert [item.id for item in asked] == ["4", "5"]


def test_a_killed_run_goes_on_and_ends_with_the_same_file(
    lm, items, tmp_path, monkeypatch
):
    monkeypatch.setattr(answering, "_BATCH", 2)
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    answer_items(lm, items, COLUMNS, align, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    # As if killed while it wrote.
    broken.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    answer_items(lm, items, COLUMNS, align, broken)
    assert broken.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("change", ["model", "columns", "choices", "audio"])
def test_what_has_changed_is_answered_anew(lm, items, tmp_path, write_audio, change):
    path = tmp_path / "answers.jsonl"
    answer_items(lm, items, COLUMNS, align, path, identity="one")
    keys = {json.loads(line)["key"] for line in path.read_text().splitlines()}
    columns, identity = COLUMNS, "one"
    if change == "model":
        identity = "other"
    elif change == "columns":
        columns = COLUMNS[:3]
    elif change == "choices":
        items = [Item(i.id, i.context, (" a", " b"), 0) for i in items]
    else:
        for item in items:
            write_audio(type(tmp_path)(item.heard()[0].wav), 1.1, seed=9)
    answer_items(lm, items, columns, align, path, identity)
    after = {json.loads(line)["key"] for line in path.read_text().splitlines()}
    assert len(after) == len(items) and not keys & after


# --- What is bad -------------------------------------------------------------------


def test_one_bad_recording_is_left_out_and_named(lm, items, tmp_path):
    (tmp_path / "2.wav").write_bytes(b"no audio")
    records, problems = answer_items(lm, items, COLUMNS, align, max_skipped_share=0.5)
    assert [record["id"] for record in records] == ["0", "1", "3", "4", "5"]
    assert "2.wav" in problems.reasons["2"]


def test_many_bad_recordings_stop_the_run(lm, items, tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.wav").write_bytes(b"no audio")
    with pytest.raises(TooManyProblems, match="3 of 6"):
        answer_items(lm, items, COLUMNS, align, max_skipped_share=0.1)


def test_an_item_without_alignment_is_left_out_of_all_columns(lm, items):
    def some(parts):
        return {k: v for k, v in align(parts).items() if not k.startswith("1/")}

    records, problems = answer_items(lm, items, COLUMNS, some, max_skipped_share=0.5)
    assert "1" not in {record["id"] for record in records}
    assert "alignment" in problems.reasons["1"]


def test_a_recording_that_is_gone_is_named(lm, items, tmp_path):
    (tmp_path / "3.wav").unlink()
    records, problems = answer_items(lm, items, COLUMNS, align, max_skipped_share=0.5)
    assert len(records) == 5
    assert problems.reasons == {"3": f"no audio file '{tmp_path / '3.wav'}'"}


def test_what_is_longer_than_the_llm_reads_is_left_out(lm, items, monkeypatch):
    most = lm.llm.config.max_position_embeddings
    long = Item("long", ("a " * most, *items[0].context), items[0].choices, 0)
    columns = ["none", "text"]
    records, problems = answer_items(
        lm, [items[1], long], columns, align, max_skipped_share=0.5
    )
    assert [record["id"] for record in records] == ["1"]
    assert f"of which the LLM takes {most}" in problems.reasons["long"]


def test_two_items_of_one_name_are_refused(lm, items):
    with pytest.raises(ValueError, match="two items have the id '0'"):
        answer_items(lm, [items[0], items[0]], ["text"], align)
