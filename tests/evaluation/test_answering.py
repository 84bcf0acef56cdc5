"""Answers: conditions differ in what stands for speech alone; kept item by item."""

import dataclasses
import json

import pytest
import torch

from ssr_plugin import SpeechLM, build
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.evaluation.harness import answering
from ssr_plugin.evaluation.harness import conditions as conditions_module
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.audio_inputs import read_recording
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.condition import Condition, transcript_input
from ssr_plugin.evaluation.harness.conditions import (
    choose_conditions,
    make_conditions,
)
from ssr_plugin.evaluation.harness.items import ChoiceItem, SpokenText
from ssr_plugin.problems import TooManyProblems
from ssr_plugin.registry import Registry

CONDITIONS = make_conditions(["none", "text", "predicted", "forced"])
FUSED = ["predicted", "forced", "predicted_lm_fusion", "forced_lm_fusion"]
ALL = ["none", "written", "text", "cascade", "predicted", "forced", "base"]


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
        ChoiceItem(
            str(i),
            (
                "say ",
                SpokenText(text, str(write_audio(tmp_path / f"{i}.wav", 1.0, seed=i))),
                " so",
            ),
            (" the cat", SpokenText("A B C"), " sat"),
            target=i % 3,
        )
        for i, text in enumerate(texts)
    ]


def likelihoods(record):
    """By condition the log-likelihoods of the choices."""
    answers = record["conditions"].items()
    return {name: answer["log_likelihoods"] for name, answer in answers}


def available(lm, items):
    """Names of the conditions, and the notes."""
    conditions, notes = choose_conditions(make_conditions(ALL), lm, items)
    return [condition.name for condition in conditions], notes


def hear_perfectly(lm, monkeypatch):
    """Speech is what its alignment says, as if a connector had learnt it by heart."""
    said = {}

    def embed_cuts(wavs, alignments, **options):
        heard = []
        for wav, own in zip(wavs, alignments, strict=True):
            key = wav[0].numpy().tobytes()
            for alignment in filter(None, own):
                said[key] = alignment.text
            speech = transcript_input(lm, said.get(key, "b b b"))
            speech.hypothesis = said.get(key, "b b b").lower()
            heard.append([speech] * len(own))
        return heard

    monkeypatch.setattr(lm, "embed_cuts", embed_cuts)


def test_vectors_that_are_the_transcripts_embeddings_score_as_the_text(
    lm, items, monkeypatch
):
    hear_perfectly(lm, monkeypatch)
    records, _ = answer_items(lm, items, CONDITIONS, align)
    for record in records:
        sums = likelihoods(record)
        assert sums["forced"] == pytest.approx(sums["text"], abs=1e-4)
        assert sums["none"] != pytest.approx(sums["text"], abs=1e-3)


def test_answers_together_are_those_alone(lm, items):
    together, _ = answer_items(lm, items, CONDITIONS, align)
    for item, record in zip(items, together, strict=True):
        ((alone,), _) = answer_items(lm, [item], CONDITIONS, align)
        assert alone["id"] == record["id"]
        for name, expected in likelihoods(alone).items():
            assert likelihoods(record)[name] == pytest.approx(expected, abs=1e-4)


def test_a_choice_is_scored_as_the_models_own_score_says(lm, items):
    records, _ = answer_items(lm, items, make_conditions(["predicted"]), align)
    for item, record in zip(items, records, strict=True):
        speech = lm.embed([read_recording(lm, item.recordings()[0])])[0]
        context = ["say ", speech, " so"]
        expected = lm.score(context, [" the cat", " a b c", " sat"])
        assert likelihoods(record)["predicted"] == pytest.approx(expected, abs=1e-4)
        assert record["conditions"]["predicted"]["num_tokens"] == [2, 3, 1]


def test_a_content_without_audio_is_read_as_text_in_all_conditions(lm, items):
    items = [
        ChoiceItem(i.id, (SpokenText("A CAT"), "so", *i.context), i.choices, i.target)
        for i in items
    ]
    assert {"predicted", "forced"} <= set(available(lm, items)[0])
    records, _ = answer_items(lm, items, make_conditions(["predicted"]), align=None)
    for item, record in zip(items, records, strict=True):
        speech = lm.embed(item.recordings()[0].wav)
        context = [transcript_input(lm, "A CAT"), "sosay ", speech, " so"]
        expected = lm.score(context, [" the cat", " a b c", " sat"])
        assert likelihoods(record)["predicted"] == pytest.approx(expected, abs=1e-4)


def test_a_recording_of_several_conditions_and_items_is_encoded_once(
    lm, items, monkeypatch
):
    shared = items[0].recordings()[0]
    items = [
        ChoiceItem(i.id, ("a", shared, *i.context), i.choices, i.target) for i in items
    ]
    encoded, aligned = [], []
    forward = lm.encoder.forward
    monkeypatch.setattr(
        lm.encoder, "forward", lambda x, n: encoded.extend(n) or forward(x, n)
    )
    conditions = make_conditions(["cascade", "predicted", "forced", *FUSED])
    records, _ = answer_items(
        lm, items, conditions, lambda rows: aligned.extend(rows) or align(rows)
    )
    assert len(records) == len(encoded) == len(aligned) == 6


def test_audio_that_processes_read_ahead_is_answered_as_ever(lm, items, monkeypatch):
    conditions = make_conditions(FUSED)
    broken = dataclasses.replace(items[2].context[1], wav=__file__)
    items[2] = dataclasses.replace(items[2], context=(broken,))
    expected, _ = answer_items(lm, items, conditions, align, max_skipped_share=0.2)
    monkeypatch.setattr(answering, "_BATCH", 2)
    monkeypatch.setattr(lm.embedder, "num_workers", 2)
    found, problems = answer_items(lm, items, conditions, align, max_skipped_share=0.2)
    assert [record["id"] for record in found] == ["0", "1", "3", "4", "5"]
    assert problems.reasons.keys() == {"2"} and __file__ in problems.reasons["2"]
    for record, other in zip(found, expected, strict=True):
        for name, values in likelihoods(other).items():
            assert likelihoods(record)[name] == pytest.approx(values, abs=1e-4)


def test_only_so_much_of_the_audio_is_heard(lm, tmp_path, write_audio):
    wav = write_audio(tmp_path / "long.wav", 2.0)
    samples, rate = read_recording(lm, SpokenText("x", str(wav), seconds=0.75))
    assert len(samples) == 12000 and rate == 16000


def test_without_a_reference_nothing_is_aligned(lm, items):
    answer_items(lm, items, make_conditions(["none", "text", "predicted"]), None)


# --- Conditions --------------------------------------------------------------------


def test_a_model_is_asked_in_the_conditions_that_it_can_give(lm, items):
    names, notes = available(lm, items)
    assert names == ["none", "text", "cascade", "predicted", "forced"]
    assert notes == [
        "no written: the set has the transcript alone",
        "no base: the LLM was not tuned",
    ]
    segmenters = {"forced": lm.segmenters["forced"], "predicted": None}
    alone = SpeechLM(lm.encoder, lm.llm, lm.connector, segmenters, lm.settings)
    names, notes = available(alone, items)
    assert names == ["none", "text", "forced"]
    assert "no cascade, predicted: this model has no segmenter for" in notes[1]


def test_a_set_without_audio_is_read_as_text(lm):
    spoken = SpokenText("the cat", written="The cat.")
    written = ChoiceItem("1", (spoken,), (" a", " b"), 0)
    assert available(lm, [written])[0] == ["none", "written", "text"]
    plain = ChoiceItem("1", ("the cat",), (" a", " b"), 0)
    assert available(lm, [plain])[0] == ["text"]


def test_what_is_written_is_read_as_it_stands(lm):
    spoken = SpokenText("the cat", written="the cat sat")
    item = ChoiceItem("1", (spoken, " so"), (" a", " the cat"), 0)
    conditions = make_conditions(["none", "written", "text"])
    (record,), _ = answer_items(lm, [item], conditions, align=None)
    expected = lm.score("the cat sat so", [" a", " the cat"])
    assert likelihoods(record)["written"] == pytest.approx(expected, abs=1e-4)
    assert likelihoods(record)["text"] != pytest.approx(expected, abs=1e-3)


def test_a_segmenter_that_tells_no_tokens_gives_no_cascade(lm, items):
    conditions = make_conditions(["text", "cascade", "predicted"])
    records, _ = answer_items(lm, items, conditions, align)
    assert all(set(likelihoods(r)) == {"text", "predicted"} for r in records)


def test_the_cascade_is_the_hypothesis_as_text(lm, items, monkeypatch):
    hear_perfectly(lm, monkeypatch)
    answer_items(lm, items, make_conditions(["forced"]), align)
    conditions = make_conditions(["text", "cascade", "predicted"])
    records, _ = answer_items(lm, items, conditions, align)
    for item, record in zip(items, records, strict=True):
        readings = record["conditions"]["cascade"]["readings"]
        assert readings == [item.recordings()[0].text.lower()]
        sums = likelihoods(record)
        assert sums["cascade"] == pytest.approx(sums["text"], abs=1e-4)


def test_a_tuned_llm_is_shown_beside_the_base_model(lm, items):
    from ssr_plugin.llm.tuning import TunedLLM

    tuned = TunedLLM(lm.llm, "full")
    with torch.no_grad():
        for parameter in tuned.model.parameters():
            parameter.mul_(1.5)
    parts = lm.encoder, lm.llm, lm.connector, dict(lm.segmenters), lm.settings
    after = SpeechLM(*parts, tuned)
    conditions, _ = choose_conditions(make_conditions(ALL), after, items)
    assert conditions[-1].name == "base"
    partners = ChoiceBenchmark().partners(conditions, after, items)
    assert [condition.name for condition in partners] == ["base_none"]
    both, _ = answer_items(after, items, [*conditions, *partners], align)
    before, _ = answer_items(lm, items, make_conditions(["none", "text"]), align)
    for record, other in zip(both, before, strict=True):
        sums = likelihoods(record)
        for name, same in (("base_none", "none"), ("base", "text")):
            expected = pytest.approx(likelihoods(other)[same], abs=1e-4)
            assert sums[name] == expected
            assert sums[same] != expected


def test_lm_fusion_is_a_condition_beside_what_the_connector_hears(
    lm, items, monkeypatch
):
    heard = []
    embed_cuts = lm.embed_cuts

    def listen(wavs, alignments, **options):
        speeches = embed_cuts(wavs, alignments, **options)
        heard.append([(x.segmentation, x.lm_fusion) for cuts in speeches for x in cuts])
        return speeches

    monkeypatch.setattr(lm, "embed_cuts", listen)
    records, _ = answer_items(lm, items, make_conditions(FUSED), align)
    # All together, each recording in all ways.
    ways = [(x, fused) for fused in (False, True) for x in ("predicted", "forced")]
    assert heard == [ways * 6]
    sums = [likelihoods(record) for record in records]
    for name in ("predicted", "forced"):
        assert all(x[name] != x[f"{name}_lm_fusion"] for x in sums)
    monkeypatch.undo()
    # What the connector hears is the same, whatever is asked beside it.
    alone, _ = answer_items(lm, items, make_conditions(["predicted"]), align)
    for x, record in zip(sums, alone, strict=True):
        assert x["predicted"] == pytest.approx(likelihoods(record)["predicted"])


@pytest.mark.parametrize("change", ["no steps", "no vocabulary"])
def test_a_model_without_lm_fusion_is_not_asked_with_it(lm, items, change):
    settings, connector = dict(lm.settings), lm.connector
    if change == "no steps":
        settings["lm_fusion"] = settings["lm_fusion"] | {"steps": 0}
    else:
        connector = build.connector("mean", lm.encoder, lm.llm)
    without = SpeechLM(lm.encoder, lm.llm, connector, dict(lm.segmenters), settings)
    conditions, notes = choose_conditions(make_conditions(FUSED), without, items)
    assert [condition.name for condition in conditions] == FUSED[:2]
    assert notes == [
        "no predicted_lm_fusion, forced_lm_fusion: this model has no LM fusion"
    ]


def test_a_new_condition_is_one_class(lm, items, monkeypatch):
    class Backwards(Condition):
        name, title, order = "backwards", "its words from last to first", 25

        def content_input(self, lm, content, speech):
            words = reversed(content.text.split())
            return transcript_input(lm, " ".join(words))

    registry = Registry().load_extensions()
    registry.conditions.add("backwards", Backwards)
    monkeypatch.setattr(conditions_module, "get_registry", lambda: registry)
    conditions = make_conditions(["forced", "backwards", "text"])
    assert [x.name for x in conditions] == ["text", "backwards", "forced"]
    records, _ = answer_items(lm, items, conditions, align)
    for item, record in zip(items, records, strict=True):
        words = item.recordings()[0].text.split()
        context = ["say ", transcript_input(lm, " ".join(words[::-1])), " so"]
        expected = lm.score(context, [" the cat", " a b c", " sat"])
        assert likelihoods(record)["backwards"] == pytest.approx(expected, abs=1e-4)


def test_an_unknown_condition_is_named():
    with pytest.raises(ValueError, match="unknown condition 'texts'.*'text'"):
        make_conditions(["texts"])


# --- Keeping on --------------------------------------------------------------------


def test_what_was_answered_is_not_answered_again(lm, items, tmp_path, monkeypatch):
    path = tmp_path / "answers.jsonl"
    first, _ = answer_items(lm, items[:4], CONDITIONS, align, path)
    asked = []
    answer = answering._answer
    monkeypatch.setattr(
        answering,
        "_answer",
        lambda lm, batch, *rest: asked.extend(batch) or answer(lm, batch, *rest),
    )
    again, _ = answer_items(lm, items, CONDITIONS, align, path)
    assert again[:4] == first
    assert [item.id for item in asked] == ["4", "5"]


def test_a_killed_run_goes_on_and_ends_with_the_same_file(
    lm, items, tmp_path, monkeypatch
):
    monkeypatch.setattr(answering, "_BATCH", 2)
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    answer_items(lm, items, CONDITIONS, align, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    # As if killed while it wrote.
    broken.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    answer_items(lm, items, CONDITIONS, align, broken)
    assert broken.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("change", ["model", "conditions", "choices", "audio"])
def test_what_has_changed_is_answered_anew(lm, items, tmp_path, write_audio, change):
    path = tmp_path / "answers.jsonl"
    answer_items(lm, items, CONDITIONS, align, path, identity="one")
    keys = {json.loads(line)["key"] for line in path.read_text().splitlines()}
    conditions, identity = CONDITIONS, "one"
    if change == "model":
        identity = "other"
    elif change == "conditions":
        conditions = CONDITIONS[:3]
    elif change == "choices":
        items = [ChoiceItem(i.id, i.context, (" a", " b"), 0) for i in items]
    else:
        for item in items:
            write_audio(type(tmp_path)(item.recordings()[0].wav), 1.1, seed=9)
    answer_items(lm, items, conditions, align, path, identity)
    after = {json.loads(line)["key"] for line in path.read_text().splitlines()}
    assert len(after) == len(items) and not keys & after


# --- What is bad -------------------------------------------------------------------


def test_one_bad_recording_is_left_out_and_named(lm, items, tmp_path):
    (tmp_path / "2.wav").write_bytes(b"no audio")
    records, problems = answer_items(
        lm, items, CONDITIONS, align, max_skipped_share=0.5
    )
    assert [record["id"] for record in records] == ["0", "1", "3", "4", "5"]
    assert "2.wav" in problems.reasons["2"]


def test_many_bad_recordings_stop_the_run(lm, items, tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.wav").write_bytes(b"no audio")
    with pytest.raises(TooManyProblems, match="3 of 6"):
        answer_items(lm, items, CONDITIONS, align, max_skipped_share=0.1)


def test_an_item_without_alignment_is_left_out_of_all_conditions(lm, items):
    def some(rows):
        return {k: v for k, v in align(rows).items() if not k.startswith("1/")}

    records, problems = answer_items(lm, items, CONDITIONS, some, max_skipped_share=0.5)
    assert "1" not in {record["id"] for record in records}
    assert "alignment" in problems.reasons["1"]


def test_a_recording_that_is_gone_is_named(lm, items, tmp_path):
    (tmp_path / "3.wav").unlink()
    records, problems = answer_items(
        lm, items, CONDITIONS, align, max_skipped_share=0.5
    )
    assert len(records) == 5
    assert problems.reasons == {"3": f"no audio file '{tmp_path / '3.wav'}'"}


def test_what_is_longer_than_the_llm_reads_is_left_out(lm, items, monkeypatch):
    most = lm.llm.config.max_position_embeddings
    long = ChoiceItem("long", ("a " * most, *items[0].context), items[0].choices, 0)
    conditions = make_conditions(["none", "text"])
    records, problems = answer_items(
        lm, [items[1], long], conditions, align, max_skipped_share=0.5
    )
    assert [record["id"] for record in records] == ["1"]
    assert f"of which the LLM takes {most}" in problems.reasons["long"]


def test_two_items_of_one_name_are_refused(lm, items):
    with pytest.raises(ValueError, match="two items have the id '0'"):
        answer_items(lm, [items[0], items[0]], make_conditions(["text"]), align)
