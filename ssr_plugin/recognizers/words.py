"""From a recogniser's tokens to units of a text with times and confidences."""

import dataclasses
import itertools
import math
import re
import unicodedata
from collections.abc import Sequence

from speechbrain.utils.edit_distance import EDIT_SYMBOLS, alignment, op_table

from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.languages import is_undivided

# A phrase of up to so many words, said more often than that in a row, is a loop of the
# recogniser's: people who repeat themselves stop before.
_LOOP_WORDS, _LOOP_TIMES = 8, 4
# The same inside a word ("hahaha..."), of up to so many letters. Some repeat themselves
# there (a laugh, the zeros of a number), but not over so many letters in all.
_REPEATS = re.compile(rf"(\S{{1,32}}?)\1{{{_LOOP_TIMES},}}")
_LOOP_LETTERS = 24
# What else a longer word may be is not asked: each answer is as long.
_LONGEST_WORD = 100


@dataclasses.dataclass(frozen=True)
class Piece:
    """A token of a recogniser.

    Arguments
    ---------
    text : str
        What it adds to the text, blanks included.
    start, end : float
        When it is said, s.
    log_prob : float
        How probable the recogniser found it, in nats.
    others : tuple of (str, float)
        What might stand in its place, blanks included, and how probable that is.
    """

    text: str
    start: float
    end: float
    log_prob: float
    others: tuple[tuple[str, float], ...] = ()


def to_hypothesis(pieces: Sequence[Piece], duration: float) -> Alignment:
    """What a recogniser's tokens say, word by word, without endless repeats.

    A word's confidence is the product of the probabilities of its tokens, marks left
    out, and that of the same word in another case. Of a script without blanks, each
    token is a unit.

    Arguments
    ---------
    pieces : list of Piece
        In order.
    duration : float
        Of the audio, s: no word ends later.

    Returns
    -------
    ssr_plugin.alignment.record.Alignment
        With id "".

    Example
    -------
    >>> pieces = [Piece(" he", 0.1, 0.3, -0.1), Piece("llo", 0.3, 0.5, -0.2)]
    >>> hypothesis = to_hypothesis([*pieces, Piece(",", 0.5, 0.9, -3.0)], 1.0)
    >>> (unit,) = hypothesis.units
    >>> hypothesis.text, unit.text, unit.end, round(unit.confidence, 2)
    ('hello,', 'hello,', 0.5, 0.74)
    """
    units: list[Unit] = []
    gaps: list[str] = []
    masses: list[dict[str, float]] = []
    gap = ""
    said_once, num_loops = _without_repeats(pieces)
    for piece in said_once:
        said = piece.text.strip()
        gap += piece.text[: len(piece.text) - len(piece.text.lstrip())]
        if not said:
            continue
        sounds = any(letter.isalnum() for letter in said)
        probability = math.exp(piece.log_prob) if sounds else 1.0
        start = min(max(piece.start, units[-1].end if units else 0.0), duration)
        end = min(max(piece.end, start), duration)
        begins = not units or bool(gap)
        if not begins and sounds and not _is_mark(said[0]):
            begins = is_undivided(units[-1].text + said)
        if begins:
            # A mark alone takes no time: what follows begins where it stands.
            units.append(Unit(said, start, end if sounds else start, 0, probability))
            gaps.append(gap if units[1:] else "")
            masses.append({})
            before, sure = "", 1.0
        else:
            last = units[-1]
            assert last.confidence is not None
            before, sure = last.text, last.confidence
            units[-1] = dataclasses.replace(
                last,
                text=before + said,
                end=end if sounds else last.end,
                confidence=sure * probability,
            )
        asked = sounds and len(before) <= _LONGEST_WORD
        for other, share in piece.others if asked else ():
            word = _word_with(other, before, begins)
            if word:
                masses[-1][word] = masses[-1].get(word, 0.0) + sure * share
        gap = piece.text[len(piece.text.rstrip()) :]
    for i, mass in enumerate(masses):
        # The same word in another case.
        same = mass.pop(bare(units[i].text), 0.0)
        sure = min((units[i].confidence or 0.0) + same, 1.0)
        ranked = tuple(sorted(mass.items(), key=lambda item: -item[1]))
        units[i] = dataclasses.replace(units[i], confidence=sure, alternatives=ranked)
    kept = without_loops(units)
    # Each leaves a gap behind what is said once.
    num_loops += sum(b - a > 1 for a, b in itertools.pairwise([*kept, len(units)]))
    text = ""
    placed: list[Unit] = []
    for i in kept:
        text += gaps[i] if placed else ""
        placed.append(dataclasses.replace(units[i], offset=len(text)))
        text += units[i].text
    return Alignment("", text, tuple(placed), "word", duration, num_loops)


def _without_repeats(pieces: Sequence[Piece]) -> tuple[list[Piece], int]:
    """Pieces whose text says but once what it repeats without end inside a word.

    How many such loops there were comes with them.
    """
    text = "".join(piece.text for piece in pieces)
    loops = [
        (match.end(1), match.end())
        for match in _REPEATS.finditer(text)
        if match.end() - match.start() >= _LOOP_LETTERS
    ]
    if not loops:
        return list(pieces), 0
    kept: list[Piece] = []
    end = 0
    for piece in pieces:
        begin, end = end, end + len(piece.text)
        left = "".join(
            letter
            for i, letter in enumerate(piece.text, start=begin)
            if not any(first <= i < last for first, last in loops)
        )
        if left:
            kept.append(dataclasses.replace(piece, text=left))
    return kept, len(loops)


def _is_mark(character: str) -> bool:
    """Whether it belongs to the letter before it, as a vowel above it does."""
    return unicodedata.category(character)[0] == "M"


def _word_with(token: str, before: str, begins: bool) -> str:
    """The word, or its beginning, that another token would have made of it."""
    said = bare(token)
    if begins:
        return said
    # A blank ends the word; so does a mark.
    return bare(before) if token[:1].isspace() or not said else bare(before) + said


def without_loops(units: Sequence[Unit]) -> list[int]:
    """Which of a text's units are left, if endless repeats are said but once.

    Arguments
    ---------
    units : list of Unit

    Returns
    -------
    list of int
        Their indices.

    Example
    -------
    >>> units = [Unit(x, 0.0, 1.0, 0) for x in "no no so it it it it it it".split()]
    >>> without_loops(units)
    [0, 1, 2, 3]
    """
    words = [bare(unit.text) for unit in units]
    kept: list[int] = []
    i = 0
    while i < len(words):
        for size in range(1, _LOOP_WORDS + 1):
            phrase, times = words[i : i + size], 1
            while words[i + times * size : i + (times + 1) * size] == phrase:
                times += 1
            if times > _LOOP_TIMES:
                kept += range(i, i + size)
                i += times * size
                break
        else:
            kept.append(i)
            i += 1
    return kept


def join(parts: Sequence[tuple[float, Alignment]], duration: float) -> Alignment:
    """What is said in a recording, from what is said in its parts.

    Arguments
    ---------
    parts : list of (float, ssr_plugin.alignment.record.Alignment)
        When each begins, s, and what it says.
    duration : float
        Of the whole, s.

    Returns
    -------
    ssr_plugin.alignment.record.Alignment

    Example
    -------
    >>> part = Alignment("", "hi", (Unit("hi", 0.1, 0.2, 0),), "word", 1.0)
    >>> whole = join([(0.0, part), (1.0, part)], 2.0)
    >>> whole.text, [(unit.start, unit.offset) for unit in whole.units]
    ('hi hi', [(0.1, 0), (1.1, 3)])
    """
    text, units = "", []
    for begin, part in parts:
        if text and part.text and not is_undivided(text[-1] + part.text[0]):
            text += " "
        for unit in part.units:
            start, end = (min(x + begin, duration) for x in (unit.start, unit.end))
            offset = unit.offset + len(text)
            units.append(dataclasses.replace(unit, start=start, end=end, offset=offset))
        text += part.text
    num_loops = sum(part.cut_loops for _, part in parts)
    return Alignment("", text, tuple(units), "word", duration, num_loops)


def bare(text: str) -> str:
    """A word as others are compared with it: in lower case, without marks.

    Example
    -------
    >>> bare("Don't,")
    "don't"
    """
    kept = "".join(x for x in text if x.isalnum() or x in "'\u2019 ")
    return kept.replace("\u2019", "'").strip("' ").lower()


def add_alternatives(
    best: Alignment,
    others: Sequence[Alignment],
    posteriors: Sequence[float],
) -> Alignment:
    """A hypothesis, each of whose words knows what others have in its place.

    Arguments
    ---------
    best : ssr_plugin.alignment.record.Alignment
    others : list of ssr_plugin.alignment.record.Alignment
        Other hypotheses of the same audio.
    posteriors : list of float
        How probable each of them is.

    Returns
    -------
    ssr_plugin.alignment.record.Alignment

    Example
    -------
    >>> units = Unit("a", 0, 1, 0, 0.9), Unit("cat", 1, 2, 2, 0.5)
    >>> best = Alignment("", "a cat", units, "word", 2.0)
    >>> units = Unit("a", 0, 1, 0, 0.9), Unit("hat", 1, 2, 2, 0.2)
    >>> other = Alignment("", "a hat", units, "word", 2.0)
    >>> [x.alternatives for x in add_alternatives(best, [other], [0.25]).units]
    [(), (('hat', 0.25),)]
    """
    if not others:
        return best
    words = [bare(unit.text) for unit in best.units]
    masses: list[dict[str, float]] = [{} for _ in words]
    for other, posterior in zip(others, posteriors, strict=True):
        theirs = [bare(unit.text) for unit in other.units]
        places: list[list[str]] = [[] for _ in words]
        place = 0
        for operation, i, j in alignment(op_table(words, theirs)):
            place = place if i is None else i
            if places and operation != EDIT_SYMBOLS["del"]:
                places[place].append(theirs[j])
        for mass, word, said in zip(masses, words, places, strict=True):
            text = " ".join(said)
            if text != word:
                mass[text] = mass.get(text, 0.0) + posterior
    units = [
        dataclasses.replace(
            unit,
            alternatives=tuple(sorted(mass.items(), key=lambda item: -item[1])),
        )
        for unit, mass in zip(best.units, masses, strict=True)
    ]
    return dataclasses.replace(best, units=tuple(units))
