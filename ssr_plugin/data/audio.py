"""Audio files as encoders want them: one channel, float32, their sampling rate."""

import torch

from ssr_plugin.data.resampling import resample as change_rate
from ssr_plugin.data.samples import AudioError, read_mono

__all__ = ["AudioError", "read_audio", "read_row", "row_speed"]


def read_audio(source, sample_rate, resample=True, speed=1.0, name=None, whole=False):
    """Reads an audio file.

    Arguments
    ---------
    source : path-like or bytes
        Any file that libsndfile reads, or ffmpeg where that is installed; or the bytes
        of one.
    sample_rate : int
        Wanted sampling rate, Hz.
    resample : bool
        Whether to resample a file of another rate rather than refuse it.
    speed : float
        How fast it is played: 1.1 is a tenth faster, and higher, as with a tape.
    name : str or None
        What messages call it; its path by default.
    whole : bool
        Whether a file that is cut short is refused, rather than read as far as it goes
        with a warning.

    Returns
    -------
    torch.Tensor
        [S] float32 in -1..1, the mean of the file's channels.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, empty, holds samples that are no numbers,
        or has another rate and must not be resampled, or is not whole and must be.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [[0.1, 0.3]] * 8000, 8000)
    >>> wav = read_audio(path, 16000)
    >>> wav.shape, round(float(wav[8000]), 2)
    (torch.Size([16000]), 0.2)
    """
    samples, rate = read_mono(source, name, whole)
    if rate != sample_rate and not resample:
        raise AudioError(
            f"{name or source} is sampled at {rate} Hz, not {sample_rate}: convert it, "
            f"or allow resampling"
        )
    return torch.from_numpy(change_rate(samples, round(rate * speed), sample_rate))


def row_speed(row):
    """How fast a manifest row's audio is played: its "speed", or 1.

    Example
    -------
    >>> row_speed({"wav": "a.wav"}), row_speed({"wav": "a.wav", "speed": 0.9})
    (1.0, 0.9)
    """
    return row.get("speed", 1.0)


def read_row(row, sample_rate):
    """Reads the audio of a manifest row, at its speed; it must be whole.

    Arguments
    ---------
    row : dict
        With "wav" and, where it is not 1, "speed".
    sample_rate : int
        As in :func:`read_audio`.

    Returns
    -------
    torch.Tensor
        [S]

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [0.1] * 8000, 8000)
    >>> [len(read_row({"wav": path, "speed": speed}, 8000)) for speed in (1, 2)]
    [8000, 4000]
    """
    # What is missing would be heard for what the transcript says of it.
    return read_audio(row["wav"], sample_rate, speed=row_speed(row), whole=True)
