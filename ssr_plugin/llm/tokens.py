"""Tokens of a text that stands amid others."""

from transformers import PreTrainedTokenizerFast

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
