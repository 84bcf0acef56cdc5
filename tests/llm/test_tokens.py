"""A text amid others has the tokens that it has there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ssr_plugin.llm.tokens import BROKEN, character_runs, tokenize_inside


@pytest.mark.parametrize(
    "text, expected", [("\na", ["\n", "a"]), (" a", ["▁a"]), ("", [])]
)
def test_it_gets_no_space_of_its_own(spacing_tokenizer, text, expected):
    found = tokenize_inside(spacing_tokenizer, text)
    assert spacing_tokenizer.convert_ids_to_tokens(found) == expected


def test_a_space_is_what_it_would_have_got_alone(spacing_tokenizer):
    alone = spacing_tokenizer("\na", add_special_tokens=False).input_ids
    assert spacing_tokenizer.convert_ids_to_tokens(alone)[0] == "▁"


# --- Tokens that are parts of a character --------------------------------------------


@pytest.fixture(scope="module")
def byte_tokenizer():
    """The bundled LLM's, which knows few letters and the rest by their bytes."""
    return AutoTokenizer.from_pretrained("recipes/sample/llm")


@settings(max_examples=50, deadline=None)
@given(text=st.text("ab é你好ส\u0e31\u05e9😀"), cut=st.integers(0, 3))
def test_runs_are_whole_characters_and_hold_each_token_once(byte_tokenizer, text, cut):
    tokens = byte_tokenizer(text, add_special_tokens=False).input_ids
    tokens = tokens[: len(tokens) - cut]
    runs = character_runs(byte_tokenizer, tokens)
    assert [i for first, stop in runs for i in range(first, stop)] == [
        *range(len(tokens))
    ]
    for first, stop in runs:
        decoded = [byte_tokenizer.decode(tokens[first:x]) for x in range(first, stop)]
        # No beginning of a run is whole; the first of these is of no token.
        assert all(BROKEN in x for x in decoded[1:])
        if stop - first > 1:
            assert BROKEN not in byte_tokenizer.decode(tokens[first:stop])
    alone = [x for x, y in runs if y - x == 1]
    broken = [i for i in alone if BROKEN in byte_tokenizer.decode([tokens[i]])]
    # Nothing but the last character may have been cut.
    assert all(i >= len(tokens) - 3 for i in broken)
