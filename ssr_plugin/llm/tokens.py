"""Tokens and the text that they stand for: amid other text, and part by part."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

#: What a decoder writes for bytes that are no character.
BROKEN = "\ufffd"
# Tokens of two characters in UTF-8, at most: one token may end the first and begin the
# second.
_MOST_PARTS = 7
# No tokenizer joins it to what follows, unless that is a letter or another of it.
_BEFORE = "~"


def tokenize_inside(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The tokens of a text that does not begin where its document begins.

    SentencePiece tokenizers put a space before any text they are given; between speech
    and text there is none unless the text has it.

    Arguments
    ---------
    tokenizer : transformers.PreTrainedTokenizerFast
    text : str

    Returns
    -------
    list of int

    Example
    -------
    >>> tokenizer = getfixture("tiny_tokenizer")
    >>> tokenizer.convert_ids_to_tokens(tokenize_inside(tokenizer, " the cat"))
    ['the', 'cat']
    """
    if not text:
        return []
    encoded = tokenizer(
        _BEFORE + text, add_special_tokens=False, return_offsets_mapping=True
    )
    inside = [
        (token, first)
        for token, (first, stop) in zip(
            encoded.input_ids, encoded.offset_mapping, strict=True
        )
        if stop > len(_BEFORE)
    ]
    # A token that spans the seam tells nothing of the text alone.
    if not inside or inside[0][1] < len(_BEFORE):
        ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
        return ids
    return [token for token, _ in inside]


def character_runs(
    tokenizer: PreTrainedTokenizerFast, tokens: Sequence[int]
) -> list[tuple[int, int]]:
    """Which tokens are whole characters only together.

    A tokenizer that knows a character by its bytes alone, as those of English LLMs know
    Chinese ones, has tokens that are a part of one.

    Arguments
    ---------
    tokenizer : transformers.PreTrainedTokenizerFast
    tokens : list of int

    Returns
    -------
    list of (int, int)
        Half-open ranges of tokens, in order, one after another: single tokens, and runs
        that decode to characters where none of their beginnings does. A part whose rest
        is missing is alone.

    Example
    -------
    >>> from transformers import AutoTokenizer
    >>> tokenizer = AutoTokenizer.from_pretrained("recipes/sample/llm")
    >>> tokens = tokenizer("an \u00e9", add_special_tokens=False).input_ids
    >>> tokenizer.convert_ids_to_tokens(tokens)
    ['\u2581an', '\u2581', '<0xC3>', '<0xA9>']
    >>> character_runs(tokenizer, tokens), character_runs(tokenizer, tokens[:3])
    ([(0, 1), (1, 2), (2, 4)], [(0, 1), (1, 2), (2, 3)])
    """
    tokens = [int(token) for token in tokens]
    whole = {token: BROKEN not in tokenizer.decode([token]) for token in {*tokens}}
    runs: list[tuple[int, int]] = []
    first = 0
    while first < len(tokens):
        stop = first + 1
        if not whole[tokens[first]]:
            ends = range(first + 2, min(first + _MOST_PARTS, len(tokens)) + 1)
            decoded = ((end, tokenizer.decode(tokens[first:end])) for end in ends)
            stop = next((end for end, text in decoded if BROKEN not in text), stop)
        runs.append((first, stop))
        first = stop
    return runs
