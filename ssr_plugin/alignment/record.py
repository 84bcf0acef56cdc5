"""The alignment record: a transcript and when each of its units is spoken.

It knows nothing of any encoder or LLM: times are in seconds, and positions in the
transcript are character offsets.
"""

import dataclasses
import math
import operator
import unicodedata

KINDS = ("word", "char")

# Other tools round times to 10 ms. So neighbours overlap, and last words end after the
# audio, by about as much: that is no error.
TOLERANCE = 0.05

#: Letters and digits that may be said in a second. Talk has 10 to 20, an auctioneer 30.
MOST_LETTERS = 40.0

# What other aligners write for a word that their dictionary lacks.
UNKNOWN = ("<unk>", "<star>")


class AlignmentError(ValueError):
    """An utterance has no alignment, or one that does not fit it.

    Arguments
    ---------
    id : str
        The utterance.
    reason : str
        What is wrong, and what to do about it where that is known.

    Example
    -------
    >>> str(AlignmentError("utt-7", "empty transcript"))
    'utt-7: empty transcript'
    """

    def __init__(self, id, reason):
        super().__init__(id, reason)
        self.id = id
        self.reason = reason

    def __str__(self):
        return f"{self.id}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class Unit:
    """A span of the transcript with the time at which it is spoken.

    Arguments
    ---------
    text : str
        The span, as the transcript spells it.
    start, end : float
        Seconds from the start of the audio.
    offset : int
        Index in the transcript of the span's first character.
    confidence : float or None
        How probable it is that this was said, 0 to 1, to the recogniser that wrote it;
        None where the transcript was given.
    alternatives : tuple of (str, float)
        What else the recogniser took it for, and how probable that is, the likeliest
        first; "" for nothing at all.
    """

    text: str
    start: float
    end: float
    offset: int
    confidence: float | None = None
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Alignment:
    """One utterance's transcript and its units, in order.

    Arguments
    ---------
    id : str
        The utterance.
    text : str
        Its transcript, as given.
    units : tuple of Unit
        Words or characters. What is between two units is not spoken (blanks,
        punctuation) or not aligned.
    kind : str
        "word" or "char".
    duration : float
        Seconds of audio.
    cut_loops : int
        How often a recogniser, whose text it is, had said the same without end: of such
        a loop the text says but once.

    Raises
    ------
    AlignmentError
        If units are out of order, overlap, lie outside the audio, or do not spell
        the transcript where they say they do.

    Example
    -------
    >>> units = (Unit("Hi", 0.1, 0.3, 0), Unit("Bo", 0.5, 0.8, 4))
    >>> alignment = Alignment("utt-1", "Hi, Bo", units, "word", 1.0)
    >>> Alignment.from_json(alignment.to_json()) == alignment
    True
    >>> Alignment("utt-2", "Hi", (Unit("Ho", 0.1, 0.3, 0),), "word", 1.0)
    Traceback (most recent call last):
        ...
    ssr_plugin.alignment.record.AlignmentError: utt-2: unit 0 says 'Ho' where the \
transcript, at character 0, says 'Hi'
    """

    id: str
    text: str
    units: tuple[Unit, ...]
    kind: str
    duration: float
    cut_loops: int = 0

    def __post_init__(self):
        object.__setattr__(self, "units", tuple(self.units))
        if self.kind not in KINDS:
            raise AlignmentError(
                self.id, f"kind is '{self.kind}'; known: {', '.join(KINDS)}"
            )
        if not (math.isfinite(self.duration) and self.duration >= 0):
            raise AlignmentError(self.id, f"duration is {self.duration} s")
        index, time = 0, 0.0
        for i, unit in enumerate(self.units):
            self._check_unit(i, unit, index, time)
            index, time = unit.offset + len(unit.text), unit.end

    def _check_unit(self, i, unit, index, time):
        transcript = self.text[unit.offset : unit.offset + len(unit.text)]
        description = f"unit {i} ('{unit.text}', {unit.start} to {unit.end} s)"
        if unit.offset < index:
            raise AlignmentError(
                self.id,
                f"{description} is at character {unit.offset}, before the end of the "
                f"unit before it ({index})",
            )
        if not unit.text or transcript != unit.text:
            raise AlignmentError(
                self.id,
                f"unit {i} says '{unit.text}' where the transcript, at character "
                f"{unit.offset}, says '{transcript}'",
            )
        # Written so that NaN, which compares false, is refused too.
        if not unit.start <= unit.end:
            raise AlignmentError(self.id, f"{description} ends before it starts")
        if not unit.start >= time:
            raise AlignmentError(
                self.id,
                f"{description} starts before {time} s, where the one before it ends",
            )
        if not unit.end <= self.duration + TOLERANCE:
            raise AlignmentError(
                self.id, f"{description} ends after the audio ({self.duration} s)"
            )

    def to_json(self):
        """The alignment as a JSON-able dict.

        A unit is [text, start, end, offset]; of a recogniser's, its confidence and
        alternatives follow.
        """
        units = [
            [u.text, u.start, u.end, u.offset]
            + ([] if u.confidence is None else [u.confidence, u.alternatives])
            for u in self.units
        ]
        fields = {
            "id": self.id,
            "text": self.text,
            "kind": self.kind,
            "duration": self.duration,
            "units": units,
        }
        return {**fields, "cut_loops": self.cut_loops} if self.cut_loops else fields

    def check_rate(self):
        """Refuses what nobody could speak: a transcript squeezed into a piece of it.

        Raises
        ------
        AlignmentError
            If more than :data:`MOST_LETTERS` letters and digits would be said in a
            second, from the first unit to the last.

        Example
        -------
        >>> text = "good morning to you all"
        >>> Alignment("a", text, (Unit(text, 0.0, 0.4, 0),), "word", 1.0).check_rate()
        Traceback (most recent call last):
            ...
        ssr_plugin.alignment.record.AlignmentError: a: 19 letters in 0.40 s are more \
than anybody can say: the audio is cut short, or has another transcript
        """
        if not self.units:
            return
        seconds = self.units[-1].end - self.units[0].start
        # Not counted where there cannot be too many.
        if len(self.text) <= MOST_LETTERS * seconds:
            return
        count = sum(len({i for _, i in sayable(unit.text)}) for unit in self.units)
        if count > MOST_LETTERS * seconds:
            raise AlignmentError(
                self.id,
                f"{count} letters in {seconds:.2f} s are more than anybody can say: "
                f"the audio is cut short, or has another transcript",
            )

    def at_speed(self, speed):
        """The alignment of the same audio, played faster or slower.

        Arguments
        ---------
        speed : float
            Above 1 is faster.

        Returns
        -------
        Alignment

        Example
        -------
        >>> alignment = Alignment("a", "Hi", (Unit("Hi", 0.2, 0.4, 0),), "word", 1.0)
        >>> [(u.text, u.start, u.end) for u in alignment.at_speed(2.0).units]
        [('Hi', 0.1, 0.2)]
        """
        units = [
            dataclasses.replace(u, start=u.start / speed, end=u.end / speed)
            for u in self.units
        ]
        duration = self.duration / speed
        return dataclasses.replace(self, units=units, duration=duration)

    @classmethod
    def from_json(cls, fields):
        """The alignment that :meth:`to_json` wrote.

        Raises
        ------
        AlignmentError
            If a field is missing or does not fit the others.
        """
        try:
            units = tuple(_unit(*unit) for unit in fields["units"])
            return cls(
                fields["id"],
                fields["text"],
                units,
                fields["kind"],
                fields["duration"],
                operator.index(fields.get("cut_loops", 0)),
            )
        except (KeyError, TypeError) as error:
            id = fields.get("id", "?") if isinstance(fields, dict) else "?"
            raise AlignmentError(
                id, f"not an alignment record ({type(error).__name__}: {error})"
            ) from None

    @classmethod
    def from_units(cls, id, text, units, duration, kind="word"):
        """The alignment of a transcript with units that were spelt by another tool.

        Overlaps and overhangs of up to 50 ms, which come from rounding, are clipped.

        Arguments
        ---------
        id : str
        text : str
            The transcript.
        units : iterable of (str, float, float)
            Text, start (s), end (s), in order. Those with no letter or digit are
            dropped.
        duration : float
            Seconds of audio.
        kind : str

        Returns
        -------
        Alignment

        Raises
        ------
        AlignmentError
            If the units do not spell the transcript, or their times make no sense.

        Example
        -------
        >>> words = [("IT'S", 0.0, 0.31), ("FINE", 0.30, 0.6)]
        >>> alignment = Alignment.from_units("utt-1", "It’s fine!", words, 0.7)
        >>> [(u.text, u.start, u.end, u.offset) for u in alignment.units]
        [('It’s', 0.0, 0.31, 0), ('fine', 0.31, 0.6, 5)]
        """
        units = list(units)
        spans = locate(id, text, [spelling for spelling, _, _ in units])
        located, before = [], 0.0
        for span, (_, start, end) in zip(spans, units, strict=True):
            if span is None:
                continue
            if before - TOLERANCE <= start < before:
                start = before
            if start <= end + TOLERANCE:
                end = max(start, end)
            if duration < end <= duration + TOLERANCE:
                start, end = min(start, duration), duration
            located.append(Unit(text[slice(*span)], start, end, span[0]))
            before = end
        return cls(id, text, tuple(located), kind, duration)


def _unit(text, start, end, offset, confidence=None, alternatives=()):
    """A unit as JSON has it."""
    alternatives = tuple((str(other), float(p)) for other, p in alternatives)
    return Unit(text, start, end, offset, confidence, alternatives)


def sayable(text):
    """Characters that count when spellings are compared, each with its index.

    Case, punctuation, symbols and blanks do not count, nor does it matter whether an
    accented letter is one character or two.

    Arguments
    ---------
    text : str

    Returns
    -------
    list of (str, int)
        Character and its index in ``text``.

    Example
    -------
    >>> sayable("It’s!")
    [('i', 0), ('t', 1), ('s', 3)]
    """
    return [
        (base, i)
        for i, character in enumerate(text)
        for base in unicodedata.normalize("NFKD", character.casefold())
        if unicodedata.category(base)[0] in "LNM"
    ]


def locate(id, text, units):
    """Range of the transcript's characters that each unit covers.

    The units must spell the whole transcript, in order, but may cut it elsewhere than
    at its blanks ("man's" as "man" and "'s"). ``<unk>`` stands for one whole word.

    Arguments
    ---------
    id : str
        The utterance, for messages.
    text : str
        The transcript.
    units : list of str

    Returns
    -------
    list of (int, int) or None
        Half-open range of characters of each unit; None for one without any letter
        or digit.

    Raises
    ------
    AlignmentError
        If the two spell different things; it names the first such character.

    Example
    -------
    >>> locate("utt-1", "The man's well-known.", ["the", "man", "'s", "wellknown"])
    [(0, 3), (4, 7), (8, 9), (10, 20)]
    >>> locate("utt-1", "The man sat.", ["the", "men", "sat"])
    Traceback (most recent call last):
        ...
    ssr_plugin.alignment.record.AlignmentError: utt-1: transcript and alignment part \
ways at character 4: transcript '...man sat.', alignment '...men sat'
    """
    characters = sayable(text)
    spans, first = [], 0
    for i, unit in enumerate(units):
        if unit in UNKNOWN:
            following = "".join(units[i + 1 : i + 2])
            length = _unknown_length(text, characters[first:], following)
            matches = length > 0
        else:
            spelling = [character for character, _ in sayable(unit)]
            length = len(spelling)
            matches = spelling == [c for c, _ in characters[first : first + length]]
        if not matches:
            raise _mismatch(id, text, characters, first, units[i:])
        if length == 0:
            spans.append(None)
            continue
        last = first + length - 1
        spans.append((characters[first][1], characters[last][1] + 1))
        first += length
    if first < len(characters):
        raise _mismatch(id, text, characters, first, [])
    return spans


def _unknown_length(text, characters, following):
    """How many of the next characters an unknown unit stands for.

    It ends at the blank, or at an earlier break ("ne-plus-ultra" as "<unk>", "plus",
    "ultra") if the following unit starts there.
    """
    following = [character for character, _ in sayable(following)]
    for count in range(1, len(characters)):
        gap = text[characters[count - 1][1] + 1 : characters[count][1]]
        if any(character.isspace() for character in gap):
            return count
        ahead = [c for c, _ in characters[count : count + len(following)]]
        if gap and following and ahead == following:
            return count
    return len(characters)


def _mismatch(id, text, characters, first, units):
    index = characters[first][1] if first < len(characters) else len(text)
    units_text = " ".join(units[:5]) or "nothing more"
    return AlignmentError(
        id,
        f"transcript and alignment part ways at character {index}: transcript "
        f"'...{text[index : index + 30]}', alignment '...{units_text}'",
    )
