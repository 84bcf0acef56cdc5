"""A text amid others has the tokens that it has there."""

import pytest

from ssr_plugin.llm.tokens import tokenize_inside


@pytest.mark.parametrize(
    "text, expected", [("\na", ["\n", "a"]), (" a", ["▁a"]), ("", [])]
)
def test_it_gets_no_space_of_its_own(spacing_tokenizer, text, expected):
    found = tokenize_inside(spacing_tokenizer, text)
    assert spacing_tokenizer.convert_ids_to_tokens(found) == expected


def test_a_space_is_what_it_would_have_got_alone(spacing_tokenizer):
    alone = spacing_tokenizer("\na", add_special_tokens=False).input_ids
    assert spacing_tokenizer.convert_ids_to_tokens(alone)[0] == "▁"
