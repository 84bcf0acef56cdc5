"""Word alignment without any tool: characters spread evenly from first to last sound.

Good enough where only the text counts, or as a start: in a language that has no
aligner, a segmenter that learns from transcripts (``char_ctc``, ``unity2``) can be
trained on it, and then aligns (aligner ``trained``).
"""

import numpy as np

from ssr_plugin.alignment.aligner_audio import read_item_audio
from ssr_plugin.alignment.base import Aligner
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit, sayable
from ssr_plugin.languages import word_spans

SAMPLE_RATE = 16000

# Loudness is measured over steps of this length, s.
STEP = 0.02

# How much softer than the loudest step a sound may be, dB.
DYNAMIC_RANGE = 30.0


class EvenAligner(Aligner):
    """Gives every letter and digit the same time, from the first sound to the last.

    Example
    -------
    >>> import soundfile
    >>> from ssr_plugin.alignment.base import AlignmentItem
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, np.r_[np.zeros(16000), np.ones(16000)] / 2, 16000)
    >>> (alignment,) = EvenAligner().align([AlignmentItem("a", str(path), "A man!")])
    >>> [(unit.text, unit.start, unit.end) for unit in alignment.units]
    [('A', 1.0, 1.25), ('man!', 1.25, 2.0)]
    """

    name = "even"
    wants_words = True

    def settings(self):
        """How the first and the last sound are found."""
        return {"sample_rate": SAMPLE_RATE, "step": STEP, "range": DYNAMIC_RANGE}

    def align(self, items):
        """See :meth:`Aligner.align`."""
        return [self._align_or_error(item) for item in items]

    def _align_or_error(self, item):
        try:
            return self._align(item)
        except AlignmentError as error:
            return error

    def _align(self, item):
        words = [
            (start, item.text[start:stop], len(sayable(item.text[start:stop])))
            for start, stop in word_spans(item.text)
        ]
        words = [word for word in words if word[2]]
        if not words:
            raise AlignmentError(item.id, f"no letter or digit in '{item.text}'")
        samples = read_item_audio(item, SAMPLE_RATE)
        sound = first_and_last_sound(samples, SAMPLE_RATE)
        if sound is None:
            raise AlignmentError(item.id, f"nothing but silence in '{item.wav}'")
        counts = np.cumsum([0, *(count for _, _, count in words)])
        edges = np.interp(counts / counts[-1], (0, 1), sound).round(4).tolist()
        units = tuple(
            Unit(text, start, end, offset)
            for (offset, text, _), start, end in zip(
                words, edges, edges[1:], strict=False
            )
        )
        duration = len(samples) / SAMPLE_RATE
        return Alignment(item.id, item.text, units, "word", duration)


def first_and_last_sound(samples, sample_rate, step=STEP, dynamic_range=DYNAMIC_RANGE):
    """Start and end of all that sounds, in s, rounded to steps.

    Arguments
    ---------
    samples : np.ndarray
        [S]
    sample_rate : int
        In Hz.
    step : float
        Loudness is measured over steps of this length, in s.
    dynamic_range : float
        How much softer than the loudest step a sound may be, in dB.

    Returns
    -------
    (float, float) or None
        None if all samples are 0.

    Example
    -------
    >>> first_and_last_sound(np.array([0, 0, 0, 0, 1, -1, 1, 1, 0, 0]), 10, step=0.2)
    (0.4, 0.8)
    """
    size = max(round(step * sample_rate), 1)
    edges = np.arange(0, len(samples), size)
    power = np.add.reduceat(np.square(samples, dtype=np.float64), edges)
    if not power.any():
        return None
    loud_steps = np.flatnonzero(power >= power.max() * 10 ** (-dynamic_range / 10))
    start, stop = loud_steps[0] * size, min((loud_steps[-1] + 1) * size, len(samples))
    return float(start / sample_rate), float(stop / sample_rate)
