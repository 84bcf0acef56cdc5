"""An aligner that is given a text's numbers in the words of its language."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ssr_plugin.alignment.base import Aligner, AlignmentItem
from ssr_plugin.alignment.number_words import find_numbers, number_language
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit
from ssr_plugin.languages import is_english, parse_language

# Of the words that numbers get; part of an aligner's settings.
_VERSION = 1


def with_number_words(aligner: Aligner, language: str | None) -> Aligner:
    """An aligner that finds numbers by how they are said.

    Arguments
    ---------
    aligner : Aligner
    language : str or None
        BCP-47 code of the transcripts; None where it is not known.

    Returns
    -------
    Aligner
        The same one, where it does not match letters with sounds
        (:attr:`Aligner.wants_words`), or ``num2words`` does not know the language; or
        of English, which has rules of its own.

    Example
    -------
    >>> from ssr_plugin.alignment.even import EvenAligner
    >>> with_number_words(EvenAligner(), "de").settings()["number_words"]
    {'language': 'de', 'version': 1}
    >>> "number_words" in with_number_words(EvenAligner(), "en").settings()
    False
    """
    if not aligner.wants_words or language is None or is_english(language):
        return aligner
    known = number_language(language) is not None
    return NumberWordsAligner(aligner, language) if known else aligner


class NumberWordsAligner(Aligner):
    """Gives an aligner texts whose numbers are in words, and tells times of the digits.

    Arguments
    ---------
    aligner : Aligner
        One that matches letters with sounds, and so finds words, not digits.
    language : str
        BCP-47 code.

    Example
    -------
    >>> import numpy as np
    >>> from ssr_plugin.alignment.even import EvenAligner
    >>> samples = np.full(16000, 0.5, dtype=np.float32)
    >>> item = AlignmentItem("a", "", "um 7!", samples=samples, sample_rate=16000)
    >>> [(u.text, u.end) for u in EvenAligner().align([item])[0].units]
    [('um', 0.6667), ('7!', 1.0)]
    >>> aligner = NumberWordsAligner(EvenAligner(), "de")
    >>> [(u.text, u.end) for u in aligner.align([item])[0].units]
    [('um', 0.25), ('7!', 1.0)]
    """

    def __init__(self, aligner: Aligner, language: str) -> None:
        self.aligner = aligner
        self.language = parse_language(language)
        # What others ask an aligner for.
        self.name = aligner.name  # type: ignore[misc]
        self.verb = aligner.verb  # type: ignore[misc]
        self.parallel = aligner.parallel  # type: ignore[misc]
        self.needs_text = aligner.needs_text  # type: ignore[misc]
        self.batch_size = aligner.batch_size

    def settings(self) -> dict[str, Any]:
        """See :meth:`Aligner.settings`."""
        words = {"language": self.language, "version": _VERSION}
        return {**self.aligner.settings(), "number_words": words}

    def doubt(self, texts: Sequence[str]) -> str | None:
        """See :meth:`Aligner.doubt`."""
        return self.aligner.doubt(texts)

    def align(self, items: Sequence[AlignmentItem]) -> list[Alignment | AlignmentError]:
        """See :meth:`Aligner.align`."""
        worded = [_Worded.of(item.text, self.language) for item in items]
        said = [
            dataclasses.replace(item, text=text.said)
            for item, text in zip(items, worded, strict=True)
        ]
        found = self.aligner.align(said)
        return [
            x if isinstance(x, AlignmentError) else text.as_written(x)
            for text, x in zip(worded, found, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class _Worded:
    """A text, the same with its numbers in words, and what stands where in both."""

    text: str
    said: str
    # Of each number, where it stands in the text, and its words in what is said.
    places: tuple[tuple[tuple[int, int], tuple[int, int]], ...]

    @classmethod
    def of(cls, text: str, language: str) -> _Worded:
        said, last, places = "", 0, []
        for span in find_numbers(text, language, strict=False):
            said += text[last : span.start]
            places.append(
                ((span.start, span.end), (len(said), len(said) + len(span.words)))
            )
            said += span.words
            last = span.end
        return cls(text, said + text[last:], tuple(places))

    def as_written(self, alignment: Alignment) -> Alignment:
        """The alignment of the text, from that of what is said."""
        if not self.places:
            return alignment
        units: list[Unit] = []
        for unit in alignment.units:
            start, stop = self._range(unit.offset, unit.offset + len(unit.text))
            last = units[-1] if units else None
            if last is not None and start < last.offset + len(last.text):
                # Another part of the same number.
                start, begin = last.offset, last.start
                units.pop()
            else:
                begin = unit.start
            units.append(Unit(self.text[start:stop], begin, unit.end, start))
        if alignment.kind == "char":
            units = [part for unit in units for part in _characters(unit)]
        return dataclasses.replace(alignment, text=self.text, units=tuple(units))

    def _range(self, start: int, stop: int) -> tuple[int, int]:
        """Where a range of what is said stands in the text; a number is whole."""
        shift_start = shift_stop = 0
        for (first, end), (said_first, said_end) in self.places:
            if said_end <= start:
                shift_start = end - said_end
            elif said_first < start:
                start, shift_start = said_first, first - said_first
            if said_end < stop:
                shift_stop = end - said_end
            elif said_first < stop:
                stop, shift_stop = said_end, end - said_end
        return start + shift_start, stop + shift_stop


def _characters(unit: Unit) -> list[Unit]:
    """A unit of several characters, each of its letters and digits by itself."""
    if len(unit.text) == 1:
        return [unit]
    kept = [i for i, character in enumerate(unit.text) if character.isalnum()]
    step = (unit.end - unit.start) / max(len(kept), 1)
    edges = [unit.start + step * i for i in range(len(kept))] + [unit.end]
    return [
        Unit(unit.text[i], edges[n], edges[n + 1], unit.offset + i)
        for n, i in enumerate(kept)
    ]
