"""Spoken StoryCloze, in the layout of its release with transcripts."""

import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.evaluation.benchmarks.storycloze import StoryCloze, TopicStoryCloze
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.condition import transcript_input
from ssr_plugin.evaluation.harness.conditions import make_conditions

ALL = ["none", "written", "text", "cascade", "predicted", "forced", "base"]


def available(lm, benchmark, items):
    """Names of the conditions in which a model can be asked."""
    conditions, _ = benchmark.conditions(make_conditions(ALL), lm, items)
    return [condition.name for condition in conditions]


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


@pytest.fixture
def folder(tmp_path, write_audio):
    for place in ("1", "part/2"):
        for seed, (name, text) in enumerate(
            (
                ("mutual", "The cat sat. It was 5."),
                ("correct", "It ate."),
                ("incorrect", "It sang.\n"),
            )
        ):
            write_audio(tmp_path / f"{place}_{name}.wav", 1.0, seed=seed)
            (tmp_path / f"{place}_{name}.txt").write_text(text)
    return tmp_path


@pytest.mark.parametrize("benchmark", [StoryCloze, TopicStoryCloze])
def test_the_story_is_heard_and_its_endings_are_transcripts(folder, benchmark):
    one, two = benchmark(folder).items(align=None)
    assert (one.id, two.id) == ("1", "part/2")
    (story,) = two.context
    assert story.wav == str(folder / "part" / "2_mutual.wav")
    assert (story.text, story.written) == (
        "the cat sat it was five",
        "The cat sat. It was 5.",
    )
    assert [choice.text for choice in one.choices] == ["it ate", "it sang"]
    assert all(choice.wav is None for choice in one.choices)
    assert one.target == 0 and benchmark(folder).metric == "acc_norm"


@pytest.mark.parametrize(
    "form, story, endings",
    [("S", True, True), ("S->T", True, False), ("T->S", False, True), ("T", 0, 0)],
)
def test_a_form_says_what_is_heard(lm, folder, form, story, endings):
    benchmark = StoryCloze(folder, form=form)
    items = benchmark.items(align=None)
    for item in items:
        assert (item.context[0].wav is not None) == bool(story)
        assert all((x.wav is not None) == bool(endings) for x in item.choices)
        assert item.context[0].written == "The cat sat. It was 5."
    names = available(lm, benchmark, items)
    assert ("predicted" in names) == (form != "T")
    assert {"none", "written", "text"} <= set(names)
    # Whatever the form, as text the same is read.
    text = make_conditions(["text"])
    one, two = (
        answer_items(lm, StoryCloze(folder, form=x).items(None), text, None)[0]
        for x in (form, "T")
    )
    assert [r["conditions"] for r in one] == [r["conditions"] for r in two]


def test_from_speech_to_speech_an_ending_is_scored_as_it_is_heard(lm, folder):
    items = StoryCloze(folder, form="S").items(align=None)
    records, _ = answer_items(lm, items, make_conditions(["predicted"]), align=None)
    for item, record in zip(items, records, strict=True):
        check(lm, lm.embed(item.context[0].wav), item, record)


def test_from_text_to_speech_the_story_is_read_as_its_transcript(lm, folder):
    items = StoryCloze(folder, form="T->S").items(align=None)
    records, _ = answer_items(lm, items, make_conditions(["predicted"]), align=None)
    for item, record in zip(items, records, strict=True):
        check(lm, transcript_input(lm, "the cat sat it was five"), item, record)


def check(lm, story, item, record):
    """The endings' tokens are as heard, given the story and the vectors before them."""
    answer = record["conditions"]["predicted"]
    for index, ending in enumerate(item.choices):
        speech = lm.embed(ending.wav)
        embeds = torch.cat([lm.embed_prompts([story]), speech.vectors[:-1]])
        logits = lm.model(inputs_embeds=embeds[None]).logits[0].log_softmax(-1)
        ids = torch.tensor(speech.tokens)
        expected = logits[-len(ids) :].gather(1, ids[:, None]).sum().item()
        found = answer["log_likelihoods"][index]
        assert found == pytest.approx(expected, abs=1e-4)


def test_what_is_to_be_heard_must_be_there(folder):
    (folder / "1_correct.wav").unlink()
    assert len(StoryCloze(folder).items(align=None)) == 2
    with pytest.raises(ValueError, match="1_correct.wav, a recording"):
        StoryCloze(folder, form="S").items(align=None)
    with pytest.raises(ValueError, match="'T->T' is none of T, S, S->T, T->S, whole"):
        StoryCloze(folder, form="T->T")


def test_a_model_answers_it(lm, folder):
    items = StoryCloze(folder).items(align=None)
    conditions = make_conditions(["none", "text", "predicted"])
    records, _ = answer_items(lm, items, conditions, align=None)
    assert [record["id"] for record in records] == ["1", "part/2"]
    assert set(records[0]["conditions"]) == {"none", "text", "predicted"}


def test_a_lacking_transcript_is_named(folder):
    (folder / "1_incorrect.txt").unlink()
    with pytest.raises(ValueError, match="1_incorrect.txt"):
        StoryCloze(folder).items(align=None)


@pytest.fixture
def release(tmp_path, write_audio):
    """Whole stories, named as in slp-rl's release: number, story, ending."""
    for number, story in (("0", "31"), ("1", "7")):
        for seed, ending in enumerate(("correct", "incorrect")):
            write_audio(tmp_path / f"{number}_{story}_{ending}.wav", 1.0, seed=seed)
    return tmp_path


def test_whole_stories_are_judged_by_their_sound(lm, release):
    benchmark = StoryCloze(release, form="whole")
    items = benchmark.items(align=None)
    assert [(item.id, item.context) for item in items] == [("31", ()), ("7", ())]
    right, wrong = (x.wav.rpartition("/")[2] for x in items[0].choices)
    assert (right, wrong) == ("0_31_correct.wav", "0_31_incorrect.wav")
    assert available(lm, benchmark, items) == ["cascade", "predicted"]
    records, _ = answer_items(lm, items, make_conditions(["predicted"]), align=None)
    for item, record in zip(items, records, strict=True):
        tokens = [len(lm.embed(choice.wav).tokens) for choice in item.choices]
        assert record["conditions"]["predicted"]["num_tokens"] == tokens
    assert "from start to end, and is scored" in benchmark.about


def test_whole_stories_with_transcripts_are_read_as_text_too(lm, release):
    for path in release.glob("*.wav"):
        path.with_suffix(".txt").write_text("The cat sat.\n")
    benchmark = StoryCloze(release, form="whole")
    items = benchmark.items(align=None)
    assert items[0].choices[0].text == "the cat sat"
    assert {"text", "forced"} <= set(available(lm, benchmark, items))


def test_a_part_of_a_story_is_no_whole_one(folder):
    with pytest.raises(ValueError, match="1_mutual.wav is a part"):
        StoryCloze(folder, form="whole").items(align=None)


def test_whole_stories_come_in_pairs(release, write_audio):
    (release / "1_7_incorrect.wav").unlink()
    benchmark = StoryCloze(release, form="whole")
    assert len(benchmark.items(align=None)) == 1
    assert benchmark.notes == ["1 recordings without a partner"]
    write_audio(release / "5_31_correct.wav")
    with pytest.raises(ValueError, match="31 has two correct endings"):
        StoryCloze(release, form="whole").items(align=None)
    for path in release.glob("*.wav"):
        path.unlink()
    with pytest.raises(ValueError, match="no pair of <id>_correct.wav"):
        StoryCloze(release, form="whole").items(align=None)


def test_the_release_without_transcripts_is_told_apart(tmp_path, write_audio):
    write_audio(tmp_path / "1_correct.wav")
    with pytest.raises(ValueError, match="does not tell where the ending begins"):
        StoryCloze(tmp_path).items(align=None)
