"""GrowingPrompt: what is read while it grows is what is read at once."""

import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.inference.chat import render_chat
from ssr_plugin.llm.scoring import cache_argument

GREEDY = {"max_new_tokens": 8, "do_sample": False}
WAV = (torch.rand(24000, generator=torch.manual_seed(0)) - 0.5, 16000)


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    """A model whose LLM expects some tokens much more than others."""
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder, device="cpu")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in lm.llm.load_model().parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return lm


@pytest.fixture(scope="module")
def speech(lm):
    return lm.embed(WAV)


def grown(lm, contents):
    prompt = lm.growing_prompt()
    for content in contents:
        prompt.append(content)
    return prompt


def test_what_is_written_after_it_is_what_is_written_after_the_same_at_once(lm, speech):
    all = [
        [],
        ["the cat"],
        ["the ", "cat ", "sat"],
        [speech],
        ["the cat ", speech, " sat"],
        [speech, "the cat ", speech],
        ["", speech, ""],
        [WAV, " the"],
    ]
    assert len({lm.generate(contents, **GREEDY) for contents in all}) > 3
    for contents in all:
        prompt = grown(lm, contents)
        assert prompt.generate(**GREEDY) == lm.generate(contents, **GREEDY)
        assert "".join(prompt.stream(**GREEDY)) == prompt.generate(**GREEDY)


def test_pieces_of_a_stream_are_read_as_one_piece_of_speech(lm, speech):
    """And what was written before leaves no trace."""
    prompt, wav = grown(lm, ["Said: "]), WAV[0]
    pieces = list(lm.stream_speech(wav.split(800)))
    assert len(pieces) > 1
    for piece in pieces:
        prompt.append(piece)
        prompt.generate(**GREEDY)
    expected = ["Said: ", *pieces, " the cat"]
    prompt.append(" the cat")
    assert prompt.generate(**GREEDY) == lm.generate(expected, **GREEDY)


def test_a_conversation_goes_on_around_speech(lm, speech, monkeypatch):
    template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    monkeypatch.setattr(lm.llm.tokenizer, "chat_template", template)
    turn = [{"role": "user", "content": ["the ", speech, " cat"]}]
    prompt = grown(lm, render_chat(lm.llm, turn))
    assert prompt.generate(**GREEDY) == lm.chat(turn, **GREEDY)


def test_beams_go_on_from_it(lm, speech):
    contents = ["the ", speech]
    options = {**GREEDY, "num_beams": 3}
    assert grown(lm, contents).generate(**options) == lm.generate(contents, **options)


def test_each_position_is_read_once_and_when_it_is_appended(lm, speech):
    """So that little is left to be read when the speaker stops."""
    read, prompt = [], grown(lm, ["the cat ", speech])

    def count(module, args, kwargs):
        embeds = kwargs.get("inputs_embeds")
        read.append(1 if embeds is None else embeds.shape[1])

    hook = lm.model.model.register_forward_pre_hook(count, with_kwargs=True)
    before = len(prompt)
    prompt.append(speech)
    assert read == [len(speech)]
    prompt.generate(max_new_tokens=2, do_sample=False)
    hook.remove()
    # What is written first comes of the last position alone.
    assert read == [len(speech), 1, 1]
    assert len(prompt) == before + len(speech)


def test_an_llm_that_keeps_nothing_reads_all_at_the_end(lm, speech, monkeypatch):
    monkeypatch.setattr(lm.model, "_is_stateful", True, raising=False)
    assert cache_argument(lm.model) is None
    prompt = grown(lm, ["the ", speech])
    assert prompt._cache.get_seq_length() == 0
    assert prompt.generate(**GREEDY) == lm.generate(["the ", speech], **GREEDY)


def test_more_than_the_llm_has_positions_for_is_refused_and_not_taken(
    lm, speech, monkeypatch
):
    monkeypatch.setattr(lm.model.config, "max_position_embeddings", len(speech) + 4)
    prompt = grown(lm, ["the ", speech])
    with pytest.raises(ValueError, match="and the LLM knows"):
        prompt.append(speech)
    assert prompt.generate(**GREEDY) == lm.generate(["the ", speech], **GREEDY)
