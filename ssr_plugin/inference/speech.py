"""Speech on its way to the LLM: what a user gives, and what it has become."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from ssr_plugin.data.audio import AudioError, read_audio
from ssr_plugin.data.read_ahead import ReadAhead, file_seconds
from ssr_plugin.data.resampling import check_rate, resample
from ssr_plugin.data.samples import LEAST_BYTE_RATE
from ssr_plugin.segmenters.base import Segments

# More channels than this are none: they may be the bands of a spectrogram.
_MOST_CHANNELS = 64
# Zero and full scale of integers, as sound cards and WAV files have them.
_INTEGERS = {
    torch.int8: (0, 2**7),
    torch.uint8: (2**7, 2**7),
    torch.int16: (0, 2**15),
    torch.uint16: (2**15, 2**15),
    torch.int32: (0, 2**31),
}


@dataclasses.dataclass
class Speech:
    """A recording as the LLM reads it; a content of any number of prompts.

    Arguments
    ---------
    vectors : torch.Tensor
        [N, H], in the LLM's embedding space.
    tokens : list of int
        The tokens whose embeddings are nearest to them.
    text : str
        What those spell.
    starts, ends : list of float
        Times of each vector's segment, s.
    segmentation : str
        "forced" if segments were cut with the help of a transcript, else "predicted".
    hypothesis : str or None
        What the segmenter itself read, where it spells.
    seconds : float
        Length of the audio.
    lm_fusion : bool
        Whether what the LLM expects was multiplied in; without, vectors are what the
        connector alone hears.
    segments : Segments or None
        In frames, as the segmenter cut them: those that say nothing and have no vector
        are among them. None where they are not known, such as read from a file.
    """

    vectors: torch.Tensor
    tokens: list[int]
    text: str
    starts: list[float]
    ends: list[float]
    segmentation: str
    hypothesis: str | None
    seconds: float
    lm_fusion: bool = False
    segments: Segments | None = None

    def __len__(self) -> int:
        return len(self.vectors)


@runtime_checkable
class AudioDecoder(Protocol):
    """What torchcodec's decoder can do, which ``datasets`` gives for an audio column.

    Known by its method: torchcodec need not be there.
    """

    def get_all_samples(self) -> Any:
        """An object with ``data``, [channels, S] in -1..1, and ``sample_rate``, Hz."""


#: Audio as users give it: a path, (samples, rate), or a dict or decoder of `datasets`.
Recording = str | pathlib.Path | tuple[Any, int] | dict[str, Any] | AudioDecoder


def is_speech(content: object) -> bool:
    """Whether a content of a prompt is speech: anything but text.

    Example
    -------
    >>> is_speech("text"), is_speech(pathlib.Path("a.wav")), is_speech(([0.1], 16000))
    (False, True, True)
    """
    return isinstance(content, Speech | pathlib.Path | tuple | dict | AudioDecoder)


def are_many(speech: object) -> bool:
    """Whether it is several recordings: a list of them, or a column of ``datasets``.

    Example
    -------
    >>> are_many(["a.wav"]), are_many("a.wav"), are_many(([0.1], 16000))
    (True, False, False)
    """
    return isinstance(speech, Sequence) and not isinstance(speech, str | tuple)


def read_waveform(speech: Recording, sample_rate: int) -> torch.Tensor:
    """Audio in any form as one channel of an encoder's sampling rate.

    Arguments
    ---------
    speech : path-like, (array, rate), dict or AudioDecoder
        A file; or samples [S], [channels, S] or [S, channels] as an array, tensor or
        list, and their rate in Hz; or what Hugging Face ``datasets`` gives: those as
        ``{"array": ..., "sampling_rate": ...}``, a file and what stands in it as
        ``{"path": ..., "bytes": ...}`` (one may be None), or torchcodec's decoder.
        Integers are scaled by their type to -1..1: int8, uint8, int16, uint16, int32.
        Of two dimensions the shorter is the channels, 64 at most.
    sample_rate : int
        Wanted, Hz.

    Returns
    -------
    torch.Tensor
        [S] float32

    Raises
    ------
    AudioError
        If there are no samples, or some are no numbers, or a file is unreadable; if
        integers are of a type that has no known full scale, such as int64.
    TypeError
        If it is something else, such as samples without a rate.

    Example
    -------
    >>> read_waveform((np.zeros(8000, dtype=np.int16), 8000), 16000).shape
    torch.Size([16000])
    >>> read_waveform(np.zeros(8000), 16000)
    Traceback (most recent call last):
        ...
    TypeError: speech is a path, (samples, rate), or a dict or decoder as `datasets` ...
    """
    if isinstance(speech, str | pathlib.Path):
        waveform: torch.Tensor = read_audio(speech, sample_rate)
        return waveform
    if isinstance(speech, dict) and not {"array", "sampling_rate"} <= set(speech):
        content, path = speech.get("bytes"), speech.get("path")
        source = path if content is None else content
        if source is not None:
            waveform = read_audio(source, sample_rate, name=path)
            return waveform
    array, rate = _decode(speech)
    samples = _to_floats(array)
    if samples.dim() == 2 and min(samples.shape) <= _MOST_CHANNELS:
        samples = samples.mean(int(samples.shape[0] > samples.shape[1]))
    if samples.dim() != 1 or not len(samples):
        raise AudioError(f"samples of shape {list(samples.shape)} are no audio")
    if not bool(samples.isfinite().all()):
        raise AudioError("the samples hold some that are no numbers")
    if rate == sample_rate:
        return samples
    try:
        check_rate(rate)
    except ValueError as error:
        raise AudioError(f"the samples are told to have {error}") from error
    return torch.from_numpy(resample(samples.numpy(), round(rate), sample_rate))


def _to_floats(array: Any) -> torch.Tensor:
    """Samples of any type as float32 in -1..1."""
    if isinstance(array, torch.Tensor):
        samples = array.detach().cpu()
    else:
        try:
            array = np.asarray(array)
        except ValueError as error:
            raise AudioError(f"samples are no array of numbers: {error}") from error
        if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
            raise AudioError(f"samples are no numbers, but {array.dtype}")
        samples = torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))
    if samples.is_floating_point():
        return samples.float()
    if samples.dtype not in _INTEGERS:
        name = str(samples.dtype).removeprefix("torch.")
        raise AudioError(
            f"samples of type {name} have no known full scale: give "
            f"{', '.join(str(x).removeprefix('torch.') for x in _INTEGERS)}, or "
            f"floats in -1..1"
        )
    zero, scale = _INTEGERS[samples.dtype]
    floats: torch.Tensor = (samples.float() - zero) / scale
    loudest = float(floats.abs().max()) if floats.numel() else 0.0
    if samples.dtype == torch.int32 and 0 < loudest < 2**-16:
        raise AudioError(
            "samples of type int32 that are all within the range of int16: give them "
            "as int16"
        )
    return floats


def _decode(speech: Recording) -> tuple[Any, int]:
    """Samples in any form, and their rate."""
    if isinstance(speech, AudioDecoder):
        try:
            samples = speech.get_all_samples()
        except RuntimeError as error:
            raise AudioError(f"cannot decode a recording: {error}") from error
        # Told which are channels, unlike arrays: there may be many.
        return samples.data.mean(0), samples.sample_rate
    if isinstance(speech, dict) and {"array", "sampling_rate"} <= set(speech):
        return speech["array"], speech["sampling_rate"]
    if isinstance(speech, tuple) and len(speech) == 2:
        return speech
    raise TypeError(
        f"speech is a path, (samples, rate), or a dict or decoder as `datasets` gives "
        f"them, not a {type(speech).__name__}: give samples together with their rate "
        f"in Hz"
    )


def is_file(speech: object) -> bool:
    """Whether a recording is a file, or the bytes of one: another process can read it.

    Example
    -------
    >>> is_file("a.wav"), is_file({"path": "a.wav"}), is_file(([0.1], 16000))
    (True, True, False)
    """
    return isinstance(speech, str | pathlib.Path) or (
        isinstance(speech, dict) and "array" not in speech
    )


def recording_seconds(speech: Recording) -> float:
    """About how long a recording is, without reading it.

    Arguments
    ---------
    speech : path-like, (array, rate), dict or AudioDecoder
        As :func:`read_waveform` takes it.

    Returns
    -------
    float
        Seconds; of a file up to some times too much, 0 where it is not known.

    Example
    -------
    >>> recording_seconds((np.zeros(8000), 16000)), recording_seconds("no.wav")
    (0.5, 0.0)
    """
    if isinstance(speech, str | pathlib.Path):
        return file_seconds(speech)
    if isinstance(speech, dict):
        content, path = speech.get("bytes"), speech.get("path")
        if content is not None:
            return len(content) / LEAST_BYTE_RATE
        if path is not None:
            return file_seconds(path)
        speech = speech.get("array", ()), speech.get("sampling_rate", 1)
    if isinstance(speech, tuple) and len(speech) == 2:
        samples, rate = speech
        try:
            # One of its sides is channels.
            return float(max(np.shape(samples), default=0) / max(rate, 1))
        except (TypeError, ValueError):
            # What they are instead shows when they are read.
            return 0.0
    return 0.0


def read_groups(
    speeches: Iterable[Recording],
    sample_rate: int,
    least: float,
    most: float,
    num_workers: int | None = None,
) -> Iterator[list[torch.Tensor | AudioError]]:
    """Audio in groups of about so many seconds; the next is read meanwhile.

    Groups grow, so that whoever uses them soon has something to do.

    Arguments
    ---------
    speeches : iterable of path-like, (array, rate), dict or AudioDecoder
        As :func:`read_waveform` takes them.
    sample_rate : int
        Wanted, Hz.
    least, most : float
        The first group is complete with ``least``, s, or a little more; each after it
        has twice as much, up to ``most``. That is how much is read ahead, too.
    num_workers : int or None
        Of :class:`ssr_plugin.data.read_ahead.ReadAhead`.

    Yields
    ------
    list of (torch.Tensor or AudioError)
        In order; the error is why a recording cannot be read.

    Example
    -------
    >>> speeches = [([0.0] * 60, 10), "no.wav", ([0.0] * 40, 10), ([0.0], 10)]
    >>> for group in read_groups(speeches, 10, least=9, most=9):
    ...     print([str(x) if isinstance(x, AudioError) else len(x) for x in group])
    [60, 'there is no audio file no.wav', 40]
    [1]
    """
    reader: ReadAhead[Recording] = ReadAhead(
        sample_rate,
        read_waveform,
        seconds=recording_seconds,
        num_workers=num_workers,
        sendable=is_file,
        ahead_seconds=most,
    )
    group: list[torch.Tensor | AudioError] = []
    samples = 0
    for waveform in reader.each(speeches):
        if not isinstance(waveform, AudioError):
            samples += len(waveform)
        group.append(waveform)
        # Else it would be held with the next group.
        del waveform
        if samples >= least * sample_rate:
            yield group
            group, samples = [], 0
            least = min(2 * least, most)
    if group:
        yield group
