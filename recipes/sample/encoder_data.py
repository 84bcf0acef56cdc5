"""Speech that the encoder learns from: many voices, stories and public-domain text.

None of it is in a voice that the test split uses, and no sentence of it is in test or
dev.
"""

import random
import re
import subprocess

import numpy as np
from corpus import UNSEEN, read_aloud
from speech import PHONES, SAMPLE_RATE, Voice
from stories import tell
from tqdm import tqdm

_FLITE = (("rms", 1.1), ("slt", 0.92), ("kal16", 0.78))
_ACCENTS = ("en-us", "en-us", "en", "en-gb-scotland", "en-us-nyc", "en-gb-x-rp")
_VARIANTS = (
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 Alex Andy Annie Michael Mike Lee Marco "
    "belinda benjamin caleb david edward john linda max paul rob robert steph travis "
    "victor"
)


def bible_lines():
    """The King James Bible (public domain), as Debian's ``bible-kjv`` prints it.

    Returns
    -------
    list of str
        One verse each, in lower case, with its punctuation.
    """
    printed = subprocess.run(
        ["bible", "-f", "gen1:1-rev22:21"], capture_output=True, text=True, check=True
    ).stdout
    verses = (line.split(" ", 1)[1] for line in printed.splitlines() if " " in line)
    return [re.sub(r"\s+", " ", verse).strip().lower() for verse in verses]


def any_voice(rng):
    """Draws a way to speak; never one of :data:`corpus.UNSEEN`."""
    if rng.random() < 0.65:
        name, rate = rng.choice(_FLITE)
        pitch = rng.uniform(0.8, 1.5)
        rate *= rng.uniform(0.8, 1.25)
        voice = Voice("flite", name, rate, pitch, size=rng.uniform(0.82, 1.25))
    else:
        name = f"{rng.choice(_ACCENTS)}+{rng.choice(_VARIANTS.split())}"
        pitch, rate = rng.uniform(0.8, 1.25), rng.uniform(0.75, 1.15)
        voice = Voice("espeak", name, rate, pitch, size=rng.uniform(0.9, 1.12))
    assert voice.name not in UNSEEN
    return voice


def make_speech(minutes, held_out, verses, seed):
    """Synthesises speech with the phone of every 20 ms.

    Arguments
    ---------
    minutes : float
        How much.
    held_out : set of str
        Sentences that must not be said.
    verses : list of str
        General text, of which pieces of 6 to 10 words are said.
    seed : int
        Where the choices start.

    Returns
    -------
    list of dict
        "samples" (int16 [S] at 16 kHz), "text", "phones" (list of (index in
        :data:`speech.PHONES`, start, end), times in seconds).
    """
    rng = random.Random(seed)
    made, seconds = [], 0.0
    bar = tqdm(total=int(60 * minutes), desc="speech", unit="s")
    while seconds < 60 * minutes:
        if rng.random() < 0.7:
            sentences = rng.sample(tell(rng), rng.choice((1, 1, 1, 2)))
        else:
            words = re.sub("[^a-z ]", "", rng.choice(verses)).split()
            start = rng.randrange(max(1, len(words) - 5))
            sentences = [" ".join(words[start : start + rng.randint(6, 10)])]
        if held_out & set(sentences):
            continue
        try:
            samples, words, phones = read_aloud(sentences, any_voice(rng), rng)
        except ValueError:
            continue  # A joined or respelt word: its times are not known.
        spoken = [(PHONES.index(p), s, e) for p, s, e in phones if p]
        made.append(
            {
                "samples": (samples * 32767).astype(np.int16),
                "text": " ".join(word for word, _, _ in words),
                "phones": np.array(spoken, dtype=np.float32).reshape(-1, 3),
            }
        )
        seconds += len(samples) / SAMPLE_RATE
        bar.update(round(len(samples) / SAMPLE_RATE))
    bar.close()
    return made
