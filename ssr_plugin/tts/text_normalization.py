"""Texts as they are said aloud, and which of them had better not be."""

import re
import unicodedata

from ssr_plugin.alignment.english import spoken_words
from ssr_plugin.languages import ENGLISH, is_english, word_spans
from ssr_plugin.tts.verbalizing import Unsayable, verbalize

#: Longest text that is spoken, in words; about 40 s.
MAX_WORDS = 100


def spoken_form(text, language=ENGLISH):
    """The words that are said for a text: what a transcript of it says.

    Arguments
    ---------
    text : str
    language : str
        BCP-47 code.

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
    >>> spoken_form("Öl für 5 €, aujourd’hui!", "de")
    "öl für fünf euro aujourd'hui"
    """
    try:
        said = verbalize(text, language)
        return _words(said) if is_english(language) else _letters(said)
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


def _letters(text):
    """The words of a text in any script, lower case; no mark but apostrophes inside."""
    text = unicodedata.normalize("NFC", text).replace("’", "'").lower()
    kept = "".join(c if c.isalpha() or c == "'" or _is_accent(c) else " " for c in text)
    return " ".join(word.strip("'") for word in kept.split() if word.strip("'"))


def _is_accent(character):
    return unicodedata.category(character)[0] == "M"


def reads_badly(text, max_words=MAX_WORDS, language=ENGLISH):
    """Why a text is not for reading aloud: formulas, symbols, blanks to fill, length.

    Arguments
    ---------
    text : str
    max_words : int
        Letters count, where no blanks part words.
    language : str
        BCP-47 code.

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
    if len(word_spans(text)) > max_words:
        return f"longer than {max_words} words"
    try:
        verbalize(text, language)
    except Unsayable as error:
        return str(error)
    return None
