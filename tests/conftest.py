"""Fixtures that all tests share: tiny audio files and a tiny corpus.

All are functions, so that a test says what it needs; the same call makes the same
bytes.
"""

import zlib

import numpy as np
import pytest
import soundfile
from speechbrain.utils.importutils import LazyModule

WORDS = ["the", "cat", "sat", "on", "a", "mat", "saw", "seven", "birds", "old", "house"]


def _lazy_getattr(module, name):
    # Hypothesis asks every loaded module for its file, which makes SpeechBrain's lazy
    # modules import what is not installed (k2); speechbrain issue 2995.
    if name == "__file__":
        raise AttributeError(name)
    return getattr(module.ensure_module(1), name)


LazyModule.__getattr__ = _lazy_getattr


def _write_audio(path, seconds=0.5, sample_rate=16000, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 400) * time)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone + 0.01 * rng.standard_normal(len(time)), sample_rate)
    return path


@pytest.fixture(scope="session")
def write_audio():
    """``write_audio(path, seconds=0.5, sample_rate=16000, seed=0)``: a tone in noise.

    Makes the folder too; the file's type is its ending's (.wav, .flac, .ogg, ...).
    Returns the path.
    """
    return _write_audio


@pytest.fixture(scope="session")
def make_librispeech():
    """``make_librispeech(folder, splits, ...)``: a corpus in LibriSpeech's layout.

    Arguments: ``splits``, a dict of split name -> speakers (strings); ``chapters`` and
    ``utterances``, how many each speaker and each chapter has; ``seconds``, the length
    of an utterance; ``suffix``, the audio files' ending. Transcripts are 3 to 6 words
    in capitals. Returns ``folder / "LibriSpeech"``.
    """

    def make(folder, splits, chapters=1, utterances=3, seconds=0.5, suffix=".flac"):
        root = folder / "LibriSpeech"
        for split, speakers in splits.items():
            for speaker in speakers:
                for number in range(chapters):
                    chapter = f"{speaker}-{number + 100}"
                    place = root / split / speaker / str(number + 100)
                    lines = []
                    for index in range(utterances):
                        name = f"{chapter}-{index:04d}"
                        seed = zlib.crc32(name.encode())
                        _write_audio(place / f"{name}{suffix}", seconds, seed=seed)
                        rng = np.random.default_rng(seed)
                        words = rng.choice(WORDS, size=rng.integers(3, 7))
                        lines.append(f"{name} {' '.join(words).upper()}\n")
                    (place / f"{chapter}.trans.txt").write_text("".join(lines))
        return root

    return make
