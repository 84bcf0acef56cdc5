"""Options with letters, as multiple-choice sets write them into their questions."""

import re
import string
from collections.abc import Iterable

_MARK = r"\(?(?P<letter>[A-J])[.):]\)?[^\S\n]+"
# Each option on a line of its own, or one after another in a line.
_FORMS = (
    re.compile(rf"^[^\S\n]*{_MARK}", re.MULTILINE),
    re.compile(rf"(?<!\S){_MARK}"),
)
_ANSWER = re.compile(r"\W*(?P<letter>[A-J])\b")


def parse_options(text: str) -> list[str]:
    """The options that stand in a text, by their letters from A on.

    They are marked as ``A. cat``, ``A) cat``, ``A: cat`` or ``(A) cat``, one a line or
    one after another. What comes after the last one's line is no option.

    Arguments
    ---------
    text : str
        A question with two options or more, up to ten.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If there are none, or one is empty.

    Example
    -------
    >>> parse_options("Who sat?\\nA. the cat\\nB. a dog\\nPlease choose one.")
    ['the cat', 'a dog']
    >>> parse_options("Who sat, Mr. A. Smith? A) he B) she C) it")
    ['he', 'she', 'it']
    >>> parse_options("Who sat?")
    Traceback (most recent call last):
        ...
    ValueError: there are no options, such as 'A. cat' and 'B. dog', in 'Who sat?'
    """
    for form in _FORMS:
        marks = _in_order(form.finditer(text))
        if len(marks) < 2:
            continue
        ends = [mark.start() for mark in marks[1:]]
        last = text.find("\n", marks[-1].end())
        ends.append(len(text) if last < 0 else last)
        options = [
            text[mark.end() : end].strip().rstrip(";,").rstrip()
            for mark, end in zip(marks, ends, strict=True)
        ]
        if not all(options):
            raise ValueError(
                f"option {string.ascii_uppercase[options.index('')]} is empty in "
                f"{text!r}"
            )
        return options
    raise ValueError(
        f"there are no options, such as 'A. cat' and 'B. dog', in {text!r}"
    )


def _in_order(found: Iterable[re.Match[str]]) -> list[re.Match[str]]:
    """Of all marks those of the letters in turn, from the last A before a B on."""
    marks: list[re.Match[str]] = []
    for mark in found:
        if mark["letter"] == "A" and len(marks) <= 1:
            marks = [mark]
        elif marks and mark["letter"] == string.ascii_uppercase[len(marks)]:
            marks.append(mark)
    return marks


def option_letters(count: int) -> list[str]:
    """The letters of so many options, as they follow "Answer:".

    Example
    -------
    >>> option_letters(3)
    [' A', ' B', ' C']
    """
    return [f" {letter}" for letter in string.ascii_uppercase[:count]]


def parse_letter(text: str, count: int) -> int:
    """Which option an answer such as "B", "B." or "(B) a dog" means.

    Arguments
    ---------
    text : str
    count : int
        How many options there are.

    Returns
    -------
    int
        From 0.

    Raises
    ------
    ValueError
        If it is the letter of none of them.

    Example
    -------
    >>> parse_letter("B", 4), parse_letter("(A) the cat", 4)
    (1, 0)
    >>> parse_letter("E", 4)
    Traceback (most recent call last):
        ...
    ValueError: the answer 'E' is the letter of none of 4 options
    """
    match = _ANSWER.match(text)
    index = -1 if match is None else string.ascii_uppercase.index(match["letter"])
    if not 0 <= index < count:
        raise ValueError(
            f"the answer {text!r} is the letter of none of {count} options"
        )
    return index
