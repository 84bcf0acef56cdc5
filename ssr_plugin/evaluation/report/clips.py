"""Recordings made small, to be played in a page."""

import functools
import io

import soundfile

from ssr_plugin.data.audio import read_audio

#: What is longer is cut.
MOST_SECONDS = 30
_RATE = 16000


@functools.lru_cache(maxsize=512)
def make_clip(path, seconds=None):
    """A recording as a small file that every browser plays.

    Arguments
    ---------
    path : str
        Any file that libsndfile reads.
    seconds : float or None
        Only so much of it, from its start.

    Returns
    -------
    data : bytes
        MP3 of one channel and 16 kHz, or WAV where libsndfile is too old for MP3.
    kind : str
        Its media type.
    cut : bool
        Whether it was longer than ``MOST_SECONDS``.

    Raises
    ------
    ssr_plugin.data.audio.AudioError
        If it cannot be read.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [0.1, -0.1] * 8000, 16000)
    >>> data, kind, cut = make_clip(str(path))
    >>> soundfile.info(io.BytesIO(data)).samplerate, cut
    (16000, False)
    """
    samples = read_audio(path, _RATE)
    if seconds is not None:
        samples = samples[: round(seconds * _RATE)]
    cut = len(samples) > MOST_SECONDS * _RATE
    samples = samples[: MOST_SECONDS * _RATE].clamp(-1, 1).numpy()
    file = io.BytesIO()
    mp3 = "MP3" in soundfile.available_formats()
    soundfile.write(file, samples, _RATE, format="MP3" if mp3 else "WAV")
    return file.getvalue(), "audio/mpeg" if mp3 else "audio/wav", cut
