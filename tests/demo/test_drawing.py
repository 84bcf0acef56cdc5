"""Drawing: what people and models wrote is shown as text, whatever it is."""

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch

from ssr_plugin.demo import drawing
from ssr_plugin.demo.hearing import Answer, Comparison, Heard
from ssr_plugin.inference.speech import Speech

RATE = 16000
ATTACK = "<img src=x onerror=alert(1)> ${alert(1)} {{x}} \"'"


def speech(count, segmentation="predicted", hypothesis=None, seconds=None):
    edges = np.linspace(0, seconds or max(count, 1) / 4, count + 1)
    return Speech(
        vectors=torch.randn(count, 4),
        tokens=[3 + i % 26 for i in range(count)],
        text="the mat sat" if count else "",
        starts=edges[:-1].tolist(),
        ends=edges[1:].tolist(),
        segmentation=segmentation,
        hypothesis=hypothesis,
        seconds=float(edges[-1]),
    )


def heard(seconds=2.0, transcript="", **speeches):
    samples = np.random.default_rng(0).uniform(-1, 1, round(seconds * RATE))
    ways = {(name, False): x for name, x in speeches.items()}
    parts = {"file": 0.01, "encoder": 0.25, "aligner": 9.0, "connector": 0.24}
    return Heard(samples.astype(np.float32), RATE, transcript, ways, [], parts)


def elements(page):
    """All elements of what is well-formed HTML."""
    page = page.replace("␣", "_")
    return list(ET.fromstring(page).iter())


def test_all_that_was_written_is_escaped(tiny_tokenizer):
    said = heard(transcript=ATTACK, predicted=speech(3, hypothesis=ATTACK))
    said = dataclasses.replace(said, notes=[ATTACK])
    for page in (
        drawing.show_readings(said),
        drawing.show_readings(dataclasses.replace(said, transcript="")),
        drawing.show_problem(ATTACK),
        drawing.show_hint(ATTACK),
    ):
        assert not {"img", "script"} & {element.tag for element in elements(page)}
        assert "${" not in page and "{{" not in page


def test_tokens_are_escaped(tiny_tokenizer, monkeypatch):
    labels = [f" {ATTACK}"] * 3
    monkeypatch.setattr(drawing, "token_labels", lambda _, ids: labels[: len(ids)])
    said = heard(predicted=speech(3), forced=speech(3, "forced"))
    known = torch.eye(3), [1] * 3, torch.eye(3)[:2], [2] * 2
    comparison = Comparison(*known, "predicted", "transcript")
    for page in (
        drawing.show_timeline(said, tiny_tokenizer),
        drawing.show_similarity(comparison, tiny_tokenizer),
    ):
        sources = [x.get("src", "data:") for x in elements(page) if x.tag == "img"]
        assert all(source.startswith("data:") for source in sources)
        assert "${" not in page and "{{" not in page


def test_errors_are_marked_as_they_are_counted():
    said = heard(transcript="The cat, sat.", predicted=speech(3, hypothesis="the cat"))
    page = drawing.show_readings(said)
    tags = [element.tag for element in elements(page)]
    assert tags.count("del") == 2 and tags.count("ins") == 3  # one of each: the legend
    assert "33 %" in page
    assert drawing.mark_errors("", "a") == "<del>a</del>"


@pytest.mark.parametrize(
    ("seconds", "count"), [(0.01, 0), (0.01, 1), (2.0, 7), (30.0, 300)]
)
def test_each_segment_is_drawn_where_it_is(tiny_tokenizer, seconds, count):
    said = heard(
        seconds,
        predicted=speech(count, seconds=seconds),
        forced=speech(count, "forced", seconds=seconds),
    )
    page = drawing.show_timeline(said, tiny_tokenizer)
    boxes = [x for x in elements(page) if x.tag == "rect"]
    assert len(boxes) == 2 * count
    (svg,) = [x for x in elements(page) if x.tag == "svg"]
    right = [float(x.get("x")) + float(x.get("width")) for x in boxes]
    assert all(x <= float(svg.get("width")) + 1 for x in right)
    if count == 7:
        scale = 1120 / seconds
        scale = min(scale, 360)
        starts = [float(x.get("x")) for x in boxes[:7]]
        assert np.allclose(starts, np.arange(7) / 7 * seconds * scale, atol=0.1)


@pytest.mark.parametrize("count", [1, 20, 400])
def test_the_map_has_a_row_for_each_vector_and_a_column_for_each_token(
    tiny_tokenizer, count
):
    tokens = [3 + i % 26 for i in range(count)]
    comparison = Comparison(
        torch.randn(count + 1, 4),
        [*tokens, 3],
        torch.randn(count, 4),
        tokens,
        "predicted",
        "hypothesis",
    )
    page = drawing.show_similarity(comparison, tiny_tokenizer)
    found = elements(page)
    texts = [x for x in found if x.tag == "text"]
    assert len(texts) == (0 if count == 400 else 2 * count + 1)
    (image,) = [x for x in found if x.tag == "image"]
    ratio = float(image.get("height")) / float(image.get("width"))
    assert ratio == pytest.approx((count + 1) / count)


def test_nothing_heard_is_said_in_words(tiny_tokenizer):
    said = heard(predicted=speech(0))
    assert "no speech was found" in drawing.show_readings(said)
    assert "nothing to compare" in drawing.show_similarity(None, tiny_tokenizer)


def test_the_time_of_listening_leaves_the_aligner_out():
    page = drawing.show_times(heard(predicted=speech(7)))
    assert "heard in 500 ms" in page and "(4.0 times real time" in page
    assert "7 vectors, 3.5 a second" in page and "align the transcript 9000 ms" in page
    pace = drawing.show_pace(Answer("a", 9, 5, 0.5, 2.5))
    assert "first token after 500 ms, then 2 tokens a second" in pace
