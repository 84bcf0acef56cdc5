"""verbalize() words what can be read in one way, and refuses all else by name."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssr_plugin.tts.verbalizing import MARKS, UNITS, Unsayable, _symbols, verbalize


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # Percent.
        ("3.5 % of it", "three point five percent of it"),
        ("10% - 20%", "ten to twenty percent"),
        ("5 percent", "five percent"),
        # Money.
        ("$20", "twenty dollars"),
        ("$1, $20.50!", "one dollar, twenty dollars and fifty cents!"),
        ("£3 or £1.01.", "three pounds or one pound and one penny."),
        ("€0.50", "fifty cents"),
        ("$5 million", "five million dollars"),
        ("$1,230", "one thousand two hundred and thirty dollars"),
        # Abbreviations.
        ("Dr. Smith", "Doctor Smith"),
        ("Mr. Jones & Co.'s", "Mister Jones and Company's"),
        ("i.e. five vs. six, etc.", "that is five versus six, et cetera"),
        ("the U.S. at 8 p.m.", "the U S at eight P M"),
        ("AT&T", "AT and T"),
        ("No. 5, Vol. 2", "number five, volume two"),
        ("Ms. Bo, Mrs. Bo", "Ms Bo, Missus Bo"),
        ("J. R. Smith, E. coli", "J. R. Smith, E. coli"),
        # Units.
        ("5 km", "five kilometers"),
        ("1km, 2.50 kg", "one kilometer, two point five zero kilograms"),
        ("1 lb, 2 lbs", "one pound, two pounds"),
        ("50°C", "fifty degrees Celsius"),
        ("98.6 °F", "ninety-eight point six degrees Fahrenheit"),
        ("at 20°.", "at twenty degrees."),
        ("a 4-cm scar, 5 ft. tall", "a four centimeter scar, five feet tall"),
        ("9.8 m/s²", "nine point eight meters per second squared"),
        ("10-20 kg", "ten to twenty kilograms"),
        ("-5 °C", "minus five degrees Celsius"),
        ("–3 %, -2 kg.", "minus three percent, minus two kilograms."),
        ("5 men in 10", "five men in ten"),
        # Dates and times.
        ("1984", "nineteen eighty-four"),
        ("in 2005, 1906", "in two thousand and five, nineteen oh-six"),
        ("1900 and 2024?", "nineteen hundred and twenty twenty-four?"),
        ("1990-1995", "nineteen ninety to nineteen ninety-five"),
        ("the 1980s, the '90s", "the nineteen eighties, the nineties"),
        ("mid-1950s", "mid-nineteen fifties"),
        ("Jan. 5, 1999", "January fifth, nineteen ninety-nine"),
        ("May 5 men", "May five men"),
        ("10:30 a.m., 1:00, 12:05", "ten thirty A M, one o'clock, twelve oh five"),
        # Numbers.
        ("2nd", "second"),
        ("21st, 112th", "twenty-first, one hundred and twelfth"),
        ("1,000th", "one thousandth"),
        ("1,500 or 35000", "one thousand five hundred or thirty-five thousand"),
        ("-5, (–3.05)", "minus five, (minus three point zero five)"),
        ("13-15 20-year-olds", "thirteen to fifteen twenty-year-olds"),
        ("CO2, B12, COVID-19", "CO two, B twelve, COVID-nineteen"),
        # Nothing to word.
        ("“Yes” -- it’s (so): no…", "“Yes” -- it’s (so): no…"),
        ("A well.Then", "A well. Then"),
        ("In 1984 J. Smith", "In nineteen eighty-four J. Smith"),
        ("the cat sat. the dog ran.", "the cat sat. the dog ran."),
    ],
)
def test_what_can_be_read_in_one_way_is_put_into_words(text, says):
    assert verbalize(text) == says


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("the % of it", "symbols: %"),
        ("a ° b", "symbols: °"),
        ("x = y", "symbols: ="),
        ("he/she", "symbols: /"),
        ("½ cup", "symbols: ½"),
        ("x²", "symbols: ²"),
        ("5¢ or ¥500", "symbols: ¢ ¥"),
        ("$k$", "symbols: $"),
        ('a 12" pipe', 'symbols: "'),
        ("the β particle", "letters: β"),
        ("9/11", "numbers: 9/11"),
        ("555-1234", "numbers: 555-1234"),
        ("a 5-4 vote", "numbers: 5-4"),
        ("5 - 3", "numbers: 5 - 3"),
        ("x - 5", "numbers: 5"),
        ("10^5", "numbers: 10^5"),
        ("1.2.3", "numbers: 1.2.3"),
        ("20,5", "numbers: 20,5"),
        ("007", "numbers: 007"),
        ("11st", "numbers: 11st"),
        ("$.50", "numbers: $.50"),
        ("$1.5", "numbers: $1.5"),
        ("Jan. 45, 1999", "numbers: Jan. 45"),
        ("6'2", "numbers: 6'2"),
        ("1" + "0" * 20, "numbers: 1" + "0" * 20),
        ("5 dB", "units: 5 dB"),
        ("300 K", "units: 300 K"),
        ("-40 dB", "units: -40 dB"),
        ("10-20 dB", "numbers: 10-20"),
        ("2x", "units: 2x"),
        ("5 in. long", "units: 5 in."),
        ("World War II", "Roman numbers: II"),
        ("Henry VIII's", "Roman numbers: VIII"),
        ("St. Louis", "abbreviations: St."),
        ("the mgr. of it", "abbreviations: mgr."),
        ("Smith et al. found", "abbreviations: al."),
        ("f(x)", "marks inside a word: f(x)"),
        ("see a.com", "marks inside a word: a.com"),
    ],
)
def test_what_has_several_readings_or_none_is_refused_by_name(text, kind):
    with pytest.raises(Unsayable) as refused:
        verbalize(text)
    assert str(refused.value) == kind


@pytest.mark.parametrize("symbol", sorted(_symbols()))
def test_every_unit_has_a_name_for_one_and_for_many(symbol):
    one, many = _symbols()[symbol]
    assert verbalize(f"1 {symbol}") == f"one {one}"
    assert verbalize(f"3 {symbol}") == f"three {many}"
    assert (one + many).replace(" ", "").isalpha() and len(many) > 3


def test_all_units_are_told_apart():
    assert len({name for _, name in _symbols().values()}) == len(UNITS)


PIECES = st.sampled_from(
    [
        "3",
        "1984",
        "2.5",
        "1,000",
        "%",
        "$",
        "°C",
        "km",
        " ",
        " ",
        "-",
        ".",
        ",",
        "/",
        "£",
    ]
    + [
        "the",
        "May",
        "Dr.",
        "p.m.",
        "&",
        "x",
        "th",
        "s",
        "'",
        "(",
        ")",
        "\u0301",
        "é",
        "=",
    ]
)
NUMBERS = "one|two|three|four|five|eight|nine|thir|twen|fif|six|seven|ten|elev|twelv"
SAID = {"%": "percent", "$": "dollar|cent", "£": "pound|pen", "&": "and", "°": "degree"}


@settings(deadline=None)
@given(st.lists(PIECES, max_size=9).map("".join))
@example("3 %")
def test_nothing_is_dropped_silently(text):
    try:
        words = verbalize(text)
    except Unsayable:
        return
    assert all(c.isalpha() or c.isspace() or c in MARKS + "\u0301" for c in words)
    # "10% - 20%" is ten to twenty percent.
    text = re.sub(r"%(?=\s?-\s?[\d,.]+\s?%)", "", text)
    for symbol, names in SAID.items():
        assert len(re.findall(rf"\b(?:{names})", words)) >= text.count(symbol)
    numbers = re.findall(r"\d[\d,.]*", text)
    assert len(re.findall(rf"\b(?:{NUMBERS})", words)) >= len(numbers)


def test_wording_twice_changes_nothing():
    words = verbalize("On May 2, 1984 Dr. Bo lost 3.5 % of his $20.50 at 50 °C.")
    assert verbalize(words) == words
