"""What an audio file holds, whatever its type: read without torch."""

import contextlib
import io
import os
import pathlib
import tempfile

import numpy as np
import soundfile

from ssr_plugin.data.ffmpeg import FFMPEG_SUFFIXES, INSTALL, convert, find_ffmpeg

# libsndfile counts this many frames or more (2^63 - 1) where the header leaves the
# length open; it cannot decode such a stream (FLAC from a pipe).
_OPEN_LENGTH = 1 << 62


class AudioError(ValueError):
    """A file without usable audio; the message names it and says what to do."""


@contextlib.contextmanager
def open_audio(source, name=None, header_only=False):
    """Opens an audio file: by libsndfile, or else by ffmpeg where that is installed.

    Arguments
    ---------
    source : path-like or bytes
        A file, or the bytes of one.
    name : str or None
        What messages call it; its path by default.
    header_only : bool
        Whether only its rate, channels and length are wanted, not its samples.

    Yields
    ------
    soundfile.SoundFile
        With a ``frames`` that is its length.

    Raises
    ------
    AudioError
        If it is missing or unreadable.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [0.1] * 8000, 16000)
    >>> with open_audio(path) as file:
    ...     file.samplerate, file.frames
    (16000, 8000)
    """
    name = _name(source, name)
    if not isinstance(source, bytes) and not pathlib.Path(source).is_file():
        raise AudioError(f"there is no audio file {name}")
    try:
        with _open(source, name, header_only) as file:
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(name, _error_text(error)) from error


def _open(source, name, header_only):
    try:
        file = soundfile.SoundFile(
            io.BytesIO(source) if isinstance(source, bytes) else source
        )
        if file.frames < _OPEN_LENGTH:
            return file
        file.close()
        reason = "the header leaves the length open"
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: .raw
        reason = _error_text(error)
    program = find_ffmpeg()
    if program is None:
        if pathlib.Path(name).suffix.lower() in FFMPEG_SUFFIXES:
            raise AudioError(f"cannot read {name} without ffmpeg: {INSTALL}")
        raise _unreadable(name, reason, f"; if other programs play it, {INSTALL}")
    # To count samples, one byte for each is enough.
    codec = "pcm_s8" if header_only else "pcm_f32be"
    try:
        with _as_file(source) as path:
            return soundfile.SoundFile(convert(program, path, codec))
    except ValueError as error:
        raise _unreadable(name, f"{reason}; ffmpeg: {error}") from error


def _name(source, name):
    if name is None and isinstance(source, bytes):
        return "audio in memory"
    return name or os.fspath(source)


def _error_text(error):
    if isinstance(error, soundfile.LibsndfileError):
        return f"libsndfile: {error.error_string.rstrip('.')}"
    return str(error)


def _unreadable(name, reason, hint=""):
    return AudioError(
        f"cannot read {name} ({reason}): replace the file, or leave it out{hint}"
    )


@contextlib.contextmanager
def _as_file(source):
    """A file with these bytes: in a stream ffmpeg cannot read an index at its end."""
    if not isinstance(source, bytes):
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "audio"
        path.write_bytes(source)
        yield path


def read_mono(source, name=None):
    """Reads the samples of an audio file and averages its channels.

    Arguments
    ---------
    source : path-like or bytes
        Of :func:`open_audio`.
    name : str or None

    Returns
    -------
    samples : numpy.ndarray
        [S] float32 in -1..1.
    rate : int
        Hz.

    Raises
    ------
    AudioError
        If it is missing, unreadable or empty, or holds samples that are no numbers.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [[0.25, 0.75]] * 8000, 16000)
    >>> samples, rate = read_mono(path.read_bytes())
    >>> samples.shape, float(samples[0]), rate
    ((8000,), 0.5, 16000)
    """
    with open_audio(source, name) as file:
        samples = file.read(dtype="float32", always_2d=True).mean(axis=1)
        rate = file.samplerate
    name = _name(source, name)
    if not len(samples):
        raise AudioError(f"{name} holds no samples: leave it out")
    if not np.isfinite(samples).all():
        raise AudioError(f"{name} holds samples that are no numbers: replace it")
    return samples, rate
