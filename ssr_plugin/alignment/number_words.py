"""Numbers of a text in the words of its language.

``num2words`` knows the words, and the Unicode CLDR (``babel``) how numbers are written
and what units are called. English has rules of its own
(:mod:`ssr_plugin.alignment.english`, :mod:`ssr_plugin.tts.verbalizing`).
"""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ssr_plugin.languages import has_words, parse_language, primary

if TYPE_CHECKING:
    from babel import Locale

#: CLDR's units whose symbols, after a number, mean nothing else. Of "in" (inch) and "K"
#: (kelvin, or thousand) that cannot be said.
UNITS = (
    "length-kilometer", "length-meter", "length-centimeter", "length-millimeter",
    "length-mile", "length-yard", "length-foot", "mass-kilogram", "mass-gram",
    "mass-milligram", "mass-microgram", "mass-pound", "mass-ounce",
    "area-square-kilometer", "area-square-meter", "area-square-centimeter",
    "volume-cubic-centimeter", "volume-milliliter", "volume-liter", "angle-degree",
    "temperature-celsius", "temperature-fahrenheit", "speed-kilometer-per-hour",
    "speed-mile-per-hour", "speed-meter-per-second",
    "acceleration-meter-per-square-second", "frequency-hertz", "frequency-kilohertz",
    "frequency-megahertz", "frequency-gigahertz", "power-watt", "power-kilowatt",
    "power-megawatt", "energy-kilowatt-hour", "energy-joule", "energy-kilojoule",
    "energy-kilocalorie", "electric-volt", "duration-hour", "duration-minute",
    "duration-second", "duration-millisecond", "digital-kilobyte", "digital-megabyte",
    "digital-gigabyte", "digital-terabyte", "pressure-millimeter-ofhg",
    "pressure-kilopascal", "pressure-pascal", "force-newton",
    "concentr-milligram-ofglucose-per-deciliter",
)  # fmt: skip
_PERCENT = "concentr-percent"

# What is written for them besides, all over the world.
_SI = {"h": "duration-hour", "min": "duration-minute", "s": "duration-second",
       "°": "angle-degree", "°C": "temperature-celsius", "l": "volume-liter",
       "ml": "volume-milliliter"}  # fmt: skip

# num2words' codes where they are not BCP-47's.
_NUM2WORDS = {"nb": "no", "nn": "no", "iw": "he", "in": "id", "kk": "kz"}

# What is said for a decimal mark, where the digits after it are then said one by one.
# What num2words says is Spanish for a point.
_DECIMAL_WORDS = {
    "de": "Komma", "fr": "virgule", "es": "coma", "it": "virgola", "pt": "vírgula",
    "nl": "komma", "sv": "komma", "da": "komma", "no": "komma", "fi": "pilkku",
    "ro": "virgulă",
}  # fmt: skip
# Years before 2000 are said in hundreds.
_YEARS = ("de", "nl", "da", "no")
# A full stop after a number makes it an ordinal.
_ORDINAL_STOP = (
    "de", "da", "no", "fi", "hu", "pl", "tr", "cs", "sk", "sl", "sr", "lv", "is",
)  # fmt: skip
# How else ordinals are written.
_ORDINAL_ENDS = {
    "fr": r"(?:ers?|ères?|res?|es?|èmes?|nde?s?)", "es": r"\.?(?:[ºª°]|er)",
    "it": r"\.?[ºª°]", "pt": r"\.?[ºª°]", "nl": r"(?:e|de|ste)", "sv": r":[ae]",
}  # fmt: skip
# Before these words German ordinals end in -n, before those not.
_GERMAN_N = (
    "am", "im", "vom", "zum", "zur", "beim", "dem", "den", "des", "einem", "einen",
    "eines", "einer", "jedem", "jeden", "jedes", "seinem", "seinen", "ihrem", "ihren",
    "diesem", "diesen", "seit", "bis", "ab", "nach",
)  # fmt: skip
_GERMAN_E = ("der", "die", "das", "eine", "jede", "diese", "seine", "ihre")
# The day before a month is said as it is counted, not as an ordinal.
_CARDINAL_DAYS = ("fr", "es", "it", "pt", "nl", "ro", "ca", "tr", "id", "vi")
# Numbers are of one form, whatever they count.
_UNBENT = ("hu", "fi", "tr", "ja", "ko", "id", "vi", "th", "fa", "az", "kz", "eo")
# In others one goes with the gender of what is counted; here 1, 101, ..., and not 21,
_BENT_ONE = ("de", "nl", "da", "no", "sv", "is")
# here two as well,
_BENT_TWO = (
    "pt",
    "ro",
    "ca",
    "pl",
    "cs",
    "sk",
    "sl",
    "sr",
    "ru",
    "uk",
    "be",
    "lt",
    "lv",
)
# and here hundreds.
_BENT_HUNDREDS = ("es", "pt", "ca")
# One of a unit: as it is counted, of a masculine, of a feminine, and which those are.
_ONE = {
    "de": ("eins", "ein", "eine", r"Meile|\w*[Ss]tunde|Minute|\w*[Ss]ekunde|Unze"
           r"|\w*kalorie"),
    "fr": ("un", "un", "une", r"livre|once|\w*calorie|heure|minute|\w*seconde"),
    "es": ("uno", "un", "una", r"milla|yarda|libra|onza|\w*caloría|hora"),
    "it": ("uno", "un", "una", r"iarda|libbra|oncia|\w*caloria|ora"),
    "pt": ("um", "um", "uma", r"milha|jarda|libra|onça|\w*caloria|hora"),
    "nl": ("één", "één", "één", r""),
}  # fmt: skip
# Between euros and cents.
_CENTS = {"de": "", "fr": "", "nl": "", "it": "e ", "pt": "e ", "es": "con "}


@dataclasses.dataclass(frozen=True)
class NumberSpan:
    """A number in a text, and the words that are said for it.

    Arguments
    ---------
    start, end : int
        Half-open range of characters: the number with its sign, mark or unit.
    words : str
    """

    start: int
    end: int
    words: str


def number_language(language: str) -> str | None:
    """The code under which ``num2words`` knows a language, if it does.

    Arguments
    ---------
    language : str
        BCP-47 code.

    Returns
    -------
    str or None

    Example
    -------
    >>> [number_language(x) for x in ("de", "fr-CH", "es-MX", "nb-NO", "zh")]
    ['de', 'fr_CH', 'es', 'no', None]
    """
    from num2words import CONVERTER_CLASSES

    codes = parse_language(language).replace("-", "_"), primary(language)
    for code in (_NUM2WORDS.get(code, code) for code in codes):
        if code in CONVERTER_CLASSES:
            return code
    return None


@functools.lru_cache(maxsize=10_000)
def find_numbers(
    text: str, language: str, strict: bool = True
) -> tuple[NumberSpan, ...]:
    """The numbers of a text, as they are said in its language.

    Whole numbers, decimals, ordinals and percentages, as the language writes them. In
    German, French, Spanish, Italian, Portuguese and Dutch units (5 km) and euros, too.
    A number that has several readings is left out: a time, a date in digits, a range,
    one that is a part of a word. So is one whose form goes with the gender of what is
    counted ("1 Hund"), and a day before its month where that is bent ("3 maja").
    Otherwise words are of the form that counts: no case bends them.

    Arguments
    ---------
    text : str
    language : str
        BCP-47 code, not English.
    strict : bool
        False takes the form that counts in place of a bent one: near enough to be found
        in audio, and wrong to be spoken.

    Returns
    -------
    tuple of NumberSpan
        In order; none of a language that ``num2words`` does not know.

    Example
    -------
    >>> for span in find_numbers("Am 3. Mai lief er 2,5 km in 12:30.", "de"):
    ...     print(span.start, span.end, span.words)
    3 5 dritten
    18 24 zwei Komma fünf Kilometer
    >>> find_numbers("5 km", "zh")
    ()
    """
    code = number_language(language)
    if code is None or not any(c.isdigit() for c in text):
        return ()
    rules = _rules(parse_language(language), code)
    found = []
    for match in rules.pattern.finditer(text):
        form = match.lastgroup
        assert form is not None
        words = _READERS[form](rules, match, strict)
        if words is not None and match[0][0] in "-–−":
            words = rules.negative(words)
        if words is not None and _is_said(words):
            found.append(NumberSpan(*match.span(), words))
    return tuple(found)


def word_numbers(text: str, language: str) -> str:
    """A text whose numbers are in words.

    Arguments
    ---------
    text, language : str
        Of :func:`find_numbers`, whose spans are replaced. Others stay as they are.

    Returns
    -------
    str

    Example
    -------
    >>> word_numbers("Pesa 1.500,5 kg: un 10 % más.", "es")
    'Pesa mil quinientos coma cinco kilogramos: un diez por ciento más.'
    """
    said, last = "", 0
    for span in find_numbers(text, language):
        said += text[last : span.start] + span.words
        last = span.end
    return said + text[last:]


# --- How a language writes numbers -------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Rules:
    language: str  # of the BCP-47 code, alone
    code: str  # num2words'
    locale: Locale
    pattern: re.Pattern[str]
    group: re.Pattern[str]  # what parts thousands
    decimal: str
    symbols: dict[str, str]  # CLDR's name of each unit
    months: frozenset[str]

    def value(self, number: str) -> Decimal | None:
        """What a number is; None of those that are codes (007) or too long."""
        whole, _, fraction = number.partition(self.decimal)
        whole = self.group.sub("", whole)
        if len(whole) > 15 or (len(whole) > 1 and int(whole[0]) == 0):
            return None
        return Decimal(f"{int(whole)}.{_digits(fraction)}" if fraction else int(whole))

    def cardinal(self, number: str) -> str | None:
        """The words of a number as it is written."""
        value = self.value(number)
        if value is None:
            return None
        whole = self.say(int(value))
        fraction = _digits(number.partition(self.decimal)[2])
        if not fraction or whole is None:
            return whole
        point = _DECIMAL_WORDS.get(self.language)
        # As in Mexico.
        point = "punto" if point == "coma" and self.decimal == "." else point
        if point is not None:
            digits = [self.say(int(digit)) for digit in fraction]
            return " ".join([whole, point, *(digit or "" for digit in digits)])
        said = self.say(value)
        # Of some languages num2words leaves out the whole, or the fraction.
        is_whole = said is not None and said.startswith(whole) and said != whole
        return said if is_whole else None

    def say(self, number: int | Decimal, to: str = "cardinal") -> str | None:
        """What num2words says, if it knows."""
        from num2words import num2words

        try:
            words = num2words(number, lang=self.code, to=to)
        except (NotImplementedError, ArithmeticError, ValueError, LookupError):
            return None
        except (AttributeError, TypeError):  # a language of which it has a part
            return None
        if isinstance(number, int):
            words = str(words).replace(",", "")
        return re.sub(r"\s+", " ", str(words)).strip() or None

    def negative(self, words: str) -> str | None:
        """The same number below zero."""
        one, other = self.say(3), self.say(-3)
        if one is None or other is None or not other.endswith(one) or other == one:
            return None
        return other[: -len(one)] + words

    def named(self, number: str, unit: str, strict: bool) -> str | None:
        """So much of a unit."""
        from babel.units import format_unit

        value, words = self.value(number), self.cardinal(number)
        if value is None or words is None:
            return None
        name = format_unit(value, unit, "long", locale=self.locale)
        figures = re.compile(r"\d(?:[^\w%]*\d)*")
        # "Uno por ciento", but "ein Prozent".
        if value == 1 and (unit != _PERCENT or self.language == "de"):
            counted, masculine, feminine, kind = _ONE[self.language]
            what = figures.sub("", name).strip().partition(" ")[0]
            one = feminine if kind and re.fullmatch(kind, what) else masculine
            words = one if words == counted else words
        elif strict and unit != _PERCENT and self.bends(value):
            return None
        return re.sub(r"[\s’]+", " ", figures.sub(lambda _: words, name, count=1))

    def bends(self, value: Decimal) -> bool:
        """Whether its form goes with the gender of what is counted."""
        if self.language in _UNBENT or value != int(value):
            return False
        if self.language in _BENT_ONE:
            return value % 100 == 1
        last = (1, 2) if self.language in _BENT_TWO else (1,)
        if value % 10 in last and value % 100 not in (11, 12):
            return True
        return self.language in _BENT_HUNDREDS and value % 1000 >= 200


@functools.cache
def _rules(language: str, code: str) -> _Rules:
    from babel.units import format_unit

    first = _NUM2WORDS.get(primary(language), primary(language))
    locale = _locale(language)
    decimal, group = _marks(locale)
    blank = group.isspace()
    gap = "[ \u00a0\u202f\u2009]" if blank else rf"(?:{re.escape(group)}|\u202f|\u00a0)"
    number = rf"(?:\d{{1,3}}(?:{gap}\d{{3}})+|\d+)(?:{re.escape(decimal)}\d+)?"
    # Of scripts without blanks a letter may stand beside a number.
    letter = r"\w" if has_words(language) else r"0-9A-Za-z"
    before = rf"(?<![{letter}.,:;/\\%°$€£^=*+'’~<>|–−-])(?<!\d\s[-–−]\s)"
    before += r"(?<!\d[\u202f\u00a0])"
    before += r"(?<!\d[ \u2009])" if blank else ""
    after = (
        rf"(?![{letter}%°$€£^=*+~<>|/\\]|[.,:'’-][{letter}]|\s?[-–−]\s?\d"
        r"|\s?[%€$£°/*+=<>×÷^٪]|[\u202f\u00a0]\d)"
    )
    after += r"(?![ \u2009]\d)" if blank else ""
    signed = rf"(?:(?<![^\s(])[-–−]|{before})"
    symbols = {}
    if first in _ONE:
        for unit in UNITS:
            short = format_unit(2, unit, "short", locale=locale)
            symbols[re.sub(r"^\d+\s*|\.$", "", short)] = unit
        symbols = _SI | symbols
    unit = "|".join(re.escape(x) for x in sorted(symbols, key=len, reverse=True))
    ends = _ORDINAL_ENDS.get(first)
    forms = {
        "money": rf"{before}(?:€\s?{number}|{number}\s?€){after}",
        "percent": rf"{signed}{number}\s?[%٪](?![\w%])",
        "measure": rf"{signed}{number}\s?(?:{unit})(?![\w/²³^]){after}",
        "ordinal": rf"{before}\d+{ends}(?!\w)",
        "stopped": rf"{before}\d+\.(?=\s+\w)",
        "number": rf"{signed}{number}{after}",
    }
    if first not in _CENTS:
        del forms["money"]
    if not symbols:
        del forms["measure"]
    if ends is None:
        del forms["ordinal"]
    if first not in _ORDINAL_STOP:
        del forms["stopped"]
    return _Rules(
        first,
        code,
        locale,
        re.compile("|".join(f"(?P<{name}>{form})" for name, form in forms.items())),
        re.compile(gap),
        decimal,
        symbols,
        frozenset(str(m).lower() for m in locale.months["format"]["wide"].values()),
    )


def _locale(language: str) -> Locale:
    from babel import Locale, UnknownLocaleError

    known = {"no": "nb"}.get(primary(language), primary(language))
    for tag in (language.replace("-", "_"), known):
        try:
            return Locale.parse(tag)
        except (UnknownLocaleError, ValueError):
            continue
    # What most languages write.
    return Locale.parse("de")


def _marks(locale: Locale) -> tuple[str, str]:
    """What a language writes before decimals and between thousands."""
    from babel.numbers import get_decimal_symbol, get_group_symbol

    return get_decimal_symbol(locale), get_group_symbol(locale)


def _digits(text: str) -> str:
    """The digits of any script as those of ASCII."""
    return "".join(str(int(digit)) for digit in text)


def _is_said(words: str) -> bool:
    """Whether nothing but letters is left."""
    return all(c.isalpha() or c in " '’-" or unicodedata.combining(c) for c in words)


# --- What each form says -----------------------------------------------------------


def _bare(match: re.Match[str]) -> str:
    """A match without the sign before it."""
    return match[0].lstrip("-–−")


def _next_word(match: re.Match[str]) -> str:
    found = re.match(r"\s+(\w+)", match.string[match.end() :])
    return found[1] if found else ""


def _read_number(rules: _Rules, match: re.Match[str], strict: bool) -> str | None:
    number = _bare(match)
    value, after = rules.value(number), _next_word(match)
    if value is None:
        return None
    is_year = number.isdigit() and 1100 <= value < 2100
    if strict and after and not is_year and rules.bends(value):
        return None
    is_month = after.lower() in rules.months
    if strict and is_month and rules.language not in _CARDINAL_DAYS:
        return None
    if is_year and value < 2000 and rules.language in _YEARS:
        return rules.say(int(value), to="year")
    return rules.cardinal(number)


def _read_percent(rules: _Rules, match: re.Match[str], strict: bool) -> str | None:
    return rules.named(_bare(match)[:-1].strip(), _PERCENT, strict)


def _read_measure(rules: _Rules, match: re.Match[str], strict: bool) -> str | None:
    number = re.match(r"[\d\s.,’\u00a0\u202f]*\d", _bare(match))
    assert number is not None
    unit = rules.symbols[_bare(match)[number.end() :].strip()]
    return rules.named(number[0], unit, strict)


def _read_money(rules: _Rules, match: re.Match[str], strict: bool) -> str | None:
    from babel.numbers import get_currency_name

    whole, mark, cents = match[0].strip("€ \u00a0\u202f").partition(rules.decimal)
    value, words = rules.value(whole), rules.cardinal(whole)
    if value is None or words is None or (mark and len(cents) != 2):
        return None
    if value == 1:
        words = _ONE[rules.language][1]
    elif strict and value % 10 == 1 and rules.bends(value):
        return None
    name = get_currency_name("EUR", value, locale=rules.locale).lower()
    name = name.capitalize() if rules.language == "de" else name
    # "Dos millones de euros".
    if rules.language in ("fr", "es", "it", "pt") and value and value % 1_000_000 == 0:
        return None
    if not mark or int(cents) == 0:
        return f"{words} {name}"
    more = rules.say(int(cents))
    return None if more is None else f"{words} {name} {_CENTS[rules.language]}{more}"


def _read_ordinal(rules: _Rules, match: re.Match[str], strict: bool) -> str | None:
    figures = re.match(r"\d+", match[0])
    assert figures is not None
    number, end = int(figures[0]), match[0][figures.end() :].strip(".:")
    said = rules.say(number, to="ordinal")
    if said is None:
        return None
    if end == "ª":
        return re.sub(r"o\b", "a", said)
    if end == "er" and rules.language == "es":
        return said[:-1] if said.endswith(("primero", "tercero")) else None
    if rules.language == "fr":
        of_one = end.rstrip("s") in ("er", "ère", "re")
        # "Second" is another word for it.
        if of_one != (number == 1) or end.startswith("nd"):
            return None
        said = "première" if end.rstrip("s") in ("ère", "re") else said
        said += "s" if end.endswith("s") else ""
    return said


def _read_stopped(rules: _Rules, match: re.Match[str], strict: bool) -> str | None:
    """A number with a full stop, before another word."""
    after = _next_word(match)
    is_month = after.lower() in rules.months
    said = rules.say(int(match[0][:-1]), to="ordinal")
    if said is None:
        return None
    if rules.language != "de":
        # Before a capital, the sentence may have ended.
        return said if is_month or after[:1].islower() else None
    before = re.search(r"(\w+)\s+$", match.string[: match.start()])
    word = before[1].lower() if before else ""
    if word in _GERMAN_N:
        return said + "n"
    if word in _GERMAN_E or after[:1].islower():
        return said
    return said + "r" if is_month else None


_READERS: dict[str, Callable[[_Rules, Any, bool], str | None]] = {
    "number": _read_number,
    "percent": _read_percent,
    "measure": _read_measure,
    "money": _read_money,
    "ordinal": _read_ordinal,
    "stopped": _read_stopped,
}
