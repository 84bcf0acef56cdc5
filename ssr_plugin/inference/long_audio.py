"""Long recordings, read and embedded part by part: memory does not grow with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ssr_plugin.data.resampling import resample
from ssr_plugin.data.samples import mono_blocks, open_audio
from ssr_plugin.inference.speech import (
    Recording,
    Speech,
    is_file,
    read_waveform,
    recording_seconds,
)
from ssr_plugin.recognizers.pauses import cut_at_pauses
from ssr_plugin.segmenters.base import Segments

#: Longest audio that is embedded as one, s. What is longer is cut where it is quiet.
PART_SECONDS = 300.0
# Of a file, samples are read in blocks of so much, s.
_BLOCK_SECONDS = 10.0


def may_be_long(recording: Recording) -> bool:
    """Whether a recording may be longer than a part, without reading it.

    Example
    -------
    >>> may_be_long((np.zeros(8000), 16000)), may_be_long((np.zeros(10**6), 1000))
    (False, True)
    """
    return recording_seconds(recording) > PART_SECONDS


def read_parts(
    recording: Recording, sample_rate: int, stride: int
) -> Iterator[torch.Tensor]:
    """The parts of a recording, one after another.

    Of a file no more than a part is held at once.

    Arguments
    ---------
    recording : path-like, (array, rate) or dict
        As :func:`ssr_plugin.inference.speech.read_waveform` takes it.
    sample_rate : int
        Wanted, Hz.
    stride : int
        Samples; each part but the last is a multiple of it.

    Yields
    ------
    torch.Tensor
        [S] float32, of five minutes at most.

    Raises
    ------
    AudioError
        If it cannot be read, or holds samples that are no numbers.

    Example
    -------
    >>> recording = (np.ones(4000, dtype="float32"), 10)
    >>> [len(part) for part in read_parts(recording, 10, stride=4)]
    [2000, 2000]
    """
    if not is_file(recording):
        wav = read_waveform(recording, sample_rate)
        for part in _cut(iter([wav.numpy()]), sample_rate, stride):
            yield torch.from_numpy(part)
        return
    path: Any = recording
    content = None
    if isinstance(recording, dict):
        path, content = recording.get("path"), recording.get("bytes")
    source = path if content is None else content
    with open_audio(source, path) as file:
        rate = file.samplerate
        # As many samples as are a whole number of strides in the end.
        multiple = stride * rate // math.gcd(stride * rate, sample_rate)
        size = max(round(_BLOCK_SECONDS * rate), 1)
        for part in _cut(mono_blocks(file, source, path, size=size), rate, multiple):
            yield torch.from_numpy(resample(part, rate, sample_rate))


def _cut(
    blocks: Iterator[npt.NDArray[np.float32]], rate: int, multiple: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Parts of what comes in blocks: each ends where it is quiet."""
    longest = round(PART_SECONDS * rate)
    waiting: list[npt.NDArray[np.float32]] = []
    for block in blocks:
        waiting.append(block)
        while sum(map(len, waiting)) > longest:
            # Views: all of a recording in memory comes as one block.
            samples = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
            head = torch.from_numpy(samples[: longest + 1])
            _, cut = cut_at_pauses(head, longest, rate)[0]
            cut -= cut % multiple
            waiting = [samples[cut:]]
            yield samples[:cut]
            # Else it would be held beside the next.
            del samples, head
    if any(map(len, waiting)):
        yield np.concatenate(waiting)


def group_seconds(
    parts: Iterable[torch.Tensor], sample_rate: int, seconds: float
) -> Iterator[list[torch.Tensor]]:
    """Parts in groups of so many seconds of audio, or a little more.

    Example
    -------
    >>> parts = map(torch.zeros, (30, 40, 50))
    >>> [list(map(len, group)) for group in group_seconds(parts, 10, 6.0)]
    [[30, 40], [50]]
    """
    group: list[torch.Tensor] = []
    for part in parts:
        group.append(part)
        if sum(map(len, group)) >= seconds * sample_rate:
            yield group
            group = []
    if group:
        yield group


class JoinedSpeech:
    """Puts the speech of the parts of a recording together.

    Arguments
    ---------
    step : float
        From one frame to the next, s.
    spell : callable
        Tokens to text.

    Example
    -------
    >>> part = Speech(torch.ones(1, 4), [7], "a", [0.0], [0.5], "predicted", "a", 2.0)
    >>> joined = JoinedSpeech(0.02, lambda tokens: " ".join("a" * len(tokens)))
    >>> joined.add(part)
    >>> joined.add(part)
    >>> joined.speech().starts, joined.speech().text, joined.speech().seconds
    ([0.0, 2.0], 'a a', 4.0)
    """

    def __init__(self, step: float, spell: Callable[[list[int]], str]) -> None:
        self._step = step
        self._spell = spell
        self._parts: list[Speech] = []
        self._seconds = 0.0

    def add(self, part: Speech) -> None:
        """Takes the next part."""
        begin, self._seconds = self._seconds, self._seconds + part.seconds
        segments = part.segments
        if segments is not None:
            first = round(begin / self._step)
            segments = dataclasses.replace(
                segments,
                starts=segments.starts + first,
                boundaries=segments.boundaries + first,
            )
        self._parts.append(
            dataclasses.replace(
                part,
                starts=[begin + time for time in part.starts],
                ends=[begin + time for time in part.ends],
                segments=segments,
            )
        )

    def speech(self) -> Speech:
        """All parts as one."""
        if len(self._parts) == 1:
            return self._parts[0]
        parts = self._parts
        tokens = [token for part in parts for token in part.tokens]
        heard = [part.hypothesis for part in parts if part.hypothesis is not None]
        cuts = [part.segments for part in parts if part.segments is not None]
        return Speech(
            vectors=torch.cat([part.vectors for part in parts]),
            tokens=tokens,
            text=self._spell(tokens),
            starts=[time for part in parts for time in part.starts],
            ends=[time for part in parts for time in part.ends],
            segmentation=parts[0].segmentation,
            hypothesis=" ".join(text for text in heard if text) if heard else None,
            seconds=self._seconds,
            lm_fusion=parts[0].lm_fusion,
            segments=Segments(
                *(
                    np.concatenate([getattr(cut, name) for cut in cuts])
                    for name in ("tokens", "starts", "boundaries")
                )
            )
            if cuts
            else None,
        )
