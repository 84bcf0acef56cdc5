"""Audio as aligners want it: one channel, finite samples, the model's sampling rate."""

import math
import pathlib

import numpy as np
import scipy.signal
import soundfile

from ssr_plugin.alignment.record import AlignmentError


def read_audio(item, sample_rate):
    """Reads an utterance's audio, mixed to one channel and resampled.

    Arguments
    ---------
    item : AlignmentItem
    sample_rate : int
        Wanted, in Hz.

    Returns
    -------
    numpy.ndarray
        [samples], float32 in -1..1.

    Raises
    ------
    AlignmentError
        If the file is missing, unreadable or empty; it names the file.
    """
    if not pathlib.Path(item.wav).is_file():
        raise AlignmentError(item.id, f"no audio file '{item.wav}'")
    try:
        samples, rate = soundfile.read(item.wav, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AlignmentError(
            item.id, f"unreadable audio file '{item.wav}' ({error})"
        ) from None
    samples = samples.mean(axis=1)
    if len(samples) == 0:
        raise AlignmentError(item.id, f"no samples in audio file '{item.wav}'")
    if not np.isfinite(samples).all():
        raise AlignmentError(item.id, f"samples that are no number in '{item.wav}'")
    if rate == sample_rate:
        return samples
    common = math.gcd(rate, sample_rate)
    # scipy rather than torchaudio: the processes that align load no torch.
    return scipy.signal.resample_poly(
        samples, sample_rate // common, rate // common
    ).astype(np.float32)
