"""Conversations: a string, messages, and Hugging Face's parts of a message."""

import pathlib

import numpy as np
import pytest

from ssr_plugin import SpeechLM
from ssr_plugin.inference.chat import parse_content, render_chat
from ssr_plugin.inference.prompts import parse_prompts

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}a{% endif %}"
)


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder)
    lm.llm.tokenizer.chat_template = TEMPLATE
    return lm


@pytest.fixture
def file(tmp_path, write_audio):
    return write_audio(tmp_path / "talk.wav", 1.0)


def test_render_chat_takes_a_string_as_the_users_only_turn(lm):
    messages = [{"role": "user", "content": "the cat"}]
    assert render_chat(lm.llm, "the cat") == render_chat(lm.llm, messages)
    options = {"max_new_tokens": 4, "do_sample": False}
    assert lm.chat("the cat", **options) == lm.chat(messages, **options)


def test_render_chat_takes_parts_of_text_and_audio_in_order(lm, file):
    parts = [
        {"type": "text", "text": "Hear "},
        {"type": "audio", "audio": file},
        {"type": "text", "text": "\nWho?"},
    ]
    plain = [{"role": "user", "content": ["Hear ", file, "\nWho?"]}]
    assert render_chat(lm.llm, [{"role": "user", "content": parts}]) == [
        "[user] Hear ",
        file,
        "\nWho? a",
    ]
    options = {"max_new_tokens": 4, "do_sample": False}
    written = lm.chat([{"role": "user", "content": parts}], **options)
    assert written == lm.chat(plain, **options)


def test_parse_content_takes_speech_as_it_is():
    for speech in ((np.zeros(9), 16000), {"array": [0.0], "sampling_rate": 8000}):
        (part,) = parse_content([{"type": "audio", "audio": speech}])
        assert part is speech


def test_parse_content_takes_paths_in_any_place_as_files(file):
    for given in (
        {"audio": str(file)},
        {"path": file},
        {"path": str(file), "audio": None},
        {"url": str(file)},
        {"url": file.as_uri()},
    ):
        assert parse_content([{"type": "audio", **given}]) == [file]


def test_parse_content_takes_one_part_alone_and_prompts_as_they_are(file):
    assert parse_content({"type": "text", "text": "a"}) == ["a"]
    assert parse_content("a") == ["a"]
    assert parse_content(["a", file]) == ["a", file]
    # A recording of a data set is no part of a message.
    row = {"array": [0.0], "sampling_rate": 8000}
    assert parse_content(row) == [row]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": "a.png"},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "text"},
        {"type": "text", "text": None},
        {"type": "audio"},
        {"type": "audio", "audio": np.zeros(9)},
        {"type": "audio", "audio": "a.wav", "path": "b.wav"},
    ],
)
def test_parse_content_shows_a_part_that_it_does_not_know_and_those_it_does(part):
    with pytest.raises(ValueError, match="'type': 'text', 'text': ...") as error:
        parse_content([part])
    assert repr(part["type"]) in str(error.value).partition("not {")[2]


@pytest.mark.parametrize(
    "url", ["https://example.org/a.wav", "s3://a/b.wav", "data:audio/wav;base64,AA"]
)
def test_parse_content_fetches_nothing(url):
    with pytest.raises(ValueError, match="nothing is fetched: download it and give"):
        parse_content([{"type": "audio", "url": url}])


@pytest.mark.parametrize(
    "messages",
    [
        ["the cat", "sat"],
        ["the cat", pathlib.Path("a.wav")],
        [["the cat"]],
        [{"role": "user"}],
        {"role": "user", "content": "the cat"},
    ],
)
def test_chat_refuses_what_is_no_conversation(lm, messages):
    with pytest.raises(TypeError, match="a list of messages such as"):
        lm.chat(messages)


# --- Paths as text -----------------------------------------------------------------


def test_speech_lm_refuses_a_text_that_is_the_path_of_an_audio_file(lm, file):
    name = str(file)
    told = r"the path of an audio file.* give pathlib\.Path\('.*talk\.wav'\)"
    for ask in (
        lambda: lm.generate(name),
        lambda: lm.generate(["the ", name]),
        lambda: lm.generate([["the"], [file, name]]),
        lambda: next(lm.stream(name)),
        lambda: lm.score(name, " cat"),
        lambda: lm.embed_prompts([name]),
        lambda: lm.transcribe(file, prompt=name),
        lambda: lm.chat(name),
        lambda: lm.chat([{"role": "user", "content": [name, "\nWho?"]}]),
        lambda: lm.chat(
            [{"role": "user", "content": [{"type": "text", "text": name}]}]
        ),
    ):
        with pytest.raises(ValueError, match=told):
            ask()


def test_parse_prompts_takes_other_texts_that_end_like_files(file, tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.wav").mkdir()
    texts = [
        "no.wav",
        f"What is said in {file}?",
        f"in {file}",
        str(tmp_path / "notes.txt"),
        str(tmp_path / "folder.wav"),
        "a" * 5000 + ".wav",
        "a\0.wav",
    ]
    for text in texts:
        assert parse_prompts(text) == ([[text]], True)
