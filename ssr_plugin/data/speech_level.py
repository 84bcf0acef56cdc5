"""How loud speech is where somebody speaks: pauses do not count."""

import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.signal import lfilter

from ssr_plugin.data.audio import AudioError

# Of ITU-T P.56: smoothing and hangover in s, margin in dB.
_SMOOTHING = 0.03
_HANGOVER = 0.2
_MARGIN = 15.9
# Thresholds that are tried: so far below the loudest, in such steps, dB.
_RANGE, _STEP = 80.0, 0.25
# Less than one step of 16 bits, dB.
_SILENCE = -90.0


def speech_level(samples, sample_rate, name="the recording"):
    """The active speech level of a recording (ITU-T P.56, method B).

    It is the mean power over the time in which somebody speaks: where the envelope,
    held for 0.2 s, is above a threshold that lies 15.9 dB below that level itself.

    Arguments
    ---------
    samples : array-like
        [S]
    sample_rate : int
        Hz
    name : str
        What messages call it.

    Returns
    -------
    float
        dB; a constant of 1 has 0 dB.

    Raises
    ------
    ssr_plugin.data.audio.AudioError
        If it is silent.

    Example
    -------
    >>> tone = 0.1 * np.sin(np.arange(16000))
    >>> with_pause = np.concatenate([tone, np.zeros(16000), tone, np.zeros(32000)])
    >>> round(rms_level(tone)), round(rms_level(with_pause))
    (-23, -27)
    >>> abs(speech_level(with_pause, 16000) - rms_level(tone)) < 1.5
    True
    """
    samples = np.asarray(samples, dtype=float)
    if rms_level(samples) < _SILENCE:
        raise AudioError(f"{name} is silent: there is no speech to measure noise by")
    decay = np.exp(-1 / (_SMOOTHING * sample_rate))
    envelope = np.abs(samples)
    for _ in range(2):
        envelope = lfilter([1 - decay], [1, -decay], envelope)
    held_for = max(round(_HANGOVER * sample_rate), 1)
    # Its window ends at each sample; before the recording there is nothing.
    window = {"size": held_for, "origin": (held_for - 1) // 2, "mode": "constant"}
    held = maximum_filter1d(envelope, **window)
    # It is smooth: a value each ms tells as much, and is sorted sooner.
    held = np.sort(held[:: max(sample_rate // 1000, 1)])
    # From the lowest threshold up.
    loudest = 20 * np.log10(held[-1])
    thresholds = np.arange(loudest - _RANGE, loudest, _STEP)
    active = 1 - np.searchsorted(held, 10 ** (thresholds / 20)) / len(held)
    levels = rms_level(samples) - 10 * np.log10(active)
    near = np.flatnonzero(levels - thresholds <= _MARGIN)
    return float(levels[near[0] if len(near) else -1])


def rms_level(samples):
    """The level of a signal as a whole.

    Arguments
    ---------
    samples : array-like
        [S]

    Returns
    -------
    float
        dB; a constant of 1 has 0 dB, and silence or nothing minus infinity.

    Example
    -------
    >>> round(rms_level([0.1, -0.1]), 3), rms_level([])
    (-20.0, -inf)
    """
    samples = np.asarray(samples, dtype=float)
    power = np.square(samples).mean() if len(samples) else 0.0
    return float(10 * np.log10(power)) if power else -np.inf
