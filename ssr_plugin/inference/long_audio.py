"""Long recordings, read and embedded part by part: memory does not grow with them."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ssr_plugin.data.resampling import resample
from ssr_plugin.data.samples import mono_blocks, open_audio
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.inference.speech import (
    Recording,
    Speech,
    is_file,
    read_waveform,
    recording_seconds,
)
from ssr_plugin.nnet.lengths import send_padded
from ssr_plugin.nnet.windows import Window, split_windows
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


def encode_parts(
    encoder: SpeechEncoder, parts: Iterator[torch.Tensor], num_samples: int
) -> Iterator[torch.Tensor]:
    """The frames of a long recording, minutes of them at a time.

    Arguments
    ---------
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    parts : iterator of torch.Tensor
        [S] each, the recording.
    num_samples : int
        Of all parts.

    Yields
    ------
    torch.Tensor
        [T, D], on the encoder's device. One after another, they are what the encoder
        gives for the whole (:meth:`SpeechEncoder.split_audio`).

    Example
    -------
    >>> encoder = SpeechEncoder(getfixture("tiny_encoder_folder"))
    >>> parts = iter([torch.rand(3200), torch.rand(6400)])
    >>> [len(frames) for frames in encode_parts(encoder, parts, 9600)]
    [29]
    """
    device = next(encoder.parameters()).device
    waiting, begin = torch.zeros(0), 0
    runs = encoder.split_audio(num_samples, PART_SECONDS)
    if not runs:
        yield torch.zeros(0, encoder.width, device=device)
    for samples, kept in runs:
        while begin + len(waiting) < samples.stop:
            waiting = torch.cat([waiting, next(parts)])
        # A copy: else all that was read would be held.
        waiting, begin = waiting[samples.start - begin :].clone(), samples.start
        wav = waiting[: samples.stop - begin]
        features, _ = encoder(send_padded([wav], device), torch.tensor([len(wav)]))
        yield features[0, kept]


class SegmentRuns:
    """The segments of a long recording, run by run, as its frames come.

    Arguments
    ---------
    segments : ssr_plugin.segmenters.base.Segments
        Of the whole.
    size, context : int
        Segments of a run, and those on either side in it that are read for the sake of
        the others: :func:`ssr_plugin.nnet.windows.split_windows`.

    Example
    -------
    >>> cuts = [[6, 7, 8, 9], [0, 1, 3, 6], [0, 2, 5, 9]]
    >>> runs = SegmentRuns(Segments(*map(np.array, cuts)), size=3, context=1)
    >>> segments, kept = runs.take(6)
    >>> segments.tokens.tolist(), segments.boundaries.tolist(), kept
    ([6, 7, 8], [0, 2, 5], slice(0, 2, None))
    >>> runs.first, runs.take(8)
    (1, None)
    >>> segments, kept = runs.take(10)
    >>> segments.tokens.tolist(), segments.boundaries.tolist(), kept
    ([7, 8, 9], [1, 4, 8], slice(1, 3, None))
    """

    def __init__(self, segments: Segments, size: int, context: int) -> None:
        self._segments = segments
        # Speech without a segment is a run as well.
        windows = split_windows(len(segments), size, context) or [Window(0, 0, 0, 0)]
        self._waiting = collections.deque(windows)

    def _end(self, count: int) -> int:
        """Frames up to the end of the first so many segments."""
        return int(self._segments.boundaries[count - 1]) + 1 if count else 0

    @property
    def first(self) -> int:
        """The first frame of the next run."""
        if self._waiting:
            return self._end(self._waiting[0].start)
        return self._end(len(self._segments))

    def take(self, num_frames: int) -> tuple[Segments, slice] | None:
        """The next run, if it ends within so many frames of the recording.

        Returns
        -------
        segments : Segments
            Frames are counted from :attr:`first`, as it was.
        kept : slice
            Those that are not context.
        """
        if not self._waiting or self._end(self._waiting[0].stop) > num_frames:
            return None
        first, window = self.first, self._waiting.popleft()
        run = self._segments[window.start : window.stop]
        kept = window.keep_start - window.start, window.keep_stop - window.start
        return (
            Segments(run.tokens, run.starts - first, run.boundaries - first),
            slice(*kept),
        )


class JoinedSpeech:
    """Puts the speech of the parts of a recording together.

    Arguments
    ---------
    step : float
        From one frame to the next, s.
    spell : callable
        Tokens to text.

    Attributes
    ----------
    seconds : float
        Of the recording: of all parts, but for those that say when they begin.

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
        self.seconds = 0.0

    def add(self, part: Speech, begin: float | None = None) -> None:
        """Takes the next part.

        Arguments
        ---------
        part : Speech
        begin : float or None
            From when on its times count, s; by default from the end of the last part.
        """
        if begin is None:
            begin = self.seconds
            self.seconds += part.seconds
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
        parts = self._parts
        if len(parts) == 1:
            return dataclasses.replace(parts[0], seconds=self.seconds)
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
            seconds=self.seconds,
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
