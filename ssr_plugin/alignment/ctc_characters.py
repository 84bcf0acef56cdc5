"""Transcripts as a character CTC model spells them, and times back to characters."""

import dataclasses
import itertools
import unicodedata

# From this many seconds without a label on, it is a pause; the label before has ended.
PAUSE = 0.15


@dataclasses.dataclass(frozen=True)
class Spelling:
    """A transcript as the labels of a CTC model.

    Arguments
    ---------
    tokens : tuple of int
        CTC labels in order; word delimiters and stars included.
    spans : tuple of (int, int) or None
        For each label, the half-open range of transcript characters that it stands
        for; None for a word delimiter.
    """

    tokens: tuple[int, ...]
    spans: tuple[tuple[int, int] | None, ...]

    def spoken(self, values):
        """Drops the delimiters.

        Arguments
        ---------
        values : list
            One value for each label.

        Returns
        -------
        spans, values : list
            Those of the labels that stand for characters.

        Example
        -------
        >>> Spelling((5, 0, 6), ((0, 1), None, (2, 3))).spoken(["a", " ", "b"])
        ([(0, 1), (2, 3)], ['a', 'b'])
        """
        pairs = zip(self.spans, values, strict=True)
        characters = [(span, value) for span, value in pairs if span is not None]
        return [span for span, _ in characters], [value for _, value in characters]


def ctc_spelling(text, vocabulary, delimiter, star):
    """Spells a transcript in a model's characters.

    Case is the model's; accents are dropped where it has none. Each run of letters or
    digits outside its vocabulary becomes one star; punctuation outside it is dropped.

    Arguments
    ---------
    text : str
        The transcript.
    vocabulary : dict
        Character -> label.
    delimiter : int or None
        Label between words, if the model has one.
    star : int
        Label that stands for anything.

    Returns
    -------
    Spelling

    Example
    -------
    >>> vocabulary = {"A": 1, "B": 2, "E": 3, "'": 4}
    >>> spelling = ctc_spelling("Ab, bé’ 12", vocabulary, delimiter=9, star=5)
    >>> spelling.tokens
    (1, 2, 9, 2, 3, 4, 9, 5)
    >>> spelling.spans
    ((0, 1), (1, 2), None, (4, 5), (5, 6), (6, 7), None, (8, 10))
    """
    tokens, spans = [], []
    blank = False
    for i, character in enumerate(text):
        if character.isspace():
            blank = True
            continue
        token = _label(character, vocabulary, star)
        if token is None:
            continue
        if blank and tokens and delimiter is not None:
            tokens.append(delimiter)
            spans.append(None)
        joins = token == star and tokens and tokens[-1] == star and not blank
        if joins and spans[-1][1] == i:
            spans[-1] = (spans[-1][0], i + 1)
        else:
            tokens.append(token)
            spans.append((i, i + 1))
        blank = False
    return Spelling(tuple(tokens), tuple(spans))


def _label(character, vocabulary, star):
    straight = {"’": "'", "‘": "'"}.get(character, character)
    base = unicodedata.normalize("NFKD", straight)[0]
    for form in (straight, base):
        for cased in (form, form.lower(), form.upper()):
            if cased in vocabulary:
                return vocabulary[cased]
    return star if unicodedata.category(character)[0] in "LN" else None


def unknown_letters(text, vocabulary):
    """The letters of a text that a model's vocabulary lacks, in any form.

    Arguments
    ---------
    text : str
        The transcript.
    vocabulary : dict
        Character -> label.

    Returns
    -------
    list of str
        Each occurrence, in the order of the text; digits do not count.

    Example
    -------
    >>> unknown_letters("Да, bé 1 да", {"B": 1, "E": 2})
    ['Д', 'а', 'д', 'а']
    """
    return [
        c
        for c in text
        if unicodedata.category(c)[0] == "L" and _label(c, vocabulary, None) is None
    ]


def label_times(runs, step, start_offset=0.0, end_offset=0.0):
    """Times of the labels that CTC finds.

    CTC shows where a label is most certain, not how long it sounds. Here a label lasts
    until the next begins or, before a pause, until CTC's label ends plus an offset.

    Arguments
    ---------
    runs : iterable of (int, int)
        Half-open range of states of each label, those between words left out.
    step : float
        Seconds of a state.
    start_offset, end_offset : float
        Added to every start, and to the ends before pauses, in ms.

    Returns
    -------
    list of (float, float)
        Start and end in s.

    Example
    -------
    >>> times = label_times([(5, 6), (10, 11), (30, 32)], 0.02, -10.0, 40.0)
    >>> [(round(start, 2), round(end, 2)) for start, end in times]
    [(0.09, 0.19), (0.19, 0.26), (0.59, 0.68)]
    """
    runs = [(first * step, stop * step) for first, stop in runs]
    times = []
    for (start, end), after in itertools.zip_longest(runs, runs[1:]):
        following = after[0] if after else float("inf")
        last = following + start_offset / 1000
        if following - end > PAUSE:
            last = min(end + end_offset / 1000, last)
        times.append((start + start_offset / 1000, last))
    return times


def spread_characters(spans, times, duration):
    """Spreads the times of labels over their characters, without overlaps.

    Arguments
    ---------
    spans : list of (int, int)
        Characters that each label stands for; those of one label share its time
        evenly.
    times : list of (float, float)
        Start and end of each label in s. Starts must not decrease, nor ends.
    duration : float
        Seconds of audio.

    Returns
    -------
    list of (int, float, float)
        Character's index, start and end. Where two overlap, they meet half-way.

    Example
    -------
    >>> spread_characters([(0, 1), (1, 3)], [(-0.1, 0.3), (0.2, 0.65)], 0.65)
    [(0, 0.0, 0.25), (1, 0.25, 0.45), (2, 0.45, 0.65)]
    """
    times = [[min(max(t, 0.0), duration) for t in pair] for pair in times]
    for pair in times:
        pair[1] = max(pair)
    for before, after in zip(times, times[1:], strict=False):
        if before[1] > after[0]:
            middle = (before[1] + after[0]) / 2
            # Where an overlap is longer than the character, it keeps some of the time.
            middle = min(max(middle, before[0]), after[1])
            before[1] = after[0] = middle
    characters = []
    for (first, last), (start, end) in zip(spans, times, strict=True):
        step = (end - start) / (last - first)
        edges = [round(start + k * step, 6) for k in range(last - first)]
        edges.append(round(end, 6))
        characters += zip(range(first, last), edges, edges[1:], strict=False)
    return characters
