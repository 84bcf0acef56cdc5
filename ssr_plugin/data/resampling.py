"""Audio at another sampling rate: any rate that speech has, in little time and memory.

libsoxr takes any ratio of rates. Filters made for one ratio take gigabytes where the
two have no common factor, as 48,001 and 16,000 Hz, and a tenth of a second a file even
where they have. From theirs, which were used before, its samples differ by less than
-50 dB of the sound in the lower 70 % of the band.
"""

import math
import numbers

import numpy as np
import soxr

#: Rates that speech is recorded at, Hz: from vocoders to recorders of ultrasound.
LEAST_RATE, MOST_RATE = 4000, 384_000


def check_rate(rate):
    """Refuses sampling rates that no speech has: a header is damaged then.

    Arguments
    ---------
    rate : int
        Hz.

    Raises
    ------
    ValueError

    Example
    -------
    >>> check_rate(16000)
    >>> check_rate(1)
    Traceback (most recent call last):
        ...
    ValueError: a sampling rate of 1 Hz, which no speech has (4000 to 384000 Hz)
    """
    number = isinstance(rate, numbers.Real) and not isinstance(rate, bool)
    if not (number and math.isfinite(rate) and LEAST_RATE <= rate <= MOST_RATE):
        raise ValueError(
            f"a sampling rate of {rate} Hz, which no speech has ({LEAST_RATE} to "
            f"{MOST_RATE} Hz)"
        )


def resample(samples, rate, sample_rate):
    """Samples at another rate.

    Arguments
    ---------
    samples : numpy.ndarray
        [S] float32
    rate, sample_rate : int
        Theirs, and the wanted one, Hz.

    Returns
    -------
    numpy.ndarray
        [ceil(S * sample_rate / rate)] float32; the same array if the rates are equal.

    Example
    -------
    >>> tone = np.sin(np.arange(48001) / 48001 * 2 * np.pi * 440).astype(np.float32)
    >>> resampled = resample(tone, 48001, 16000)
    >>> resampled.shape, int(np.abs(np.fft.rfft(resampled)).argmax())
    ((16000,), 440)
    """
    if rate == sample_rate:
        return samples
    length = -(-len(samples) * sample_rate // rate)
    resampled = soxr.resample(samples, rate, sample_rate, quality="HQ")
    # Its own length is rounded: a sample more or less.
    return np.pad(resampled[:length], (0, max(length - len(resampled), 0)))
