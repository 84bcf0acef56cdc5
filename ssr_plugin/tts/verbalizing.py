"""Texts with everything in words: numbers, units, money, times, abbreviations.

Numbers are worded by ``num2words``, units named by the Unicode CLDR (``babel``). Only
forms that can be read in one way are worded; the rest is an error, so that nothing is
left out, or read wrongly, without being told. English has all of that here, other
languages numbers alone (:mod:`ssr_plugin.alignment.number_words`).
"""

import functools
import re
import unicodedata

from ssr_plugin.alignment.english import foreign_letters
from ssr_plugin.alignment.number_words import UNITS, number_language, word_numbers
from ssr_plugin.languages import ENGLISH, is_english, primary

#: What may stand between words without being said.
MARKS = ".,;:!?'\"()-\u2013\u2014\u2018\u2019\u201c\u201d\u2026"

# Other ways to write CLDR's symbols.
SPELLINGS = {
    "lbs": "lb", "hrs": "hr", "h": "hr", "mins": "min", "secs": "sec",
    "ml": "mL", "l": "L", "mg/dl": "mg/dL", "kph": "km/h", "km/hr": "km/h", "°": "deg",
    "º": "deg", "ºC": "°C", "ºF": "°F", "° C": "°C", "° F": "°F", "KB": "kB",
    "µg": "μg", "m/s^2": "m/s²",
}  # fmt: skip

# One, many, and the hundredth part of it.
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
}

ABBREVIATIONS = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Ms", "Dr": "Doctor", "Drs": "Doctors",
    "Prof": "Professor", "Jr": "Junior", "Sr": "Senior", "Gov": "Governor",
    "Gen": "General", "Col": "Colonel", "Lt": "Lieutenant", "Capt": "Captain",
    "Sgt": "Sergeant", "Rev": "Reverend", "Mt": "Mount", "Co": "Company",
    "Sen": "Senator", "Rep": "Representative", "Corp": "Corporation",
    "Inc": "Incorporated", "Ltd": "Limited", "vs": "versus", "etc": "et cetera",
    "approx": "approximately", "e.g": "for example", "i.e": "that is", "Ph.D": "P H D",
}  # fmt: skip
BEFORE_NUMBERS = {"No": "number", "Nos": "numbers", "Vol": "volume", "Fig": "figure"}

# Not worded, since they have several readings (saint, street), or none that is usual.
# Nor is any other without a vowel (mgr.).
UNWORDED = (
    "St", "Ave", "Dept", "Univ", "Sec", "Art", "al", "asst", "ca", "cf", "viz", "est",
    "incl", "excl", "temp", "misc", "max", "op", "cit", "ed",
)  # fmt: skip

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August",
    "September", "October", "November", "December",
)  # fmt: skip


class Unsayable(ValueError):
    """A text has something in it that cannot be put into words; the message says what.

    It is of the form "kind: what", so that kinds can be counted.
    """


@functools.lru_cache(maxsize=100_000)
def verbalize(text, language=ENGLISH):
    """A text with everything in words, its case and marks kept.

    Arguments
    ---------
    text : str
    language : str
        BCP-47 code.

    Returns
    -------
    str
        Letters, blanks and :data:`MARKS` (in other languages than English: all
        punctuation that is not said), nothing else.

    Raises
    ------
    Unsayable
        If a symbol, number or abbreviation cannot be put into words.

    Example
    -------
    >>> verbalize("On May 2, 1984 Dr. Bo lost 3.5 % of his $20.50, i.e. at 50 °C.")
    'On May second, nineteen eighty-four Doctor Bo lost three point five percent of \
his twenty dollars and fifty cents, that is at fifty degrees Celsius.'
    >>> verbalize("Find x^2 + 1.")
    Traceback (most recent call last):
        ...
    ssr_plugin.tts.verbalizing.Unsayable: numbers: x^2
    >>> verbalize("Am 3. Mai kostete es 2,50 €.", "de")
    'Am dritten Mai kostete es zwei Euro fünfzig.'
    """
    text = unicodedata.normalize("NFC", text)
    if not is_english(language):
        words = word_numbers(text, language)
        _check(words, language)
        return words
    if re.search(r"\d\"", text) and text.count('"') % 2:
        raise Unsayable('symbols: "')
    words = _pattern().sub(_in_words, text)
    _check(words, language)
    # A mark inside of a word could be said ("dot"); a full stop there lacks its blank.
    return re.sub(r"(?<=[^\W\d_])([.,;:!?])(?=[^\W\d_])", r"\1 ", words)


# --- What is put into words --------------------------------------------------------

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
# Neither in a formula, nor a part of a longer number; in a word only after a hyphen.
BEFORE = r"(?:(?<![\w.,:;/\\%°$€£^=*+'’_~<>|-])(?<!\s[-–−+*×÷]\s)|(?<=[A-Za-z]-))"
# The same, or a sign.
SIGNED = rf"(?:(?<![^\s(])[-–−]|{BEFORE})"
AFTER = (
    r"(?![\w/\\%°$€£^=*+'’_~<>|]|[.,:]\d|[-–−]\d|\s*[-–—−+*/=<>^×÷]\s*\d"
    r"|\s[-–−]\s[A-Za-z]\b)"
)
# No vowel, capitals after others, or one letter: what stands so after a number is a
# unit, and if it is none of ours, nobody knows how it is said.
STRANGE = (
    r"(?:[b-df-hj-np-tv-xz]{1,4}|[a-zµμ]{1,2}[A-Z][A-Za-z]{0,2}|[B-DF-HJ-Z](?!\.))"
)
DASH = r"\s?[-–]\s?"


@functools.cache
def _pattern():
    """All forms, the longer before those that they begin with."""
    month = "|".join(MONTHS) + "|" + "|".join(rf"{m[:3]}\.|{m[:4]}\." for m in MONTHS)
    units = "|".join(re.escape(u) for u in sorted(_symbols(), key=len, reverse=True))
    money = "[" + "".join(CURRENCIES) + "]"
    ends = r"(?=[,.;!?)]|$|\s+\d{4}\b)"
    scale = r"(?:\s?(?P<{}>thousand|million|billion|trillion)\b)?"
    forms = {
        "date": rf"\b(?P<month>{month})\s(?P<day>\d\d?)(?:st|nd|rd|th)?\b{ends}",
        "between": rf"{BEFORE}(?P<low>{NUMBER})(?P<sign>%?){DASH}(?P<high>{NUMBER})"
        rf"(?:(?P<percent>\s?%)|\s?(?P<measured>{units}))?{AFTER}"
        rf"(?!\s?{STRANGE}\b)",
        "money": rf"{BEFORE}(?P<currency>{money})(?P<sum>{NUMBER})"
        rf"{scale.format('scale')}{AFTER}",
        "percentage": rf"{SIGNED}(?P<share>{NUMBER})\s?(?:%|percent\b){AFTER}",
        "time": rf"{BEFORE}(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)"
        rf"(?:\s?(?P<half>[AaPp])\.?\s?[Mm]\b\.?)?{AFTER}",
        "hours": rf"{BEFORE}(?P<on>1[0-2]|[1-9])\s?(?P<am>[AaPp])\.?[Mm]\b\.?{AFTER}",
        "decade": rf"(?:{BEFORE}|(?<![\w'’‘])['’‘])(?P<ten>1[1-9]\d0|20\d0|[1-9]0)"
        rf"['’]?s\b{AFTER}",
        "measure": rf"{SIGNED}(?P<amount>{NUMBER})(?:\s|(?P<joined>-))?"
        rf"(?P<unit>{units})"
        # "In 1984 J. Smith" has no joules.
        rf"(?:\.(?=\s+[a-z]))?{AFTER}(?!(?<=\s[A-Z])\.\s+[A-Z])",
        "ordinal": rf"{BEFORE}(?P<rank>\d{{1,3}}(?:,\d{{3}})+|\d+)"
        rf"(?P<th>st|nd|rd|th){AFTER}",
        "strange": rf"{SIGNED}{NUMBER}\s?(?:{STRANGE}\b|in\.(?!\w))",
        "year": rf"{BEFORE}(?P<year>1[1-9]\d\d|20\d\d){AFTER}",
        "code": r"(?<![\w.,/^=$-])(?P<code>(?:[A-Z]{1,3}-?[1-9]\d?)+[A-Z]{0,2})"
        rf"{AFTER}",
        "number": rf"{SIGNED}(?P<number>{NUMBER}){AFTER}",
        "and": r"\s*&\s*(?=[\w'’])",
        "short": rf"\b(?P<short>{'|'.join(map(re.escape, ABBREVIATIONS))})"
        r"\.(?P<genitive>['’]s\b)?(?=\W|$)",
        "ahead": rf"\b(?P<ahead>{'|'.join(BEFORE_NUMBERS)})\.\s(?=\d)",
        "initials": r"(?<![\w.])(?P<initials>(?:[A-Za-z]\.){2,}(?:[A-Z]\b)?)",
    }
    return re.compile("|".join(f"(?P<form_{k}>{v})" for k, v in forms.items()))


def _in_words(match):
    form = next(k for k, v in match.groupdict().items() if v and k.startswith("form_"))
    sign = "minus " if match.group()[0] in "-–−" else ""
    return sign + _WORDERS[form.removeprefix("form_")](match)


def _date(match):
    month = next(m for m in MONTHS if m[:3] == match["month"][:3])
    if not 1 <= int(match["day"]) <= 31:
        raise Unsayable(f"numbers: {match.group()}")
    return f"{month} {_worded(match['day'], to='ordinal')}"


def _between(match):
    low, high = (match[k].replace(",", "") for k in ("low", "high"))
    years = all(re.fullmatch(r"1[1-9]\d\d|20\d\d", x) for x in (low, high))
    # A range goes up; else it is a difference, a score, or a telephone number.
    ascends = float(low) < float(high) and (match["percent"] or not match["sign"])
    if not ascends or re.fullmatch(r"\d{3}-\d{4}", match.group()):
        raise Unsayable(f"numbers: {match.group()}")
    say = functools.partial(_worded, to="year") if years else _cardinal
    unit = " percent" if match["percent"] else ""
    if match["measured"]:
        unit = f" {_symbols()[match['measured']][1]}"
    return f"{say(low)} to {say(high)}{unit}"


def _money(match):
    one, many, cent, cents = CURRENCIES[match["currency"]]
    whole, _, part = match["sum"].partition(".")
    if match["scale"]:
        return f"{_cardinal(match['sum'])} {match['scale']} {many}"
    if part and len(part) != 2:
        raise Unsayable(f"numbers: {match.group()}")
    said = [f"{_cardinal(whole)} {one if whole == '1' else many}"]
    if int(part or 0):
        hundredths = f"{_worded(int(part))} {cent if part == '01' else cents}"
        said = [hundredths] if whole == "0" else [*said, hundredths]
    return " and ".join(said)


def _time(match):
    hour, minute = match["hour"], int(match["minute"])
    half = f" {match['half'].upper()} M" if match["half"] else ""
    if minute:
        minutes = ("oh " if minute < 10 else "") + _worded(minute)
    else:
        minutes = "" if half else "o'clock"
    return f"{_worded(hour)} {minutes}".rstrip() + half


def _measure(match):
    name = _symbols()[match["unit"]]
    # Joined, it is said before a noun: a 4-cm scar.
    singular = match["amount"] == "1" or match["joined"]
    return f"{_cardinal(match['amount'])} {name[0] if singular else name[1]}"


def _ordinal(match):
    number = match["rank"].replace(",", "")
    teens = number[-2:] in ("11", "12", "13")
    right = "th" if teens else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
    if match["th"] != right:
        raise Unsayable(f"numbers: {match.group()}")
    return _worded(number, to="ordinal")


def _decade(match):
    words = _worded(match["ten"], to="year")
    return re.sub(r"y$", "ie", words) + "s"


def _code(match):
    runs = re.findall(r"[A-Z]+|\d+", match["code"])
    return " ".join(_worded(run) if run.isdigit() else run for run in runs)


def _strange(match):
    raise Unsayable(f"units: {match.group()}")


def _short(match):
    return ABBREVIATIONS[match["short"]] + (match["genitive"] or "")


_WORDERS = {
    "date": _date,
    "between": _between,
    "money": _money,
    "percentage": lambda match: f"{_cardinal(match['share'])} percent",
    "time": _time,
    "hours": lambda match: f"{_worded(match['on'])} {match['am'].upper()} M",
    "measure": _measure,
    "strange": _strange,
    "ordinal": _ordinal,
    "decade": _decade,
    "year": lambda match: _worded(match["year"], to="year"),
    "code": _code,
    "number": lambda match: _cardinal(match["number"]),
    "and": lambda match: " and ",
    "short": _short,
    "ahead": lambda match: f"{BEFORE_NUMBERS[match['ahead']]} ",
    "initials": lambda match: " ".join(match["initials"].replace(".", "").upper()),
}


def _cardinal(number):
    """The words of a number as it is written, every digit of a fraction said."""
    whole, point, fraction = number.replace(",", "").partition(".")
    if len(whole) > 15 or (len(whole) > 1 and whole[0] == "0"):
        raise Unsayable(f"numbers: {number}")
    digits = [_worded(digit) for digit in fraction]
    return " ".join([_worded(whole), *(["point"] if point else []), *digits])


def _worded(number, to="cardinal"):
    from num2words import num2words

    return num2words(int(number), to=to).replace(",", "")


@functools.cache
def _symbols():
    """Names of one and of many, by the unit's symbol."""
    from babel.units import format_unit

    def without_number(count, unit, length):
        return re.sub(r"^\d+\s*", "", format_unit(count, unit, length, locale="en"))

    found = {
        without_number(2, unit, "short"): tuple(
            without_number(count, unit, "long").replace("-", " ") for count in (1, 2)
        )
        for unit in UNITS
    }
    return found | {other: found[symbol] for other, symbol in SPELLINGS.items()}


# --- What is left ------------------------------------------------------------------

ROMAN = re.compile(r"\b(?=[IVX]{2,}\b)X{0,3}(?:I[XV]|V?I{0,3})(?!\w)")
ABBREVIATED = re.compile(
    rf"\b(?:{'|'.join(UNWORDED)}|[B-DF-HJ-NP-TV-XZb-df-hj-np-tv-xz]"
    r"[b-df-hj-np-tv-xz]+)\.(?!$)"
)
# Other languages: punctuation that is said, as symbols are.
SAID_MARKS = "%‰&@#*/\\_§†‡"
# Those of which no word that is written in full lacks a vowel.
VOWELS_IN_ALL = ("de", "fr", "es", "it", "pt", "nl")
NO_VOWEL = re.compile(r"\b[B-DF-HJ-NP-TV-XZb-df-hj-np-tv-xz]{2,}\.(?!$)")


def _check(text, language):
    """Raises :class:`Unsayable` for what would be left out, or read in another way."""
    english, abbreviated = is_english(language), None
    if english:
        is_mark, abbreviated = _is_english_mark, ABBREVIATED
        # A full stop before a capital lacks its blank, and gets it.
        inside = "[a-z]"
    else:
        is_mark, inside = _is_mark, r"[^\W\d_]"
        if primary(language) in VOWELS_IN_ALL:
            abbreviated = NO_VOWEL
    if found := re.findall(r"\S*\d\S*", text):
        reason = "" if number_language(language) else f" (no words for '{language}')"
        raise Unsayable(f"numbers: {found[0]}{reason}")
    if english and (foreign := foreign_letters(text)):
        raise Unsayable(f"letters: {' '.join(foreign)}")
    symbols = {c for c in text if not (c.isalpha() or c.isspace() or is_mark(c))}
    if symbols:
        raise Unsayable(f"symbols: {' '.join(sorted(symbols))}")
    if found := re.search(rf"\w\(\S*|\S*\)\w|[^\W\d_]\.{inside}\S*", text):
        raise Unsayable(f"marks inside a word: {found.group()}")
    if found := ROMAN.search(text):
        raise Unsayable(f"Roman numbers: {found.group()}")
    if abbreviated and (found := abbreviated.search(text)):
        raise Unsayable(f"abbreviations: {found.group()}")


def _is_english_mark(character):
    return character in MARKS or unicodedata.combining(character)


def _is_mark(character):
    return character not in SAID_MARKS and unicodedata.category(character)[0] in "PM"
