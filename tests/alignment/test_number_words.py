"""Numbers in words of other languages than English, and an aligner that reads them."""

import pickle

import numpy as np
import pytest

from ssr_plugin.alignment.base import Aligner, AlignmentItem
from ssr_plugin.alignment.even import EvenAligner
from ssr_plugin.alignment.number_aligner import NumberWordsAligner, with_number_words
from ssr_plugin.alignment.number_words import find_numbers, word_numbers
from ssr_plugin.alignment.readers import FileAligner
from ssr_plugin.alignment.record import Alignment, Unit, sayable


@pytest.mark.parametrize(
    ("language", "text", "says"),
    [
        ("de", "21 Hunde, 2,5 kg.", "einundzwanzig Hunde, zwei Komma fünf Kilogramm."),
        ("de", "am 3. Mai 1984", "am dritten Mai neunzehnhundertvierundachtzig"),
        ("de", "Das 2. Mal, 3. Mai", "Das zweite Mal, dritter Mai"),
        ("de", "1.000 € und 2,50 €", "eintausend Euro und zwei Euro fünfzig"),
        ("de", "-5 °C, 1 %, 1 h", "minus fünf Grad Celsius, ein Prozent, eine Stunde"),
        ("fr", "12 500 et 3,2 km", "douze mille cinq cents et trois virgule deux kilo"
         "mètres"),
        ("fr", "le 1er, la 1re, la 2e", "le premier, la première, la deuxième"),
        ("fr-CH", "70 %", "septante pour cent"),
        ("es", "el 3º, la 2ª, 1.500", "el tercero, la segunda, mil quinientos"),
        ("es", "3,14 y 1 km", "tres coma uno cuatro y un kilómetro"),
        ("es-MX", "3.14 y 1,500", "tres punto uno cuatro y mil quinientos"),
        ("it", "il 3º, 2,5 kg e 1 l", "il terzo, due virgola cinque chilogrammi e un "
         "litro"),
        ("pt", "a 2ª vez, 2,5 e 50%", "a segunda vez, dois vírgula cinco e cinquenta "
         "por cento"),
        ("pt-BR", "1984", "mil novecentos e oitenta e quatro"),
        ("nl", "de 3e, 1,5 km/u", "de derde, één komma vijf kilometer per uur"),
        ("pl", "5 kotów, 3,25", "pięć kotów, trzy przecinek dwadzieścia pięć"),
        ("sv", "3:e, 12 000", "tredje, tolvtusen"),
        ("da", "den 3. maj, 2,5", "den tredje maj, to komma fem"),
        ("nb", "den 3. mai, 10 %", "den tredje mai, ti prosent"),
        ("fi", "2,5", "kaksi pilkku viisi"),
        ("cs", "7 a 2,5", "sedm a dva celá pět"),
        ("ru", "5 кошек, 10 %", "пять кошек, десять процентов"),
        ("tr", "3. gün", "üçüncü gün"),
        ("ja", "3匹", "三匹"),
        ("ar", "\u0663 قطط", "ثلاثة قطط"),
    ],
)  # fmt: skip
def test_numbers_are_said_as_their_language_says_them(language, text, says):
    assert word_numbers(text, language) == says


@pytest.mark.parametrize(
    ("language", "text"),
    [
        # Of a time, a date, a range, a word, a code, or with another language's mark.
        ("de", "12:30, 3.5.2020, 10-20, 10 – 20, B12, 007, 5-jährig, 3.5, 5/8, 1²"),
        # The sentence may have ended, or not.
        ("de", "Es waren 3. Dann"),
        # "Ein Hund", "eine Katze"; "veintiún perros"; "duzentas"; "trzeciego".
        ("de", "1 Hund"),
        ("es", "21 perros, 200 casas"),
        ("pl", "3 maja, 2 psy"),
        # num2words says fifteen, and leaves out the decimals.
        ("vi", "-5"),
        ("ar", "3.5"),
        # It knows no Chinese, nor ordinals of Czech.
        ("zh", "5 km"),
        ("cs", "3. května"),
    ],
)
def test_what_has_several_readings_or_none_stays_in_digits(language, text):
    assert word_numbers(text, language) == text


def test_an_aligner_is_given_the_form_that_counts_in_place_of_a_bent_one():
    (span,) = find_numbers("1 Hund", "de", strict=False)
    assert (span.start, span.end, span.words) == (0, 1, "eins")


class Letters(Aligner):
    """Says each letter and digit for a tenth of a second."""

    name = "letters"
    wants_words = True

    def settings(self):
        return {}

    def align(self, items):
        return [self._align(item) for item in items]

    def _align(self, item):
        self.said = item.text
        places = sorted({i for _, i in sayable(item.text)})
        units = tuple(
            Unit(item.text[i], n / 10, (n + 1) / 10, i) for n, i in enumerate(places)
        )
        return Alignment(item.id, item.text, units, "char", len(places) / 10)


def test_digits_share_the_time_of_their_words():
    letters = Letters()
    (found,) = NumberWordsAligner(letters, "de").align(
        [AlignmentItem("a", "", "um 12, ja 3 %!")]
    )
    assert letters.said == "um zwölf, ja drei Prozent!"
    times = [
        (u.text, u.offset, round(u.start, 2), round(u.end, 2)) for u in found.units
    ]
    assert times == [
        ("u", 0, 0.0, 0.1), ("m", 1, 0.1, 0.2),
        ("1", 3, 0.2, 0.45), ("2", 4, 0.45, 0.7),
        ("j", 7, 0.7, 0.8), ("a", 8, 0.8, 0.9),
        ("3", 10, 0.9, 2.0),
    ]  # fmt: skip


def test_a_number_of_several_words_is_one_unit_of_words():
    samples = np.full(16000, 0.5, dtype=np.float32)
    item = AlignmentItem("a", "", "so 2,5 km. Ja", samples=samples, sample_rate=16000)
    (found,) = with_number_words(EvenAligner(), "nl").align([item])
    assert [unit.text for unit in found.units] == ["so", "2,5 km.", "Ja"]
    assert found.units[1].start == found.units[0].end


def test_only_an_aligner_of_sounds_is_given_words_and_of_a_known_language(tmp_path):
    (tmp_path / "a.ctm").write_text("a 1 0.2 0.3 7\n")
    even, files = EvenAligner(), FileAligner(str(tmp_path))
    for aligner, language in ((even, "en"), (even, "zh"), (even, None), (files, "de")):
        assert with_number_words(aligner, language) is aligner
    worded = with_number_words(even, "de")
    assert worded.name == even.name and worded.settings() != even.settings()
    # It goes to other processes.
    assert pickle.loads(pickle.dumps(worded)).settings() == worded.settings()
