"""Word alignment with pocketsphinx, on the bundled sample and on what is no speech."""

import logging
import pathlib
import pickle

import numpy as np
import pytest
import soundfile

from ssr_plugin.alignment import cache
from ssr_plugin.alignment.align_manifest import main
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.compare_alignments import compare
from ssr_plugin.alignment.formats import read_file
from ssr_plugin.alignment.record import Alignment, AlignmentError
from ssr_plugin.alignment.sphinx import MIN_WORDS, SphinxAligner
from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.training.data_pipeline import align_rows


@pytest.fixture(scope="module")
def aligner():
    return SphinxAligner()


def noise(path, seconds, rate=16000, channels=1):
    samples = np.random.default_rng(0).standard_normal(
        (round(seconds * rate), channels)
    )
    soundfile.write(path, 0.1 * samples, rate)
    return str(path)


def test_an_unknown_word_and_a_number_do_not_fail_the_utterance(aligner, tmp_path):
    wav = noise(tmp_path / "a.flac", 3.0)
    text = "The “Sweynheim” press, in 1455: naïveté"
    (alignment,) = aligner.align([AlignmentItem("utt-1", wav, text)])
    assert isinstance(alignment, Alignment)
    unit_texts = [unit.text for unit in alignment.units]
    assert unit_texts == ["The", "Sweynheim", "press", "in", "1455", "naïveté"]
    assert alignment.text == text
    assert alignment.units[-1].end <= alignment.duration == 3.0


def test_any_rate_and_number_of_channels_is_read(aligner, tmp_path):
    for rate, channels in ((22050, 1), (44100, 2), (8000, 1)):
        wav = noise(tmp_path / f"{rate}.wav", 1.0, rate, channels)
        (alignment,) = aligner.align([AlignmentItem("utt-1", wav, "hello world")])
        assert len(alignment.units) == 2
        assert alignment.duration == 1.0


def test_pocketsphinx_gives_an_error_for_each_utterance_it_cannot_align(
    aligner, tmp_path
):
    good = noise(tmp_path / "good.wav", 1.0)
    short = noise(tmp_path / "short.wav", 0.3)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "nan.wav", np.full(160, np.nan), 16000, "FLOAT")
    items = [
        AlignmentItem("good", good, "hello"),
        AlignmentItem("gone", "gone.wav", "hello"),
        AlignmentItem("empty", str(tmp_path / "empty.wav"), "hello"),
        AlignmentItem("text", str(tmp_path / "text.wav"), "hello"),
        AlignmentItem("nan", str(tmp_path / "nan.wav"), "hello"),
        AlignmentItem("mute", good, "--"),
        AlignmentItem("much", short, "hello " * 30),
        AlignmentItem("again", good, "hello"),
    ]
    results = aligner.align(items)
    assert all(isinstance(r, AlignmentError) for r in results[1:-1])
    messages = [str(r) for r in results[1:-1]]
    assert messages[0] == "gone: there is no audio file gone.wav"
    assert messages[1].endswith("empty.wav holds no samples: leave it out")
    assert messages[2].startswith("text: cannot read ")
    assert messages[3].endswith("holds samples that are no numbers: replace it")
    assert messages[4] == "mute: nothing to say in '--'"
    assert messages[5].startswith("much: no way to say its 30 words in the 0.30 s")
    assert results[0].units == results[-1].units


def test_a_search_that_would_take_too_much_memory_is_refused(
    aligner, tmp_path, monkeypatch
):
    """Which is that for a transcript that does not fit, in audio of some minutes."""
    text = "how much wood would a woodchuck chuck"
    item = AlignmentItem("a", noise(tmp_path / "a.wav", 1.5), text)
    searches, times = [], aligner._times

    def narrow_finds_nothing(words, pcm, beam):
        searches.append(beam)
        return None if beam == "narrow" else times(words, pcm, beam)

    monkeypatch.setattr(aligner, "_times", narrow_finds_nothing)
    assert isinstance(aligner.align([item])[0], Alignment)
    assert searches == ["narrow", "all"]
    soundfile.write(tmp_path / "long.wav", np.zeros(600 * 16000, np.int16), 16000)
    item = AlignmentItem("long", str(tmp_path / "long.wav"), f"{text} " * 200)
    (error,) = aligner.align([item])
    assert searches[2:] == ["narrow"]
    assert "1400 words are not found in the 600.00 s of" in error.reason
    assert "would take 19.3 GB: is the transcript of this audio" in error.reason


def test_times_do_not_depend_on_what_was_aligned_before(aligner, tmp_path):
    loud, quiet = noise(tmp_path / "a.wav", 2.0), str(tmp_path / "b.wav")
    soundfile.write(quiet, 0.001 * np.sin(np.arange(32000) / 30), 16000)
    items = [
        AlignmentItem("a", loud, "one two zyxel"),
        AlignmentItem("b", quiet, "three zyxel four"),
    ]
    alignments = aligner.align(items)
    assert SphinxAligner().align(items[::-1])[::-1] == alignments


def test_an_aligner_that_has_worked_can_be_sent_to_another_process(aligner, tmp_path):
    item = AlignmentItem("a", noise(tmp_path / "a.wav", 1.0), "hello")
    before = aligner.align([item])
    assert pickle.loads(pickle.dumps(aligner)).align([item]) == before


# --- Other languages ---------------------------------------------------------------

ENGLISH = (
    "Once upon a time there was a miller who was poor, but he had a beautiful "
    "daughter, and it came about that he spoke with the king, and to look important "
    "he told him that she could spin straw into gold."
)
GERMAN = (
    "Es war einmal ein Müller, der war arm, aber er hatte eine schöne Tochter. Nun "
    "traf es sich, dass er mit dem König zu sprechen kam, und um sich ein Ansehen zu "
    "geben, sagte er zu ihm, sie könne Stroh zu Gold spinnen."
)
FRENCH = (
    "Il était une fois un meunier qui était pauvre, mais qui avait une très belle "
    "fille. Il lui arriva un jour de parler avec le roi, et pour se donner un air "
    "important il lui dit qu’elle savait filer la paille et la changer en or."
)
SPANISH = (
    "Había una vez un molinero que era pobre, pero que tenía una hija muy hermosa, y "
    "un día le tocó hablar con el rey y, para darse importancia, le dijo que ella "
    "sabía hilar la paja y convertirla en oro."
)
DUTCH = (
    "Er was eens een molenaar die arm was, maar hij had een mooie dochter, en op een "
    "keer sprak hij met de koning, en om indruk te maken zei hij dat zij van stro "
    "goud kon spinnen."
)


@pytest.mark.parametrize("text", ["Доброе утро", "hello 日本", "the β particle"])
def test_letters_that_english_has_no_sounds_for_are_refused(aligner, tmp_path, text):
    wav = noise(tmp_path / "a.wav", 1.0)
    items = [AlignmentItem("a", wav, text), AlignmentItem("b", wav, "hello")]
    error, alignment = aligner.align(items)
    assert isinstance(error, AlignmentError) and isinstance(alignment, Alignment)
    letters = {c for c in text if c.isalpha() and not c.isascii()}
    refused = error.reason.partition("its letters '")[2].partition("'")[0]
    assert set(refused) == letters and len(refused) == len(letters)
    assert all(name in error.reason for name in ("ctc", "files", "even", "unity2"))


@pytest.mark.parametrize("text", [GERMAN, FRENCH, SPANISH, DUTCH])
def test_pocketsphinx_doubts_a_corpus_in_another_language(aligner, text):
    doubt = aligner.doubt([ENGLISH[:40], *text.split(".")])
    assert "another language" in doubt and "ctc with a model of it" in doubt


def test_pocketsphinx_doubts_neither_english_nor_texts_of_few_words(aligner):
    assert (
        aligner.doubt([ENGLISH, ENGLISH.upper(), "It’s 1455 -- Mr. Rumpelstilzchen"])
        is None
    )
    few = GERMAN.split()[: MIN_WORDS - 1]
    assert aligner.doubt([" ".join(few)]) is None
    assert aligner.doubt([" ".join(few), "Müller"])
    assert aligner.doubt([]) is None


def test_pocketsphinx_doubts_words_it_has_guessed_like_any_unknown_word(tmp_path):
    used = SphinxAligner()
    used.align([AlignmentItem("a", noise(tmp_path / "a.wav", 9.0), GERMAN)])
    assert used.doubt([GERMAN]) == SphinxAligner().doubt([GERMAN])


@pytest.fixture
def german(tmp_path):
    """A manifest's rows: three sentences of German, and noise that is not said so."""
    cache._warn_once.cache_clear()
    wav = noise(tmp_path / "a.wav", 6.0)
    clauses = GERMAN.split(", ")
    return {f"utt-{i}": {"wav": wav, "wrd": text} for i, text in enumerate(clauses)}


def warnings(caplog):
    return [r.message for r in caplog.records if "another language" in r.message]


def test_a_recipe_warns_once_of_a_corpus_in_another_language(german, tmp_path, caplog):
    hparams = {
        "aligner": "pocketsphinx",
        "aligner_options": {},
        "cache_folder": tmp_path,
        "max_skipped_share": 1.0,
    }
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            align_rows(german, hparams)
    assert len(warnings(caplog)) == 1


def test_align_manifest_warns_of_another_language_for_shards_and_cached_alignments(
    german, tmp_path, caplog
):
    rows = [(name, 6.0, row["wav"], "s", row["wrd"]) for name, row in german.items()]
    write_manifest(tmp_path / "a.csv", rows)
    line = [str(tmp_path / "a.csv"), "--cache_folder", str(tmp_path / "cache")]
    line += ["--num_workers", "1", "--max_skipped_share", "1"]
    messages = []
    for shard in ("1/2", "1/1", "1/1"):
        cache._warn_once.cache_clear()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            main([*line, "--shard", shard])
        messages += warnings(caplog)
    # Judged over the whole, so that all say the same.
    assert len(messages) == 3 and len(set(messages)) == 1


CORPUS = pathlib.Path(__file__).parents[2] / "recipes" / "sample" / "corpus"


@pytest.mark.skipif(not CORPUS.exists(), reason="the bundled sample is not here")
def test_pocketsphinx_on_lower_case_text_agrees_with_the_synthesisers_times(aligner):
    record = next(CORPUS.glob("alignments/dev*.jsonl"))
    truth = {timed.id: timed for timed in read_file(record)[:2]}
    items = [
        AlignmentItem(id, str(next(CORPUS.rglob(f"{id}.*"))), timed.text.lower())
        for id, timed in truth.items()
    ]
    alignments = aligner.align(items)
    words = {a.id: [(u.text, u.start, u.end) for u in a.units] for a in alignments}
    result = compare(words, {id: timed.words() for id, timed in truth.items()})
    assert result.missing == 0
    assert result.both.mae < 60
    assert result.both.within_50 > 0.6
