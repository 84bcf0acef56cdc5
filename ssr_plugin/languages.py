"""What depends on the language that is spoken: one place for all of it.

A language is named by its BCP-47 code: "en", "de", "pt-BR", "zh-Hant". A data set may
say its own (``DataSet.language``); a YAML's key ``language`` comes before that.
"""

from __future__ import annotations

import functools
import re
import unicodedata

#: What is taken where neither a YAML nor a data set says.
ENGLISH = "en"

#: In place of an aligner's name: the one of the language.
AUTO = "auto"

# Scripts that put no blanks between words, by how Unicode's names of their letters
# begin, and by their ISO 15924 codes.
_UNDIVIDED_NAMES = (
    *("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO", "IDEOGRAPHIC"),
    *("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"),
)
_UNDIVIDED_SCRIPTS = {
    *("hani", "hans", "hant", "jpan", "hira", "kana", "hrkt", "bopo"),
    *("thai", "laoo", "khmr", "mymr", "tibt"),
}
# Languages that are written in one of them, where no script is named.
_UNDIVIDED_LANGUAGES = {
    *("zh", "cmn", "yue", "wuu", "nan", "hak", "gan", "hsn", "lzh"),
    *("ja", "th", "lo", "km", "my", "shn", "bo", "dz"),
}
# Whisper's codes where they are not BCP-47's.
_WHISPER = {
    "cmn": "zh",
    "nb": "no",
    "fil": "tl",
    "jv": "jw",
    "iw": "he",
    "in": "id",
    "arb": "ar",
    "pes": "fa",
}
_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*")


def parse_language(tag: str) -> str:
    """A BCP-47 code as it is usually written.

    Arguments
    ---------
    tag : str
        In any case, with hyphens or underscores.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it is no such code.

    Example
    -------
    >>> parse_language("EN"), parse_language("pt_br"), parse_language("zh-hant-TW")
    ('en', 'pt-BR', 'zh-Hant-TW')
    >>> parse_language("german")
    Traceback (most recent call last):
        ...
    ValueError: language: 'german' is no BCP-47 code, such as en, de, pt-BR or zh-Hant
    """
    # What YAML 1.1 makes of "no", which is Norwegian.
    tag = "no" if tag is False else str(tag).strip().replace("_", "-")
    if not _TAG.fullmatch(tag):
        raise ValueError(
            f"language: '{tag}' is no BCP-47 code, such as en, de, pt-BR or zh-Hant"
        )
    first, *rest = tag.split("-")
    # Of four letters is a script, of two a region (RFC 5646, section 2.1.1).
    named = {2: str.upper, 4: str.title}
    return "-".join([first.lower(), *(named.get(len(x), str.lower)(x) for x in rest)])


def first_language(*tags: str | None) -> str:
    """The first language that is said, or else English.

    Arguments
    ---------
    *tags : str or None
        BCP-47 codes; None says nothing.

    Returns
    -------
    str

    Example
    -------
    >>> first_language(None, "DE"), first_language("fr", "de"), first_language(None)
    ('de', 'fr', 'en')
    """
    return parse_language(next((tag for tag in tags if tag is not None), ENGLISH))


def primary(tag: str) -> str:
    """The language alone, without script and region.

    Example
    -------
    >>> primary("pt-BR"), primary("de")
    ('pt', 'de')
    """
    return parse_language(tag).partition("-")[0]


def is_english(tag: str) -> bool:
    """Whether a language is English, of any region.

    Example
    -------
    >>> is_english("en-GB"), is_english("de")
    (True, False)
    """
    return primary(tag) == ENGLISH


def whisper_code(tag: str) -> str:
    """The code under which Whisper knows a language, if it does.

    Example
    -------
    >>> whisper_code("en"), whisper_code("zh-Hans-CN"), whisper_code("nb-NO")
    ('en', 'zh', 'no')
    """
    return _WHISPER.get(primary(tag), primary(tag))


def has_words(tag: str) -> bool:
    """Whether a language is written with blanks between its words.

    Where it is not, errors are counted in characters (CER), as is usual there.

    Example
    -------
    >>> [has_words(x) for x in ("de", "ko", "ar", "zh", "ja-JP", "th", "zh-Latn")]
    [True, True, True, False, False, False, True]
    """
    first, *rest = parse_language(tag).lower().split("-")
    scripts = [x for x in rest if len(x) == 4 and x.isalpha()]
    if scripts:
        return scripts[0] not in _UNDIVIDED_SCRIPTS
    return first not in _UNDIVIDED_LANGUAGES


@functools.lru_cache(maxsize=100_000)
def _is_undivided(letter: str) -> bool:
    name = unicodedata.name(letter, "")
    return letter.isalpha() and name.startswith(_UNDIVIDED_NAMES)


def is_undivided(text: str) -> bool:
    """Whether some letter is of a script that puts no blanks between words.

    Example
    -------
    >>> is_undivided("word"), is_undivided("\u8bcd")
    (False, True)
    """
    return not text.isascii() and any(map(_is_undivided, text))


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of a text are: what blanks part.

    Of a script without blanks, each letter is a word of its own, with the marks that
    belong to it: nothing but a dictionary could say more.

    Arguments
    ---------
    text : str

    Returns
    -------
    list of (int, int)
        Half-open ranges of characters, in order. All but blanks is in one of them.

    Example
    -------
    >>> text = "No, \u6211\u7528GPU\u3002"
    >>> [text[a:b] for a, b in word_spans(text)]
    ['No,', '\u6211', '\u7528', 'GPU\u3002']
    """
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    if not is_undivided(text):
        return spans
    found = []
    for start, stop in spans:
        last = None
        for i in range(start, stop):
            # A mark, as a vowel above a letter, goes with what is before it.
            if not text[i].isalnum():
                continue
            parts = _is_undivided(text[i]) or (
                last is not None and _is_undivided(text[last])
            )
            if last is not None and parts:
                found.append((start, i))
                start = i
            last = i
        found.append((start, stop))
    return found
