"""Forced word alignment of English with pocketsphinx and the model in its package.

Nothing is downloaded. Words outside its dictionary get a guessed pronunciation. So an
utterance fails only where transcript and audio do not fit, or where its letters are not
Latin.
"""

import importlib.metadata
import re

import numpy as np
import pocketsphinx

from ssr_plugin.alignment.aligner_audio import read_item_audio
from ssr_plugin.alignment.base import OTHER_ALIGNERS, Aligner
from ssr_plugin.alignment.english import (
    foreign_letters,
    guess_phones,
    spoken_words,
    unknown_share,
)
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit

SAMPLE_RATE = 16000
FRAME_RATE = 100

# A frame's window (25.625 ms) is longer than the step to the next (10 ms): frame i
# describes the middle of its window, this much later than i / 100 s.
WINDOW_DELAY = (0.025625 - 1 / FRAME_RATE) / 2

DECODER = {
    "lm": None,
    # Normalised over the utterance, not over what the decoder heard before.
    "cmn": "batch",
    # The text is given; a language weight would only make pauses so unlikely that
    # words take their time.
    "lw": 1.0,
    "bestpath": False,
    "loglevel": "FATAL",
}

# Share of running words outside the dictionary beyond which the language is doubted.
# Measured: LibriSpeech 1.6 %, LJSpeech 2.0 %, questions of MMLU 1.4 % (at most 9 % of
# any 500 words in a row). Other languages, by the word frequencies of the package
# wordfreq and by the translated messages of Debian's programs: French 38 and 48 %,
# Spanish 40 and 47, Catalan 41 and 50, Italian 46 and 50, German 51 and 62, Dutch 55
# and 63; none of 26 has less than 38.
MAX_UNKNOWN_SHARE = 0.25

# Fewer words prove nothing: of 20 of LibriSpeech in a row, up to a quarter are unknown
# names, of 20 German ones, a fifth may be known.
MIN_WORDS = 20

ALL_PATHS = {"beam": 0.0, "wbeam": 0.0, "pbeam": 0.0, "maxhmmpf": -1}

# That search keeps each word in each frame: 230 bytes (measured from 36 to 72 s), of
# which there may be so many: that is two minutes of speech. The narrow search finds
# what fits, in an hour, too: of 9,720 words all but one lay in their utterance. That
# took 0.5 GB in all.
_WORD_FRAME_BYTES, MOST_MEMORY = 230, 1e9
# Samples that are made integers at once.
_BLOCK = 1 << 20


def _to_int16(samples):
    """The bytes of samples in -1..1 as 16-bit integers."""
    pcm = np.empty(len(samples), dtype="<i2")
    for i in range(0, len(samples), _BLOCK):
        block = samples[i : i + _BLOCK].clip(-1, 1) * 32767
        pcm[i : i + _BLOCK] = block.round()
    return memoryview(pcm).cast("B")


class SphinxAligner(Aligner):
    """Aligns English words; about 100 times as fast as real time on one core.

    Time grows faster than the length: of a core, five minutes of audio took 9 s, ten 28
    s, and an hour in one piece 11 minutes.

    Example
    -------
    >>> from ssr_plugin.alignment.base import AlignmentItem
    >>> str(SphinxAligner().align([AlignmentItem("utt-1", "no.wav", "hello")])[0])
    'utt-1: there is no audio file no.wav'
    """

    name = "pocketsphinx"

    def __init__(self):
        self._decoders = {}
        self._guessed = set()

    def __getstate__(self):
        return {"_decoders": {}, "_guessed": set()}

    def settings(self):
        """The model, the settings of its search, and the versions of both packages."""
        return {
            "model": "en-us",
            "decoder": {k: v for k, v in DECODER.items() if k != "loglevel"},
            "letters": "Latin",
            "pocketsphinx": importlib.metadata.version("pocketsphinx"),
            "gruut": importlib.metadata.version("gruut"),
        }

    def align(self, items):
        """See :meth:`Aligner.align`."""
        return [self._align_or_error(item) for item in items]

    def doubt(self, texts):
        """See :meth:`Aligner.doubt`: whether the transcripts are likely not English."""
        share, count = unknown_share(texts, self._is_in_dictionary)
        if count < MIN_WORDS or share <= MAX_UNKNOWN_SHARE:
            return None
        return (
            f"{100 * share:.0f} % of the words in these transcripts are not in the "
            f"English dictionary of the aligner pocketsphinx (of English text, about "
            f"2 %): are they in another language? Then its times, and all figures that "
            f"build on them, are of no use: take {OTHER_ALIGNERS}"
        )

    def _align_or_error(self, item):
        try:
            return self._align(item)
        except AlignmentError as error:
            return error

    def _align(self, item):
        foreign = foreign_letters(item.text)
        if foreign:
            raise AlignmentError(
                item.id,
                f"the English aligner pocketsphinx has no sounds for its letters "
                f"'{foreign[:20]}': take {OTHER_ALIGNERS}",
            )
        samples = read_item_audio(item, SAMPLE_RATE)
        duration = len(samples) / SAMPLE_RATE
        pcm = _to_int16(samples)
        del samples
        spoken = spoken_words(item.text, self._is_in_dictionary)
        if not spoken:
            raise AlignmentError(item.id, f"nothing to say in '{item.text}'")
        words = [word for span in spoken for word in span.words]
        times = self._times(words, pcm, "narrow")
        if times is None:
            size = duration * FRAME_RATE * len(words) * _WORD_FRAME_BYTES
            if size > MOST_MEMORY:
                raise AlignmentError(
                    item.id,
                    f"its {len(words)} words are not found in the {duration:.2f} s of "
                    f"'{item.wav}', and to look for them everywhere would take "
                    f"{size / 1e9:.1f} GB: is the transcript of this audio, and all of "
                    f"it? Else cut both into parts of two minutes at most",
                )
            times = self._times(words, pcm, "all")
        if times is None:
            raise AlignmentError(
                item.id,
                f"no way to say its {len(words)} words in the {duration:.2f} s of "
                f"'{item.wav}': is the transcript of this audio, and all of it?",
            )
        times = np.minimum(np.array(times) / FRAME_RATE + WINDOW_DELAY, duration)
        units, first = [], 0
        for span in spoken:
            last = first + len(span.words) - 1
            start, end = times[first, 0].round(4), times[last, 1].round(4)
            units.append(
                Unit(
                    item.text[span.start : span.end],
                    float(start),
                    float(end),
                    span.start,
                )
            )
            first = last + 1
        return Alignment(item.id, item.text, tuple(units), "word", duration)

    def _is_in_dictionary(self, word):
        # Guesses do not count: else a reading would depend on earlier utterances.
        phones = self._decoder("narrow").lookup_word(word)
        return phones is not None and word not in self._guessed

    def _decoder(self, beam):
        if beam not in self._decoders:
            options = DECODER if beam == "narrow" else DECODER | ALL_PATHS
            self._decoders[beam] = pocketsphinx.Decoder(**options)
        return self._decoders[beam]

    def _times(self, words, pcm, beam):
        """First and last frame (exclusive) of each word, or None if none were found."""
        decoder = self._decoder(beam)
        for word in words:
            if decoder.lookup_word(word) is None:
                decoder.add_word(word, guess_phones(word), False)
                self._guessed.add(word)
        # Without this, the end of the last utterance leaks into the start of this one.
        decoder.reinit_feat()
        decoder.set_align_text(" ".join(words))
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        if decoder.hyp() is None:
            return None
        segments = [s for s in decoder.seg() if s.word[0] not in "<[(+"]
        # The dictionary's second pronunciation of "the" is called "the(2)".
        if [re.sub(r"\(\d+\)$", "", s.word) for s in segments] != words:
            return None
        return [(s.start_frame, s.end_frame + 1) for s in segments]
