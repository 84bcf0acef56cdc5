"""Prompted ASR: what the LLM writes after speech, alone or after examples."""

import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.readers import FileAligner
from ssr_plugin.data.datasets import DataSet, Utterance
from ssr_plugin.evaluation.benchmarks import asr as asr_module
from ssr_plugin.evaluation.benchmarks.asr import ASR
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.metrics.prompted_wer import PromptedWER, transcript_limit
from ssr_plugin.metrics.wer import word_errors


class Corpus(DataSet):
    """Splits of LibriSpeech's layout."""

    def utterances(self, split):
        for path in sorted((self.folder / split).glob("*/*/*.txt")):
            for line in path.read_text().splitlines():
                name, _, text = line.partition(" ")
                yield Utterance(name, str(path.parent / f"{name}.flac"), text)


@pytest.fixture
def corpus(small_corpus):
    return Corpus(small_corpus / "LibriSpeech")


@pytest.fixture
def align_all(small_corpus, tmp_path):
    aligner = FileAligner(str(small_corpus / "words.jsonl"))
    return lambda items: align(items, aligner, tmp_path / "cache")[0]


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


WANTED = ["none", "text", "cascade", "predicted", "forced"]


def answer(lm, asr, align_all, names=WANTED, **options):
    items = asr.items(align_all)
    conditions, _ = asr.conditions(make_conditions(names), lm, items)
    records, _ = answer_items(
        lm, items, conditions, align_all, answer=asr.answer, **options
    )
    return items, conditions, records


def errors(reference, transcript):
    """As JSON has them."""
    return {k: list(x) for k, x in word_errors(reference, transcript).items()}


def test_what_is_written_is_what_the_model_generates(lm, corpus, align_all):
    asr = ASR(corpus, ["test-a"], max_items=4)
    items, conditions, records = answer(lm, asr, align_all)
    assert [x.name for x in conditions] == ["text", "cascade", "predicted", "forced"]
    for item, record in zip(items, records, strict=True):
        (content,) = item.recordings()
        cuts = {"predicted": None, "forced": content.alignment}
        for name, alignment in cuts.items():
            speech = lm.embed(content.wav, alignment)
            limit = transcript_limit(len(speech))
            text = lm.generate([speech, "\n"], max_new_tokens=limit, do_sample=False)
            found = record["conditions"][name]
            assert found["transcript"] == text.strip()
            assert found["metrics"] == errors(content.text, text)
    assert any(record["conditions"]["forced"]["transcript"] for record in records)


def test_its_wer_is_the_prompted_wer_that_stage_2_reports(lm, corpus, align_all):
    asr = ASR(corpus, ["test-a"], language="de")
    items, conditions, records = answer(lm, asr, align_all, ["forced"])
    prompted = PromptedWER(lm.llm, language="de")
    for item in items:
        (content,) = item.recordings()
        speech = lm.embed(content.wav, content.alignment)
        tokens = lm.segmenters["forced"].tokenize(content.text)[0]
        prompted.add([speech.vectors], [torch.tensor(tokens)])
    figures = {
        f"prompted_{title.split()[-1]}": summary["conditions"]["forced"]
        for title, summary in asr.metrics(records, conditions, seed=0).items()
    }
    assert set(figures) == {"prompted_wer", "prompted_wer_whisper"}
    for name, value in prompted.summary().items():
        assert value > 0
        assert figures[name][name.removeprefix("prompted_")] == pytest.approx(value)


def test_examples_are_of_another_split_and_the_same_for_all(corpus, align_all):
    asr = ASR(corpus, ["test-a"], shots=2, shot_splits=["train*"])
    items = asr.items(align_all)
    assert len(items) == 10
    heads = {item.context[:-3] for item in items}
    ((before, one, between, transcript, end, *others),) = heads
    assert (before, between, end) == ("", "\n", "\n\n") and len(others) == 5
    assert "train-a" in one.wav and one.alignment.text == one.text
    # Its transcript is read as text in all conditions.
    assert transcript == SpokenText(one.text)
    assert f"{one.alignment.id}" in asr.notes[0]
    again = ASR(corpus, ["test-a"], shots=2, shot_splits=["train*"]).items(align_all)
    other = ASR(corpus, ["test-a"], shots=2, shot_splits=["train*"], seed=1)
    assert again == items and other.items(align_all) != items


def test_after_examples_the_prompt_is_what_a_user_would_write(
    lm, corpus, align_all, monkeypatch
):
    asked = []

    def write(llm, prompts, limits):
        asked.extend(prompts)
        return ["a"] * len(prompts)

    monkeypatch.setattr(asr_module, "write", write)
    options = {"template": "say {speech} so {text}", "separator": " a "}
    asr = ASR(corpus, ["test-a"], shots=1, max_items=1, **options)
    (item,) = asr.items(align_all)
    names = ["predicted", "forced"]
    answer_items(lm, [item], make_conditions(names), align_all, answer=asr.answer)
    wavs = [content.wav for content in item.recordings()]
    cuts = {"predicted": None, "forced": [x.alignment for x in item.recordings()]}
    for name, found in zip(names, asked, strict=True):
        one, two = lm.embed(wavs, cuts[name])
        text = f" so {item.recordings()[0].text.lower()} a say "
        expected = lm.embed_prompts(["say ", one, text, two, " so "])
        assert found.allclose(expected, atol=1e-4)


def test_only_the_first_line_counts(lm, corpus, align_all, monkeypatch):
    monkeypatch.setattr(
        asr_module,
        "write",
        lambda llm, prompts, limits: ["\n The CAT! \nmore"] * len(prompts),
    )
    _, _, records = answer(lm, ASR(corpus, ["test-a"], max_items=2), align_all)
    for record in records:
        answers = record["conditions"]
        assert {x["transcript"] for x in answers.values()} == {"The CAT!"}
        assert answers["text"]["metrics"] == errors(record["reference"], "the cat")


def test_the_figure_is_that_of_all_words(corpus):
    records = [
        {"cluster": name, "conditions": {"text": {"metrics": {"wer": wer}}}}
        for name, wer in (("a", [1, 2]), ("b", [0, 8]))
    ]
    text = make_conditions(["text"])
    (summary,) = ASR(corpus, ["test-a"]).metrics(records, text, seed=0).values()
    assert summary["conditions"]["text"]["wer"] == pytest.approx(10.0)
    assert summary["conditions"]["text"]["interval"] == pytest.approx([0.0, 50.0])


def test_a_killed_run_goes_on(lm, corpus, align_all, tmp_path, monkeypatch):
    path = tmp_path / "asr.jsonl"
    _, _, first = answer(lm, ASR(corpus, ["test-a"]), align_all, path=path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:6]))
    asked = []
    asr = ASR(corpus, ["test-a"])
    whole = asr.answer
    monkeypatch.setattr(
        asr,
        "answer",
        lambda lm, items, *rest: asked.append(items) or whole(lm, items, *rest),
    )
    _, _, again = answer(lm, asr, align_all, path=path)
    assert again == first
    assert {len(items) for items in asked} == {4}


@pytest.mark.parametrize(
    "options, says",
    [
        ({"template": "{speech}"}, "template: '{speech}' is not of the form"),
        ({"template": "{text}\n"}, "is not of the form"),
        ({"shots": 1, "shot_splits": ["test-a"]}, "test-a is also in test_splits"),
        ({"shots": 99, "shot_splits": ["dev-a"]}, "dev-a has 10 utterances, not 99"),
        ({"shots": 1, "shot_splits": ["no*"]}, "shot_splits:.*matches none"),
    ],
)
def test_what_makes_no_sense_is_named(corpus, align_all, options, says):
    with pytest.raises(ValueError, match=says):
        ASR(corpus, ["test-a"], **options).items(align_all)
