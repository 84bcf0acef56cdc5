"""What the command prints of tokens, in any script."""

from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from ssr_plugin.cli.show import spell_tokens, timed_words


@pytest.fixture(scope="module")
def tokenizer():
    """The bundled LLM's, which knows few letters and the rest by their bytes."""
    return AutoTokenizer.from_pretrained("recipes/sample/llm")


def spoken(tokenizer, text):
    """Tokens of a text, each said in a second."""
    tokens = tokenizer(text, add_special_tokens=False).input_ids
    times = [float(i) for i in range(len(tokens) + 1)]
    return SimpleNamespace(tokens=tokens, starts=times[:-1], ends=times[1:])


@pytest.mark.parametrize("text", ["the dog", "a 你好 b", "über", "\u05e9\u05dc 😀"])
def test_tokens_are_spelled_to_the_text_they_are_of(tokenizer, text):
    tokens = spoken(tokenizer, text).tokens
    assert "".join(spell_tokens(tokenizer, tokens)).strip() == text


def test_a_letter_of_some_tokens_is_added_by_the_last(tokenizer):
    tokens = spoken(tokenizer, "你").tokens
    assert tokenizer.convert_ids_to_tokens(tokens)[-3:] == [
        "<0xE4>",
        "<0xBD>",
        "<0xA0>",
    ]
    assert spell_tokens(tokenizer, tokens)[-3:] == ["", "", "你"]
    # Of a letter that was cut off, nobody knows which it was.
    assert spell_tokens(tokenizer, tokens[:-1])[-2:] == ["\ufffd", "\ufffd"]


def test_letters_of_a_script_without_blanks_have_times_of_their_own(tokenizer):
    speech = spoken(tokenizer, "你好")
    first, second = timed_words(speech, tokenizer)
    assert (first[0], second[0]) == ("你", "好")
    count = len(speech.tokens)
    assert first[1:] == (count - 6.0, count - 3.0)
    assert second[1:] == (count - 3.0, float(count))
