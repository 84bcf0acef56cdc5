"""Results as lines: for people, for ``cut`` and for ``json.loads``."""

import json
import sys

from tqdm import tqdm

from ssr_plugin.files import printable
from ssr_plugin.languages import word_spans


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

    Of tokens that are parts of a character, the last adds it.

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

    from ssr_plugin.llm.tokens import character_runs

    def decode(ids):
        return tokenizer.decode(ids, skip_special_tokens=True)

    # The first token of a text may lose its blank; the second of two has it.
    spellings = []
    for first, stop in character_runs(tokenizer, tokens):
        run = [*tokens[first:stop]]
        added = decode(run * 2)[len(decode(run)) :]
        spellings += [""] * (len(run) - 1) + [added]
    return spellings


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
    """The words of the tokens: what blanks part, and of some scripts each letter.

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
    spellings = spell_tokens(tokenizer, speech.tokens)
    # When the token begins and ends that each character is of.
    text, times, begun = "", [], None
    for spelling, start, end in zip(spellings, speech.starts, speech.ends, strict=True):
        begun = start if begun is None else begun
        if spelling:
            text += spelling
            times += [(begun, end)] * len(spelling)
            begun = None
    return [
        (text[first:stop], times[first][0], times[stop - 1][1])
        for first, stop in word_spans(text)
    ]
