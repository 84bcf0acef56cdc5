"""Audio files as encoders want them: one channel, float32, their sampling rate."""

import pathlib

import soundfile
import torch
import torchaudio


class AudioError(ValueError):
    """A file that holds no usable audio; the message names the file and the mend."""


def read_audio(path, sample_rate, resample=True, speed=1.0):
    """Reads an audio file.

    Arguments
    ---------
    path : path-like
        Any file that libsndfile reads.
    sample_rate : int
        Wanted sampling rate, Hz.
    resample : bool
        Whether to resample a file of another rate rather than refuse it.
    speed : float
        How fast it is played: 1.1 is a tenth faster, and higher, as a tape would be.

    Returns
    -------
    torch.Tensor
        [S] float32 in -1..1, the mean of the file's channels.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, empty, holds samples that are no numbers,
        or has another rate and must not be resampled.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [[0.1, 0.3]] * 8000, 8000)
    >>> wav = read_audio(path, 16000)
    >>> wav.shape, round(float(wav[8000]), 2)
    (torch.Size([16000]), 0.2)
    """
    if not pathlib.Path(path).is_file():
        raise AudioError(f"there is no audio file {path}")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(
            f"cannot read {path} ({error}): replace the file, or leave it out"
        ) from error
    wav = torch.from_numpy(samples).mean(dim=1)
    if not len(wav):
        raise AudioError(f"{path} holds no samples: leave it out")
    if not bool(wav.isfinite().all()):
        raise AudioError(f"{path} holds samples that are no numbers: replace it")
    if rate != sample_rate and not resample:
        raise AudioError(
            f"{path} is sampled at {rate} Hz, not {sample_rate}: convert it, or allow "
            f"resampling"
        )
    # It gives back what has the rate already.
    return torchaudio.functional.resample(wav, round(rate * speed), sample_rate)


def row_speed(row):
    """How fast a manifest row's audio is played: 1 unless the row says.

    Example
    -------
    >>> row_speed({"wav": "a.wav"}), row_speed({"wav": "a.wav", "speed": 0.9})
    (1.0, 0.9)
    """
    return row.get("speed", 1.0)


def read_row(row, sample_rate):
    """Reads the audio of a manifest row, at its speed.

    Arguments
    ---------
    row : dict
        With "wav" and, where it is not 1, "speed".
    sample_rate : int
        Of :func:`read_audio`, as are what is returned and raised.

    Returns
    -------
    torch.Tensor
        [S]

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [0.1] * 8000, 8000)
    >>> [len(read_row({"wav": path, "speed": speed}, 8000)) for speed in (1, 2)]
    [8000, 4000]
    """
    return read_audio(row["wav"], sample_rate, speed=row_speed(row))
