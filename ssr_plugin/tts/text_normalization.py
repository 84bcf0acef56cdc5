"""Texts as they are said aloud, and which of them had better not be."""

import re

from ssr_plugin.alignment.english import spoken_words

#: Longest text that is spoken, in words; about 40 s.
MAX_WORDS = 100
#: What may stand in a text besides letters, digits and blanks, and is read well.
MARKS = ".,;:!?'\"()-\u2013\u2014\u2018\u2019\u201c\u201d&%$"


def spoken_form(text):
    """The words that are said for an English text: what a transcript of it says.

    Arguments
    ---------
    text : str

    Returns
    -------
    str
        Lower case, without marks, numbers as words.

    Example
    -------
    >>> spoken_form("Mr. O'Neil paid $5 -- twice!")
    "mr o'neil paid five dollars twice"
    """
    spans = spoken_words(text, lambda word: False)
    return " ".join(word for span in spans for word in span.words)


def reads_badly(text, max_words=MAX_WORDS, marks=MARKS):
    """Why a text is not for reading aloud: formulas, symbols, blanks to fill, length.

    Arguments
    ---------
    text : str
    max_words : int
    marks : str
        What is read well besides letters and digits.

    Returns
    -------
    str or None
        The reason; None if there is none.

    Example
    -------
    >>> reads_badly("Find all c in Z_3 such that x^2 + c is a field.")
    'symbols: + ^ _'
    >>> reads_badly("The sun was rising.") is None
    True
    """
    words = text.split()
    if not re.search(r"[^\W\d_]", text):
        return "no words"
    if len(words) > max_words:
        return f"longer than {max_words} words"
    symbols = {
        character
        for character in text
        if not (character.isalnum() or character.isspace() or character in marks)
    }
    return f"symbols: {' '.join(sorted(symbols))}" if symbols else None
