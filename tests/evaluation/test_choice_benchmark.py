"""A benchmark of choices: documents are declared, the harness does the rest."""

import json

import pytest

from ssr_plugin import SpeechLM
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.evaluation.harness.text_benchmark import TextBenchmark

ROWS = [("the cat", " sat", " a b"), ("a cat", " b", " c"), ("the", " a", " b")]


class Toy(ChoiceBenchmark):
    """All that a set must say of itself."""

    name = "toy"
    about = "What comes next."

    def docs(self):
        return {f"toy-{i}": row for i, row in enumerate(ROWS)}

    def doc_to_text(self, doc):
        return [SpokenText(doc[0])]

    def doc_to_choice(self, doc):
        return doc[1:]

    def doc_to_target(self, doc):
        return 1


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


@pytest.mark.parametrize("metric", ["acc", "acc_norm", "pmi"])
def test_a_declaration_is_answered_by_its_metric(lm, metric):
    toy = Toy(metric)
    items = toy.items(align=None)
    wanted = make_conditions(["none", "text", "forced"])
    conditions, _ = toy.conditions(wanted, lm, items)
    assert [condition.name for condition in conditions] == ["none", "text"]
    records, _ = answer_items(lm, items, conditions, None, answer=toy.answer)
    right = 0
    for text, *choices in ROWS:
        scores = lm.score(text, choices, per_token=metric == "acc_norm")
        if metric == "pmi":
            scores = [x - y for x, y in zip(scores, lm.score("", choices), strict=True)]
        right += scores[1] > scores[0]
    summary = toy.metrics(records, conditions, seed=0)["toy"]
    assert summary["metric"]["name"] == metric
    assert summary["chance"] == 50.0
    assert summary["conditions"]["text"][metric] == pytest.approx(100 * right / 3)


def test_fewer_items_are_drawn_by_name():
    names = [item.id for item in Toy(max_items=2).items(align=None)]
    assert len(names) == 2 and names == sorted(names)
    assert names == [item.id for item in Toy(max_items=2).items(align=None)]


class TextToy(TextBenchmark):
    """A text set of JSON lines."""

    name = "text_toy"
    about = "What comes next."

    def docs(self):
        return self.read_json_lines(self.data / "toy.jsonl", lambda doc: doc["id"])

    def text_to_speak(self, doc):
        return doc["text"]

    def doc_to_text(self, doc):
        return "Say: ", doc["spoken"]

    def doc_to_choice(self, doc):
        return doc["choices"]


def test_what_is_spoken_of_a_document_is_a_content_of_its_text(tmp_path):
    row = {"id": "x", "text": "It's 5.", "choices": [" a", " b"]}
    (tmp_path / "toy.jsonl").write_text(json.dumps(row))
    (item,) = TextToy(tmp_path).items(align=None)
    assert item.context == ("Say: ", SpokenText("it's five", written="It's 5."))
    assert (item.choices, item.target) == ((" a", " b"), 0)
    assert TextToy(tmp_path).texts() == {"x": "It's 5."}


def test_a_document_that_lacks_something_is_named_by_its_line(tmp_path):
    (tmp_path / "toy.jsonl").write_text('{"id": "x", "text": "It."}')
    with pytest.raises(ValueError, match="line 1 is no question of text_toy.*choices"):
        TextToy(tmp_path).items(align=None)
