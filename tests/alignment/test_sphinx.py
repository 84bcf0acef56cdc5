"""Word alignment with pocketsphinx, on the bundled sample and on what is no speech."""

import pathlib
import pickle

import numpy as np
import pytest
import soundfile

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.compare_alignments import compare
from ssr_plugin.alignment.formats import read_file
from ssr_plugin.alignment.record import Alignment, AlignmentError
from ssr_plugin.alignment.sphinx import SphinxAligner


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
    text = "The “Sweynheim” press, in 1455: 日本"
    (alignment,) = aligner.align([AlignmentItem("utt-1", wav, text)])
    assert isinstance(alignment, Alignment)
    spelt = [unit.text for unit in alignment.units]
    assert spelt == ["The", "Sweynheim", "press", "in", "1455", "日本"]
    assert alignment.text == text
    assert alignment.units[-1].end <= alignment.duration == 3.0


def test_any_rate_and_number_of_channels_is_read(aligner, tmp_path):
    for rate, channels in ((22050, 1), (44100, 2), (8000, 1)):
        wav = noise(tmp_path / f"{rate}.wav", 1.0, rate, channels)
        (alignment,) = aligner.align([AlignmentItem("utt-1", wav, "hello world")])
        assert len(alignment.units) == 2
        assert alignment.duration == 1.0


def test_what_cannot_be_aligned_is_an_error_of_that_utterance(aligner, tmp_path):
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


def test_times_do_not_depend_on_what_was_aligned_before(aligner, tmp_path):
    loud, quiet = noise(tmp_path / "a.wav", 2.0), str(tmp_path / "b.wav")
    soundfile.write(quiet, 0.001 * np.sin(np.arange(32000) / 30), 16000)
    items = [
        AlignmentItem("a", loud, "one two zyxel"),
        AlignmentItem("b", quiet, "three zyxel four"),
    ]
    there = aligner.align(items)
    assert SphinxAligner().align(items[::-1])[::-1] == there


def test_an_aligner_that_has_worked_can_be_sent_to_another_process(aligner, tmp_path):
    item = AlignmentItem("a", noise(tmp_path / "a.wav", 1.0), "hello")
    before = aligner.align([item])
    assert pickle.loads(pickle.dumps(aligner)).align([item]) == before


CORPUS = pathlib.Path(__file__).parents[2] / "recipes" / "sample" / "corpus"


@pytest.mark.skipif(not CORPUS.exists(), reason="the bundled sample is not here")
def test_on_speech_it_agrees_with_the_synthesiser_and_with_its_own_case(aligner):
    record = next(CORPUS.glob("alignments/dev*.jsonl"))
    truth = {timed.id: timed for timed in read_file(record)[:2]}
    items = [
        AlignmentItem(id, str(next(CORPUS.rglob(f"{id}.*"))), timed.text.lower())
        for id, timed in truth.items()
    ]
    found = aligner.align(items)
    words = {a.id: [(u.text, u.start, u.end) for u in a.units] for a in found}
    result = compare(words, {id: timed.words() for id, timed in truth.items()})
    assert result.missing == 0
    assert result.both.mae < 60
    assert result.both.within_50 > 0.6
