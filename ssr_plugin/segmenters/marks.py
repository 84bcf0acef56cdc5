"""A hypothesis with and without its punctuation."""

import dataclasses
import unicodedata

from ssr_plugin.alignment.record import Alignment


def as_read(hypothesis: Alignment, marks: bool) -> Alignment:
    """What the LLM reads of a hypothesis: with its marks, or :func:`without_marks`."""
    return hypothesis if marks else without_marks(hypothesis)


def without_marks(alignment: Alignment) -> Alignment:
    """An alignment's words without punctuation; a hyphen parts two words.

    Apostrophes inside a word stay. A unit of marks alone is left out.

    Arguments
    ---------
    alignment : ssr_plugin.alignment.record.Alignment

    Returns
    -------
    ssr_plugin.alignment.record.Alignment

    Example
    -------
    >>> from ssr_plugin.alignment.record import Unit
    >>> units = Unit("Well-known,", 0.0, 0.6, 0), Unit("it\u2019s", 0.6, 0.9, 12)
    >>> said = Alignment("", "Well-known, it\u2019s", units, "word", 1.0)
    >>> [(unit.text, unit.offset) for unit in without_marks(said).units]
    [('Well known', 0), ("it's", 11)]
    """
    text, units, end = "", [], 0
    for unit in alignment.units:
        words = words_of(unit.text)
        gap = alignment.text[end : unit.offset]
        end = unit.offset + len(unit.text)
        if not words:
            continue
        text += " " if text and gap else ""
        units.append(
            dataclasses.replace(
                unit,
                text=words,
                offset=len(text),
                alternatives=tuple(
                    (words_of(other), probability)
                    for other, probability in unit.alternatives
                ),
            )
        )
        text += words
    return dataclasses.replace(alignment, text=text, units=tuple(units))


def words_of(text: str) -> str:
    """The words of a text, with one blank between two.

    Example
    -------
    >>> words_of("Well-known: 'it\u2019s' here!")
    "Well known it's here"
    """
    text = text.replace("\u2019", "'")
    kept = "".join(x if _is_letter(x) or x == "'" else " " for x in text)
    return " ".join(word.strip("'") for word in kept.split() if word.strip("'"))


def _is_letter(character: str) -> bool:
    """Whether it is a letter, a digit, or part of one, as an accent is."""
    return unicodedata.category(character)[0] in "LNM"
