"""Results as lines: for people, for ``cut`` and for ``json.loads``."""

import json
import sys

from tqdm import tqdm

from ssr_plugin.files import printable


def show_line(text):
    """Prints a text above a progress bar, names of files that are not UTF-8, too."""
    tqdm.write(printable(text), file=sys.stdout)


def show_fields(*fields):
    """Prints a line of tab-separated fields, above a progress bar if there is one.

    Example
    -------
    >>> show_fields("a.wav", 0.5, "hello")
    a.wav	0.500	hello
    """
    texts = (f"{x:.3f}" if isinstance(x, float) else str(x) for x in fields)
    show_line("\t".join(texts))


def show_json(record):
    """Prints a line of JSON."""
    show_line(json.dumps(record, ensure_ascii=False))


def show_text(path, text, alone):
    """Prints a text: alone as it is, else in one line after its path."""
    if alone:
        show_fields(text)
    else:
        show_fields(path, " ".join(text.split()))


def spell_tokens(tokenizer, tokens):
    """What each token adds to the text before it, blanks included.

    Arguments
    ---------
    tokenizer : transformers.PreTrainedTokenizerFast
    tokens : list of int

    Returns
    -------
    list of str

    Example
    -------
    >>> tokenizer = getfixture("tiny_tokenizer")
    >>> spell_tokens(tokenizer, tokenizer("the cat").input_ids)
    ['', ' the', ' cat']
    """

    def decode(ids):
        return tokenizer.decode(ids, skip_special_tokens=True)

    # The first token of a text may lose its blank; the second of two has it.
    added = {token: decode([token] * 2)[len(decode([token])) :] for token in tokens}
    return [added[token] for token in tokens]


def token_records(tokenizer, speech):
    """The tokens of a speech as JSON has them: id, text, start and end in s.

    Arguments
    ---------
    tokenizer : transformers.PreTrainedTokenizerFast
    speech : Speech

    Returns
    -------
    list of dict
    """
    spellings = spell_tokens(tokenizer, speech.tokens)
    times = zip(speech.tokens, spellings, speech.starts, speech.ends, strict=True)
    return [
        {"id": id, "text": spelling, "start": start, "end": end}
        for id, spelling, start, end in times
    ]


def timed_words(speech, tokenizer):
    """The words of the tokens, joined where there is no blank between them.

    Arguments
    ---------
    speech : Speech
    tokenizer : transformers.PreTrainedTokenizerFast

    Returns
    -------
    list of (str, float, float)
        Word, start and end in s.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> tokenizer = getfixture("tiny_tokenizer")
    >>> ids = tokenizer.convert_tokens_to_ids(["the", "cat"])
    >>> speech = SimpleNamespace(tokens=ids, starts=[0.0, 0.5], ends=[0.5, 0.9])
    >>> timed_words(speech, tokenizer)
    [('the', 0.0, 0.5), ('cat', 0.5, 0.9)]
    """
    words = []
    for text, start, end in zip(
        spell_tokens(tokenizer, speech.tokens), speech.starts, speech.ends, strict=True
    ):
        if not text.strip():
            continue
        if words and not text[0].isspace():
            text, start = words[-1][0] + text, words.pop()[1]
        words.append((text, start, end))
    return [("".join(text.split()), start, end) for text, start, end in words]
