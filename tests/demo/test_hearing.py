"""Hearing: a recording in all ways at once, and a question in each condition."""

import threading

import numpy as np
import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.even import EvenAligner
from ssr_plugin.demo.hearing import answer, available, compare, fill_prompt, hear

RATE = 16000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE).astype(np.float32)


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


@pytest.fixture(scope="module")
def heard(lm):
    return hear(lm, NOISE, RATE, "the cat sat", EvenAligner())


def condition(heard, name):
    (found,) = [x for x in available(heard) if x.name == name]
    return found


def test_the_ways_are_those_of_embed(lm, heard):
    predicted = lm.embed((NOISE, RATE))
    assert torch.equal(heard.predicted.vectors, predicted.vectors)
    assert heard.forced.segmentation == "forced" and len(heard.forced) == 3
    assert heard.speeches["predicted", True].lm_fusion and not heard.notes
    assert {"aligner", "encoder", "segmenter", "connector", "lm_fusion"} <= {
        name for name, seconds in heard.parts.items() if seconds > 0
    }


def test_what_needs_a_transcript_waits_for_one(lm, heard):
    names = [x.name for x in available(heard)]
    assert names == ["none", "text", "predicted", "forced", "predicted_lm_fusion"]
    alone = hear(lm, NOISE, RATE)
    names = [x.name for x in available(alone)]
    assert names == ["none", "predicted", "predicted_lm_fusion"]
    assert available(None) == []


def test_a_transcript_that_does_not_fit_is_told_and_the_rest_is_heard(lm):
    for text in ("!?", " ".join(["sat"] * 300)):
        heard = hear(lm, NOISE, RATE, text, EvenAligner())
        assert len(heard.notes) == 1 and "no forced segments" in heard.notes[0]
        assert heard.forced is None and len(heard.predicted)


def test_a_model_that_finds_no_segments_itself_asks_for_the_transcript(lm):
    predicting = lm.embedder.segmenters.pop("predicted")
    try:
        heard = hear(lm, NOISE, RATE)
        assert not heard.speeches and "type the transcript" in heard.notes[0]
        assert [x.name for x in available(heard)] == ["none"]
        assert len(hear(lm, NOISE, RATE, "a cat", EvenAligner()).forced) == 2
    finally:
        lm.embedder.segmenters["predicted"] = predicting


def test_a_prompt_differs_in_nothing_but_what_stands_for_speech(lm, heard):
    prompts = {
        x.name: fill_prompt(lm, heard, x, "{audio} {question}", "saw")
        for x in available(heard)
    }
    assert {prompt[1] for prompt in prompts.values()} == {" saw"}
    spoken = {name: prompt[0] for name, prompt in prompts.items()}
    assert spoken["predicted"] is heard.predicted and spoken["forced"] is heard.forced
    assert spoken["text"].tokens == lm.llm.tokenizer("the cat sat").input_ids[1:]
    assert len(spoken["none"]) == 0


def test_a_question_is_never_a_place_for_speech(lm, heard):
    chosen = condition(heard, "predicted")
    prompt = fill_prompt(lm, heard, chosen, "{audio}{question}", "{audio}{question}")
    assert prompt[1:] == ["{audio}{question}"]


def test_with_a_chat_template_it_is_the_users_turn(lm, heard, monkeypatch):
    template = "{% for m in messages %}[{{ m.role }} {{ m.content }}]{% endfor %}"
    monkeypatch.setattr(lm.llm.tokenizer, "chat_template", template)
    chosen = condition(heard, "predicted")
    prompt = fill_prompt(lm, heard, chosen, "{audio}\n{question}", "Who?")
    assert prompt == ["[user ", heard.predicted, "\nWho?]"]


def test_an_answer_is_what_generate_gives_and_comes_piece_by_piece(lm, heard):
    prompt = [heard.predicted, " the cat"]
    pieces = list(answer(lm, prompt, max_new_tokens=8))
    whole = lm.generate(prompt, max_new_tokens=8, do_sample=False)
    assert pieces[-1].text == whole and len({x.text for x in pieces}) > 3
    assert all(whole.startswith(x.text) for x in pieces)
    # The start token, the vectors, two words.
    assert pieces[-1].tokens == 8 and pieces[-1].prompt == len(heard.predicted) + 3
    assert 0 < pieces[-1].first_seconds < pieces[-1].seconds


def test_who_stops_listening_to_an_answer_ends_the_writing(lm):
    before = set(threading.enumerate())
    pieces = answer(lm, ["the cat"], max_new_tokens=1500)
    next(pieces)
    (writer,) = set(threading.enumerate()) - before
    pieces.close()
    writer.join(10)
    assert not writer.is_alive()


def test_a_prompt_longer_than_the_llm_reads_is_refused(lm):
    with pytest.raises(ValueError, match="the 2048 positions that it knows"):
        next(answer(lm, ["the cat " * 600], max_new_tokens=1000))


def test_vectors_are_compared_with_the_tokens_of_the_text(lm, heard):
    comparison = compare(lm, heard)
    assert comparison.vectors is heard.predicted.vectors
    assert comparison.source == "transcript" and len(comparison.embeddings) == 3
    # Segments of equal length have no text of their own.
    assert compare(lm, hear(lm, NOISE, RATE)) is None
