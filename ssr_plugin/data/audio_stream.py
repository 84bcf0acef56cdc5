"""Audio that is still being recorded: chunks of samples, and pipes that bring them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ssr_plugin.data.resampling import check_rate
from ssr_plugin.data.samples import AudioError
from ssr_plugin.problems import prefix_errors

# The scales of what is not in -1..1, by type.
_SCALES = {"int16": 2.0**15, "int32": 2.0**31}
# Audio that is taken from a pipe at once, s: what waits for the rest of it is late by
# as much.
_READ_SECONDS = 0.08


class ChunkResampler:
    """Chunks of samples at an encoder's sampling rate, whatever theirs is.

    What comes out does not depend on where the chunks are cut.

    Arguments
    ---------
    sample_rate : int
        Of the chunks, Hz.
    wanted_rate : int
        Hz.

    Raises
    ------
    ValueError
        If nobody records speech at such a rate.

    Example
    -------
    >>> resampler = ChunkResampler(8000, 16000)
    >>> parts = [resampler.push(np.zeros(n, dtype=np.int16)) for n in (8000, 1, 0)]
    >>> sum(map(len, [*parts, resampler.finish()]))
    16002
    """

    def __init__(self, sample_rate: int, wanted_rate: int) -> None:
        with prefix_errors("sample_rate"):
            check_rate(sample_rate)
        self.sample_rate = sample_rate
        self._samples = 0
        self._stream: Any = None
        if sample_rate != wanted_rate:
            self._stream = soxr.ResampleStream(
                sample_rate, wanted_rate, 1, dtype="float32"
            )

    def push(self, samples: Any) -> npt.NDArray[np.float32]:
        """Takes a chunk.

        Arguments
        ---------
        samples : array-like
            [S], of one channel: float in -1..1, int16 or int32. S may be 0.

        Returns
        -------
        np.ndarray
            [R] float32: what can be told so far, maybe nothing.

        Raises
        ------
        AudioError
            If some are no numbers, or it is no such array. Nothing of it is taken.
        """
        wav = _to_float(samples, self._samples, self.sample_rate)
        self._samples += len(wav)
        if self._stream is None:
            return wav
        resampled: npt.NDArray[np.float32] = self._stream.resample_chunk(wav)
        return resampled

    def finish(self) -> npt.NDArray[np.float32]:
        """What is left, after the last chunk."""
        nothing = np.zeros(0, dtype=np.float32)
        if self._stream is None:
            return nothing
        rest: npt.NDArray[np.float32] = self._stream.resample_chunk(nothing, last=True)
        return rest


def _to_float(samples: Any, position: int, rate: int) -> npt.NDArray[np.float32]:
    if hasattr(samples, "detach"):
        samples = samples.detach().cpu().numpy()
    array = np.asarray(samples)
    if array.ndim != 1:
        raise AudioError(
            f"a chunk of shape {list(array.shape)} is not of one channel: give [S] "
            f"samples, as the mean of the channels"
        )
    if not len(array):
        return np.zeros(0, dtype=np.float32)
    scale = 1.0 if array.dtype.kind == "f" else _SCALES.get(array.dtype.name)
    if scale is None:
        raise AudioError(
            f"samples of type {array.dtype} are no audio: give float in -1..1, int16 "
            f"or int32"
        )
    with np.errstate(over="ignore"):
        wav = (array / scale).astype(np.float32)
    finite = np.isfinite(wav)
    if not finite.all():
        second = (position + int(finite.argmin())) / rate
        raise AudioError(
            f"a sample at {second:.3f} s of the stream is no number: leave its chunk "
            f"out, or put zeros in its place"
        )
    return wav


@contextlib.contextmanager
def open_stream(
    source: str | os.PathLike[str] | int, pcm_rate: int | None = None
) -> Iterator[tuple[int, Iterator[npt.NDArray[np.float32]]]]:
    """Audio chunk by chunk, as a pipe brings it or as it stands in a file.

    Arguments
    ---------
    source : path-like or int
        A file, or a file descriptor (0: standard input), which stays open. A pipe may
        bring WAV or AU, whose header may leave the length open, as recorders do.
    pcm_rate : int or None
        For samples without a header: their sampling rate in Hz. They are of one
        channel, 16 bits, little-endian (arecord's ``-t raw -f S16_LE``).

    Yields
    ------
    sample_rate : int
    chunks : iterator of np.ndarray
        [S] float32, the mean of its channels; of 80 ms each, but for the last.

    Raises
    ------
    AudioError
        If there is no audio, or it cannot be read.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [0.1] * 2000, 16000)
    >>> with open_stream(path) as (rate, chunks):
    ...     rate, [len(chunk) for chunk in chunks]
    (16000, [1280, 720])
    """
    name = "standard input" if source == 0 else str(source)
    raw: dict[str, Any] = {}
    if pcm_rate is not None:
        raw = {"samplerate": pcm_rate, "channels": 1, "format": "RAW"}
        raw |= {"subtype": "PCM_16", "endian": "LITTLE"}
    try:
        file = soundfile.SoundFile(source, closefd=False, **raw)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        hint = " For samples without a header, give their rate." if not raw else ""
        raise AudioError(
            f"{name} brings no audio that can be read as it comes (WAV or AU): "
            f"{str(error).rstrip('.')}.{hint}"
        ) from error
    with file:
        yield file.samplerate, _chunks(file, name)


def _chunks(file: soundfile.SoundFile, name: str) -> Iterator[npt.NDArray[np.float32]]:
    size = max(round(_READ_SECONDS * file.samplerate), 1)
    while True:
        try:
            block = file.read(size, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise AudioError(f"{name} is damaged: {error}") from error
        if not len(block):
            return
        yield block.mean(axis=1)
