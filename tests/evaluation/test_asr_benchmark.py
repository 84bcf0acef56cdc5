"""Prompted ASR: what the LLM writes after speech, alone or after examples."""

import pytest

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.readers import FileAligner
from ssr_plugin.data.datasets import DataSet, Utterance
from ssr_plugin.evaluation.benchmarks import asr as asr_module
from ssr_plugin.evaluation.benchmarks.asr import ASR
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.items import Spoken
from ssr_plugin.metrics.prompted_wer import transcript_limit, word_errors


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


def answer(lm, task, align_all, **options):
    items = task.items(align_all)
    columns, _ = task.columns(lm, items)
    records, _ = answer_items(
        lm, items, columns, align_all, answer=task.answer, **options
    )
    return items, columns, records


def test_what_is_written_is_what_the_model_generates(lm, corpus, align_all):
    task = ASR(corpus, ["test-a"], max_items=4)
    items, columns, records = answer(lm, task, align_all)
    assert columns == ["text", "cascade", "predicted", "forced"]
    for item, record in zip(items, records, strict=True):
        (part,) = item.heard()
        cuts = {"predicted": None, "forced": part.alignment}
        for column, alignment in cuts.items():
            speech = lm.embed(part.wav, alignment)
            limit = transcript_limit(len(speech))
            text = lm.generate([speech, "\n"], max_new_tokens=limit, do_sample=False)
            assert record["written"][column] == text.strip()
            errors = list(word_errors(part.text, text))
            assert record["measured"][column]["wer"] == errors
    assert any(record["written"]["forced"] for record in records)


def test_examples_are_of_another_split_and_the_same_for_all(corpus, align_all):
    task = ASR(corpus, ["test-a"], shots=2, shot_splits=["train*"])
    items = task.items(align_all)
    assert len(items) == 10
    heads = {item.context[:-3] for item in items}
    ((before, one, between, told, end, *others),) = heads
    assert (before, between, end) == ("", "\n", "\n\n") and len(others) == 5
    assert "train-a" in one.wav and one.alignment.text == one.text
    # Its transcript is read as text by all columns.
    assert told == Spoken(one.text)
    assert f"{one.alignment.id}" in task.notes[0]
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
    task = ASR(corpus, ["test-a"], shots=1, max_items=1, **options)
    (item,) = task.items(align_all)
    columns = ["predicted", "forced"]
    answer_items(lm, [item], columns, align_all, answer=task.answer)
    wavs = [part.wav for part in item.heard()]
    cuts = {"predicted": None, "forced": [part.alignment for part in item.heard()]}
    for column, found in zip(columns, asked, strict=True):
        one, two = lm.embed(wavs, cuts[column])
        text = f" so {item.heard()[0].text.lower()} a say "
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
        assert set(record["written"].values()) == {"The CAT!"}
        expected = list(word_errors(record["text"], "the cat"))
        assert record["measured"]["text"]["wer"] == expected


def test_words_are_counted_without_case_and_marks():
    assert word_errors("THE CAT'S MAT", "the cats mat.") == (0, 3)
    assert word_errors("A B C D", "a c e d f") == (3, 4)
    assert word_errors("A B", "") == (2, 2)


def test_the_figure_is_that_of_all_words(corpus):
    task = ASR(corpus, ["test-a"])
    records = [
        {"cluster": name, "measured": {"text": {"wer": wer}}}
        for name, wer in (("a", [1, 2]), ("b", [0, 8]))
    ]
    (figures,) = task.figures(records, ["text"], seed=0).values()
    assert figures["columns"]["text"]["wer"] == pytest.approx(10.0)
    assert figures["columns"]["text"]["interval"] == pytest.approx([0.0, 50.0])


def test_a_killed_run_goes_on(lm, corpus, align_all, tmp_path, monkeypatch):
    path = tmp_path / "asr.jsonl"
    _, _, first = answer(lm, ASR(corpus, ["test-a"]), align_all, path=path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:6]))
    asked = []
    task = ASR(corpus, ["test-a"])
    whole = task.answer
    monkeypatch.setattr(
        task,
        "answer",
        lambda lm, items, *rest: asked.append(items) or whole(lm, items, *rest),
    )
    _, _, again = answer(lm, task, align_all, path=path)
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
