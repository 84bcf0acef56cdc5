"""Texts as they are said aloud, and which of them had better not be."""

import re

from ssr_plugin.alignment.english import spoken_words
from ssr_plugin.tts.verbalizing import Unsayable, verbalize

#: Longest text that is spoken, in words; about 40 s.
MAX_WORDS = 100


def spoken_form(text):
    """The words that are said for an English text: what a transcript of it says.

    Arguments
    ---------
    text : str

    Returns
    -------
    str or None
        Lower case, without marks, numbers and symbols as words; None if something in
        the text cannot be put into words.

    Example
    -------
    >>> spoken_form("Mr. O'Neil paid $5 -- twice!")
    "mister o'neil paid five dollars twice"
    >>> spoken_form("x^2") is None
    True
    """
    try:
        return _words(verbalize(text))
    except Unsayable:
        return None


def transcript_of(text):
    """The words of an English text that was said by others, who knows how.

    Arguments
    ---------
    text : str

    Returns
    -------
    str
        As :func:`spoken_form`; where that has none, symbols are left out.

    Example
    -------
    >>> transcript_of("He paid $5."), transcript_of("Read a/b!")
    ('he paid five dollars', 'read a b')
    """
    found = spoken_form(text)
    return _words(text) if found is None else found


def _words(text):
    spans = spoken_words(text, lambda word: False)
    return " ".join(word for span in spans for word in span.words)


def reads_badly(text, max_words=MAX_WORDS):
    """Why a text is not for reading aloud: formulas, symbols, blanks to fill, length.

    Arguments
    ---------
    text : str
    max_words : int

    Returns
    -------
    str or None
        The reason; None if there is none: then :func:`spoken_form` has its words.

    Example
    -------
    >>> reads_badly("Find all c in Z_3 such that x^2 + c is a field.")
    'numbers: Z_3'
    >>> reads_badly("The sun was rising.") is None
    True
    """
    if not re.search(r"[^\W\d_]", text):
        return "no words"
    if len(text.split()) > max_words:
        return f"longer than {max_words} words"
    try:
        verbalize(text)
    except Unsayable as error:
        return str(error)
    return None
