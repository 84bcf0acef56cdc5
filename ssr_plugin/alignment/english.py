"""English transcripts as they are spoken: words, numbers, and how each is pronounced.

Pronunciations are in the phones of the CMU dictionary (ARPAbet without stress).
"""

import dataclasses
import functools
import re
import unicodedata

MARKS = "\u0300-\u036f"
WORD = rf"[^\W_{MARKS}][^\W_]*"  # accents may follow a letter, not lead
DASHES = re.compile(r"[-\u2010-\u2015/\u2026_]+|\.{2,}")
CORE = re.compile(rf"(?:{WORD})(?:.*(?:[^\W_]|[{MARKS}]))?", re.DOTALL)
PIECE = re.compile(rf"[^\W_](?:[^\W_]|[{MARKS}'])*")
RUN = re.compile(r"\d+|[^\W\d_]+")
PLAIN_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

# gruut's IPA for American English; stress is marked before the vowel.
ARPABET = {
    "ɑ": "AA", "æ": "AE", "ʌ": "AH", "ə": "AH", "ɔ": "AO", "aʊ": "AW", "aɪ": "AY",
    "ɛ": "EH", "ɚ": "ER", "ɝ": "ER", "eɪ": "EY", "ɪ": "IH", "i": "IY", "oʊ": "OW",
    "ɔɪ": "OY", "ʊ": "UH", "u": "UW", "b": "B", "t͡ʃ": "CH", "d": "D", "ð": "DH",
    "f": "F", "ɡ": "G", "h": "HH", "d͡ʒ": "JH", "k": "K", "l": "L", "m": "M",
    "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "s": "S", "ʃ": "SH", "t": "T",
    "θ": "TH", "v": "V", "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SpokenSpan:
    """A span of a transcript and the words that are said for it.

    Arguments
    ---------
    start, end : int
        Half-open range of characters.
    words : tuple of str
        Lower case; several for a number, else one.
    """

    start: int
    end: int
    words: tuple[str, ...]


def spoken_words(text, is_word):
    """Cuts a transcript into spans that are spoken as words.

    Blanks, dashes and slashes separate; other punctuation is dropped, save where the
    dictionary spells a word with it. Every letter or digit belongs to some span.

    Arguments
    ---------
    text : str
        The transcript, any case.
    is_word : callable
        Whether the dictionary has a (lower-case) word.

    Returns
    -------
    list of SpokenSpan

    Example
    -------
    >>> known = {"mr", "o'neil", "pays", "five", "dollars"}.__contains__
    >>> for s in spoken_words("Mr. O’Neil--pays $5!", known):
    ...     print(s.start, s.end, *s.words)
    0 2 mr
    4 10 o'neil
    12 16 pays
    18 19 five dollars
    """
    spoken = []
    for chunk in re.finditer(r"\S+", text):
        start = chunk.start()
        for dash in [*DASHES.finditer(chunk.group()), None]:
            end = chunk.start() + dash.start() if dash else chunk.end()
            spoken.extend(_spoken(text, start, end, is_word))
            start = chunk.start() + dash.end() if dash else end
    return spoken


def _spoken(text, start, end, is_word):
    core = CORE.search(text, start, end)
    if core is None:
        return []
    with_marks, stripped = _spelling(text[start:end]), _spelling(core.group())
    # "'tis" and "u.s." are in the dictionary with their punctuation.
    for spelling in (stripped, "'" + stripped, stripped + "."):
        if spelling in with_marks and is_word(spelling):
            return [SpokenSpan(*core.span(), (spelling,))]
    plain = _without_accents(stripped)
    if is_word(plain):
        return [SpokenSpan(*core.span(), (plain,))]
    if any(character.isnumeric() for character in stripped):
        return [SpokenSpan(*core.span(), spoken_number(with_marks))]
    # One character of the text may be several in the spelling, so pieces are cut
    # from the text itself.
    pieces = PIECE.finditer(text.replace("’", "'"), *core.span())
    spans = [(p.start(), p.start() + len(p.group().rstrip("'"))) for p in pieces]
    return [SpokenSpan(a, b, (_spelling(text[a:b]),)) for a, b in spans]


def _spelling(text):
    return unicodedata.normalize("NFC", text).replace("’", "'").lower()


def _without_accents(text):
    characters = unicodedata.normalize("NFKD", text)
    return "".join(c for c in characters if not unicodedata.combining(c))


def foreign_letters(text):
    """The letters of a text that are not Latin: no English word is spelt with them.

    Accents and other Latin letters (é, ß, ø) are accepted: names have them.

    Arguments
    ---------
    text : str

    Returns
    -------
    str
        Each once, in the order of the text.

    Example
    -------
    >>> foreign_letters("Он said ‘naïve’, in ½ hour: он!")
    'Оно'
    """
    letters = [
        c for c in text if any(map(_is_foreign, unicodedata.normalize("NFKD", c)))
    ]
    return "".join(dict.fromkeys(letters))


def _is_foreign(character):
    # Modifiers (Lm), such as the mark in Hawaiʻi, have no sound of their own.
    is_letter = unicodedata.category(character) in ("Lu", "Ll", "Lt", "Lo")
    return is_letter and "LATIN" not in unicodedata.name(character, "")


def unknown_share(texts, is_word):
    """Share of the running words of transcripts that the dictionary lacks.

    Numbers are not counted; accents count, since entries have none.

    Arguments
    ---------
    texts : iterable of str
    is_word : callable
        Whether the dictionary has a (lower-case) word.

    Returns
    -------
    share : float
        0 to 1; 0 if there are no words.
    count : int
        Running words.

    Example
    -------
    >>> unknown_share(["Für Elise, 1810", "for Elise"], {"elise", "for"}.__contains__)
    (0.25, 4)
    """
    words = [_spelling(word) for text in texts for word in PLAIN_WORD.findall(text)]
    unknown = sum(not is_word(word) for word in words)
    return unknown / max(len(words), 1), len(words)


@functools.lru_cache(maxsize=10_000)
def spoken_number(text):
    """The words of a number, sum, date, time or ordinal.

    Arguments
    ---------
    text : str
        One blank-free piece of a transcript that has a digit in it.

    Returns
    -------
    tuple of str

    Example
    -------
    >>> spoken_number("$2.50"), spoken_number("1st"), spoken_number("b12")
    (('two', 'dollars', 'fifty', 'cents'), ('first',), ('b', 'twelve'))
    """
    plain = unicodedata.normalize("NFKC", text)
    words = _verbalised(plain)
    if not words or any(not word.replace("'", "").isalpha() for word in words):
        runs = RUN.findall(plain)
        words = [w for run in runs for w in (_verbalised(run) or [run])]
    return tuple(word.lower() for word in words)


def _verbalised(text):
    return [word.text for word in _gruut(text) if word.is_spoken]


def _gruut(text):
    # Imported here: it takes half a second, and most transcripts never need it.
    import gruut

    try:
        sentences = list(gruut.sentences(text, lang="en-us", pos=False))
    except Exception:  # a guess that fails must never cost the utterance
        return []
    return [word for sentence in sentences for word in sentence]


@functools.lru_cache(maxsize=100_000)
def guess_phones(word):
    """A pronunciation for a word that the dictionary lacks, by gruut's G2P model.

    Arguments
    ---------
    word : str
        Lower case.

    Returns
    -------
    str
        Phones separated by blanks; never empty. Where the model has no guess, there
        is one neutral vowel a character: the word then takes the time that its
        neighbours leave.

    Example
    -------
    >>> guess_phones("smollm"), guess_phones("żółć")
    ('S M AO L M', 'AH AH AH AH')
    """
    ipa = [phone for guess in _gruut(word) for phone in guess.phonemes or []]
    phones = [ARPABET.get(phone.lstrip("ˈˌ")) for phone in ipa]
    return " ".join(phone for phone in phones if phone) or " ".join(
        "AH" for _ in word[:10]
    )
