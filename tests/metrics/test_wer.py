"""WER: one rule for every figure of that name, and Whisper's beside it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.metrics import prompted_wer
from ssr_plugin.metrics.prompted_wer import PromptedWER
from ssr_plugin.metrics.segmentation_metrics import SegmentationMetrics
from ssr_plugin.metrics.vector_metrics import VectorMetrics
from ssr_plugin.metrics.wer import (
    WordErrorRate,
    plain_words,
    rate_of,
    whisper_words,
    word_errors,
)
from ssr_plugin.segmenters.forced import Segments

#: What was said, and what was written for it.
PAIRS = [
    ("MISTER CAT'S MAT", "Mr. cats mat!"),
    ("THE COLOUR OF IT", "the color, of"),
    ("ONE", "and one more"),
]


@pytest.mark.parametrize(
    "reference, hypothesis, errors",
    [
        ("THE CAT'S MAT", "the cats mat.", (0, 3)),
        ("A B C D", "a c e d f", (3, 4)),
        ("A B", "", (2, 2)),
        ("well-known — it", "wellknown it", (0, 2)),
        ("ÉTÉ", "été", (0, 1)),
    ],
)
def test_plain_wer_counts_words_without_case_and_punctuation(
    reference, hypothesis, errors
):
    assert word_errors(reference, hypothesis)["wer"] == errors


@pytest.mark.parametrize(
    "reference, hypothesis",
    [
        ("Mr. Brown", "mister brown"),
        ("the colour", "the color"),
        ("uh it's here", "it is here"),
        ("21", "twenty one"),
    ],
)
def test_whispers_wer_takes_spellings_of_the_same_for_the_same(reference, hypothesis):
    errors = word_errors(reference, hypothesis)
    assert errors["wer_whisper"][0] == 0 < errors["wer"][0]


def test_other_languages_than_english_have_whispers_basic_normaliser():
    assert whisper_words("uh, Mr. Öl", language="de") == ["uh", "mr", "öl"]
    assert whisper_words("uh, Mr. Öl") == ["mister", "ol"]
    assert word_errors("mister", "Mr.", language="de")["wer_whisper"] == (1, 1)


@given(st.text(), st.text())
def test_plain_words_are_those_of_the_parts(one, two):
    assert plain_words(f"{one} {two}") == plain_words(one) + plain_words(two)


def test_a_rate_is_that_of_all_words_and_none_without_any():
    rate = WordErrorRate()
    assert rate.summary() == {"wer": None, "wer_whisper": None}
    rate.add("a", "b")
    rate.add("a b c", "a b c")
    assert rate.summary() == {"wer": 25.0, "wer_whisper": 25.0}


class Words:
    """A tokenizer of which each text is a token."""

    def __init__(self, texts):
        self.texts = texts

    def decode(self, ids, **options):
        return " ".join(self.texts[i] for i in ids)


def retrieval(texts, pairs):
    """By the nearest tokens of vectors."""
    table = torch.eye(len(texts))
    metrics = VectorMetrics(Words(texts), table, torch.ones(len(texts)).bool())
    for reference, hypothesis in pairs:
        vectors = table[torch.tensor([texts.index(hypothesis)])]
        metrics.add_reading("a", vectors, torch.tensor([texts.index(reference)]), 1.0)
    return metrics.summary()


def hypothesis(texts, pairs):
    """By what a segmenter spells."""
    metrics = SegmentationMetrics(Words(texts), frame_rate=50.0)
    for pair in pairs:
        reference, found = (
            Segments(np.array([texts.index(x)]), np.array([0]), np.array([9]))
            for x in pair
        )
        metrics.add("a", found, reference)
    return metrics.summary()


def prompted(texts, pairs, monkeypatch):
    """By what an LLM writes; here it writes what it is to write."""
    llm = SimpleNamespace(table=lambda: torch.zeros(1, 4), tokenizer=Words(texts))
    metrics = PromptedWER(llm)
    answers = [f"{text}\nand more" for _, text in pairs]
    monkeypatch.setattr(prompted_wer, "transcribe", lambda *args, **options: answers)
    tokens = [torch.tensor([texts.index(x)]) for x, _ in pairs]
    metrics.add([torch.zeros(1, 4)] * len(pairs), tokens)
    return metrics.summary()


def test_retrieval_hypothesis_and_prompted_wer_agree_on_the_same_texts(monkeypatch):
    texts = [text for pair in PAIRS for text in pair]
    rate = WordErrorRate()
    for reference, written in PAIRS:
        rate.add(reference, written)
    expected = rate.summary()
    assert expected["wer"] == pytest.approx(100 * 5 / 8)
    for name, summary in (
        ("retrieval", retrieval(texts, PAIRS)),
        ("hypothesis", hypothesis(texts, PAIRS)),
        ("prompted", prompted(texts, PAIRS, monkeypatch)),
    ):
        for rule, value in expected.items():
            assert summary[f"{name}_{rule}"] == pytest.approx(value)


# --- Where there are no words --------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "reference", "hypothesis", "errors"),
    [
        (
            "zh",
            "你好，世界。",
            "你 好世 界",
            (0, 4),
        ),
        ("zh-Hant-TW", "你好GPU", "你不好 gpu", (1, 5)),
        # Of a letter and its mark that are one, one is wrong.
        ("ja", "がっこう", "かっこう", (1, 4)),
        ("ja", "が", "か\u3099", (0, 1)),
        # Vowels above letters are kept.
        ("th", "ด\u0e35", "ด\u0e37", (1, 2)),
    ],
)
def test_errors_are_counted_in_characters(language, reference, hypothesis, errors):
    assert word_errors(reference, hypothesis, language)["cer"] == errors


def test_one_language_has_one_kind_of_rate_and_its_names_say_which():
    rate = WordErrorRate("zh-CN")
    rate.add("你好", "你")
    assert rate.summary("retrieval_") == {
        "retrieval_cer": 50.0,
        "retrieval_cer_whisper": 50.0,
    }
    assert rate_of(rate.summary("retrieval_"), "retrieval_") == ("CER", 50.0)
    assert WordErrorRate("th").summary() == {"cer": None, "cer_whisper": None}
    assert set(WordErrorRate("ar-EG").summary()) == {"wer", "wer_whisper"}
    assert rate_of({"hypothesis_wer": None}, "hypothesis_") == ("WER", None)


def test_regions_of_english_have_its_normaliser():
    assert whisper_words("Mr. colour", "en-GB") == ["mister", "color"]
