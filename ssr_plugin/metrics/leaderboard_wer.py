"""Words as the Open ASR leaderboard counts them.

Its normaliser is Whisper's (:func:`ssr_plugin.metrics.wer.whisper_words`) with rules of
its own: letters with full stops are one word ("U.S.A." is "usa"), and an ellipsis is a
blank. ``kinda``, ``sorta``, ``dunno`` and ``cause``, which the package
``whisper-normalizer`` also writes out, stay. They are the rules by which the sets of
``hf-audio/esb-datasets-test-only-sorted`` were scored; what the leaderboard added for
sets that came later (spellings of names, compounds) is not among them.
"""

import functools
import re

from ssr_plugin.metrics.wer import count_errors

# Contractions of whisper-normalizer that are not Whisper's.
_OTHERS = ("kinda", "sorta", "dunno", "cause")
#: What a transcript says instead of words where nothing is to be scored.
IGNORED = "ignore time segment in scoring"


def leaderboard_words(text):
    """The words of an English text after the leaderboard's normaliser.

    Arguments
    ---------
    text : str

    Returns
    -------
    list of str

    Example
    -------
    >>> leaderboard_words("The U.S. ... it's Mr. Brown, cause I'm kinda 20.")
    ['the', 'us', 'it', 'is', 'mister', 'brown', 'cause', 'i', 'am', 'kinda', '20']
    """
    text = text.lower()
    for pattern, replacement in _rules():
        text = pattern.sub(replacement, text)
    return _normalizer()(text).split()


def leaderboard_errors(reference, hypothesis):
    """Errors and words of one transcript.

    Arguments
    ---------
    reference, hypothesis : str

    Returns
    -------
    tuple of int
        Words that are wrong, missing or too many, and those of the reference.

    Example
    -------
    >>> leaderboard_errors("mister cat in the U.S.", "Mr. Cat, uh, in us")
    (1, 5)
    """
    said = leaderboard_words(reference)
    return count_errors(said, leaderboard_words(hypothesis)), len(said)


def is_scored(reference):
    """Whether the leaderboard scores an utterance of that transcript.

    Example
    -------
    >>> is_scored("the cat"), is_scored("[laughs]")
    (True, False)
    >>> is_scored("ignore_time_segment_in_scoring")
    False
    """
    words = leaderboard_words(reference)
    return bool(words) and " ".join(words) != IGNORED


@functools.cache
def _rules():
    """What is done to lower-case text before Whisper's normaliser, in turn."""
    rules = [(r"\.{3,}\s*$", ""), (r"\s*\.{3,}\s*", " ")]
    # Whisper's own first steps, which go before letters are joined.
    rules += [(r"[<\[][^>\]]*[>\]]", ""), (r"\(([^)]+?)\)", "")]
    rules += [(r"\b(hmm|mm|mhm|mmm|uh|um)\b", ""), (r"\s+'", "'")]
    rules += [_join(3, r"\.", r"\.s\b", "s")]
    rules += [_join(count, r"\.", r"\.?\b") for count in (4, 3, 2)]
    rules += [_join(count, r"\.\s+", r"\.\b") for count in (4, 3, 2)]
    rules += [_join(3, r"\.", r"\.'s\b", "s")]
    return [(re.compile(pattern), replacement) for pattern, replacement in rules]


def _join(count, between, end, added=""):
    """A rule by which so many letters become a word."""
    letters = between.join(["([a-z])"] * count)
    groups = "".join(rf"\{number + 1}" for number in range(count))
    return rf"\b{letters}{end}", groups + added


@functools.cache
def _normalizer():
    # Imported here: its tables are read from files.
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer = EnglishTextNormalizer()
    # Fillers are gone by then; letters that were joined to one ("U.M.") stay.
    normalizer.ignore_patterns = r"(?!)"
    others = {rf"\b{word}\b" for word in _OTHERS}
    normalizer.replacers = {
        pattern: replacement
        for pattern, replacement in normalizer.replacers.items()
        if pattern not in others
    }
    return normalizer
