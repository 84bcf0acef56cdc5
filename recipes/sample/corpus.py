"""The spoken corpus: who reads which stories, in LibriSpeech's own folder layout."""

import collections
import dataclasses
import json
import random
import shutil

import numpy as np
import soundfile
from speech import SAMPLE_RATE, Voice, speak
from stories import PLOTS, tell
from tqdm import tqdm

from ssr_plugin.alignment.record import Alignment

#: Longest story that is read aloud, words: 15 s for the slowest reader.
LONGEST = 42

#: How often training should say each word, at least.
WORD_GOAL = 10


@dataclasses.dataclass(frozen=True)
class Speaker:
    """A voice with a reader's number, as SPEAKERS.TXT lists it.

    Arguments
    ---------
    id : int
        The reader's number.
    sex : str
        "F" or "M", as the voice sounds.
    voice : Voice
        How the reader speaks.
    utterances : dict
        Split -> number of utterances.
    """

    id: int
    sex: str
    voice: Voice
    utterances: dict


SPEAKERS = (
    Speaker(
        11, "M", Voice("flite", "rms", rate=1.1), {"train-sample": 18, "dev-sample": 3}
    ),
    Speaker(
        12, "F", Voice("flite", "slt", rate=0.9), {"train-sample": 18, "dev-sample": 3}
    ),
    Speaker(13, "M", Voice("flite", "kal16", rate=0.75), {"train-sample": 10}),
    Speaker(14, "F", Voice("flite", "rms", rate=1.1, size=1.16), {"train-sample": 10}),
    Speaker(15, "M", Voice("flite", "slt", rate=0.9, size=0.88), {"train-sample": 10}),
    Speaker(16, "M", Voice("espeak", "en-us", rate=0.9), {"train-sample": 8}),
    Speaker(
        17,
        "F",
        Voice("espeak", "en-us+f2", rate=0.9),
        {"train-sample": 8, "dev-sample": 2},
    ),
    Speaker(18, "M", Voice("espeak", "en+m3", rate=0.9), {"train-sample": 8}),
    Speaker(21, "M", Voice("flite", "awb", rate=0.9), {"test-sample": 12}),
)

#: Voices that nothing may be trained on.
UNSEEN = ("awb",)


def choose_stories(seed):
    """Writes the stories of all splits.

    Test and dev are drawn first. Then training takes, of many stories that share no
    sentence with them, the one that says most words still rare in it.

    Arguments
    ---------
    seed : int
        Where the choices start.

    Returns
    -------
    dict
        Split -> list of stories, each a list of sentences.
    """
    rng = random.Random(seed)
    wanted = collections.Counter()
    for speaker in SPEAKERS:
        wanted.update(speaker.utterances)
    stories, held_out = {}, set()
    for split in ("test-sample", "dev-sample"):
        plots = rng.sample(sorted(PLOTS), min(len(PLOTS), wanted[split]))
        stories[split] = []
        while len(stories[split]) < wanted[split]:
            plot = plots[len(stories[split]) % len(plots)]
            story = _short_story(rng, plot)
            if not held_out & set(story):
                stories[split].append(story)
                held_out.update(story)
    counts, train = collections.Counter(), []

    def gain(story):
        words = collections.Counter(" ".join(story).split())
        new = sum(
            min(n, max(0, WORD_GOAL - counts[w])) / (1 + counts[w]) ** 2
            for w, n in words.items()
        )
        return new / sum(words.values())

    while len(train) < wanted["train-sample"]:
        offers = [_short_story(rng) for _ in range(1000)]
        offers = [s for s in offers if not held_out & set(s) and s not in train]
        train.append(max(offers, key=gain))
        counts.update(" ".join(train[-1]).split())
    rng.shuffle(train)
    stories["train-sample"] = train
    return stories


def _short_story(rng, plot=None):
    while True:
        story = tell(rng, plot, sentences=rng.choice((3, 4, 4)))
        if len(" ".join(story).split()) <= LONGEST:
            return story


def read_aloud(story, voice, rng):
    """Reads a story: sentence after sentence, with pauses between and around.

    Arguments
    ---------
    story : list of str
        Its sentences.
    voice : Voice
        Who reads. Speed and level vary a little from story to story.
    rng : random.Random
        Where the variation comes from.

    Returns
    -------
    samples : numpy.ndarray
        [S] at 16 kHz.
    words, phones : list of tuple
        (name, start, end) in seconds.
    """
    voice = dataclasses.replace(voice, rate=voice.rate * rng.uniform(0.95, 1.05))
    pieces, words, phones = [np.zeros(int(rng.uniform(0.1, 0.3) * SAMPLE_RATE))], [], []
    for i, sentence in enumerate(story):
        if i:
            pieces.append(np.zeros(int(rng.uniform(0.15, 0.4) * SAMPLE_RATE)))
        shift = sum(map(len, pieces)) / SAMPLE_RATE
        spoken = speak(sentence, voice)
        pieces.append(spoken.samples)
        words += [(w, s + shift, e + shift) for w, s, e in spoken.words]
        phones += [(p, s + shift, e + shift) for p, s, e in spoken.phones]
    pieces.append(np.zeros(int(rng.uniform(0.1, 0.3) * SAMPLE_RATE)))
    samples = np.concatenate(pieces)
    level = 0.07 * 10 ** (rng.uniform(-6, 3) / 20)
    samples *= level / np.sqrt(np.mean(samples**2))
    # No recording is silent between words; digital zeros would give pauses away.
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(samples))
    samples = np.clip(samples + 3e-4 * noise, -0.99, 0.99).astype(np.float32)
    return samples, words, phones


def write_corpus(folder, stories, seed):
    """Reads all stories aloud; writes audio, transcripts, word times and sentences.

    Arguments
    ---------
    folder : pathlib.Path
        Is emptied first.
    stories : dict
        Of :func:`choose_stories`.
    seed : int
        Where the variation of speed, level and pauses starts.

    Returns
    -------
    dict
        Split -> minutes of speech.
    """
    shutil.rmtree(folder, ignore_errors=True)
    rng = random.Random(seed)
    minutes, table = collections.Counter(), []
    alignments, sentences = collections.defaultdict(list), collections.defaultdict(list)
    left = {split: list(told) for split, told in stories.items()}
    bar = tqdm(total=sum(map(len, stories.values())), desc="corpus", unit="utt")
    for speaker in SPEAKERS:
        for split, number in speaker.utterances.items():
            chapter = 100 * speaker.id + sorted(stories).index(split)
            place = folder / split / str(speaker.id) / str(chapter)
            place.mkdir(parents=True)
            lines, seconds = [], 0.0
            for i in range(number):
                id = f"{speaker.id}-{chapter}-{i:04d}"
                story = left[split].pop(0)
                samples, words, _ = read_aloud(story, speaker.voice, rng)
                duration = len(samples) / SAMPLE_RATE
                soundfile.write(
                    place / f"{id}.opus",
                    samples,
                    SAMPLE_RATE,
                    format="OGG",
                    subtype="OPUS",
                    compression_level=0.92,  # 26 kbit/s
                )
                sentences[split].append({"id": id, "sentences": story})
                text = " ".join(story).upper()
                lines.append(f"{id} {text}\n")
                words = [(w.upper(), round(s, 4), round(e, 4)) for w, s, e in words]
                alignments[split].append(
                    Alignment.from_units(id, text, words, round(duration, 4)).to_json()
                )
                seconds += duration
                bar.update()
            (place / f"{speaker.id}-{chapter}.trans.txt").write_text("".join(lines))
            minutes[split] += seconds / 60
            name = f"{speaker.voice.engine} {speaker.voice.name}"
            table.append(
                f"{speaker.id:<4} | {speaker.sex} | {split:<16} | "
                f"{seconds / 60:5.2f} | {name}, size {speaker.voice.size}\n"
            )
    bar.close()
    for name, splits in (("alignments", alignments), ("stories", sentences)):
        (folder / name).mkdir()
        for split, records in splits.items():
            with open(folder / name / f"{split}.jsonl", "w") as out:
                out.writelines(json.dumps(record) + "\n" for record in records)
    (folder / "SPEAKERS.TXT").write_text(
        "; Readers of the sample. Voice 21 reads nothing but test-sample.\n"
        ";ID  |SEX| SUBSET           |MINUTES| NAME\n" + "".join(table)
    )
    (folder / "LICENSE").write_text(
        "Stories, word times and recordings of this folder were made for the\n"
        "ssr_plugin project and are licensed under the Apache License 2.0, as it is.\n"
        "Voices: CMU Flite (free software, BSD-like licence) and eSpeak NG (GPL-3.0\n"
        "program; its output is not covered by the GPL). See ../README.md.\n"
    )
    return dict(minutes)


def check_unseen(stories, *others):
    """Raises AssertionError if a test or dev sentence is in training, or in others.

    Arguments
    ---------
    stories : dict
        Of :func:`choose_stories`.
    *others : iterable of str
        More sentences that were trained on.
    """
    held_out = held_out_sentences(stories)
    trained = {sentence for story in stories["train-sample"] for sentence in story}
    for sentences in (trained, *others):
        assert not held_out & set(sentences), held_out & set(sentences)


def held_out_sentences(stories):
    """The set of all sentences of test and dev."""
    return {
        sentence
        for split in ("test-sample", "dev-sample")
        for story in stories[split]
        for sentence in story
    }
