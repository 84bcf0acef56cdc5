"""Speech that is still going on: samples in, vectors out when they are settled."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ssr_plugin.data.audio_stream import ChunkResampler
from ssr_plugin.inference.speech import Speech
from ssr_plugin.recognizers.pauses import is_silent
from ssr_plugin.segmenters.base import (
    HearingSegmenter,
    Segmentation,
    Segments,
    TokenPosteriors,
)
from ssr_plugin.segmenters.settling import SegmentSettler, Settled

if TYPE_CHECKING:
    from ssr_plugin.inference.embedder import Embedder

# Settled segments that the connector, and LM fusion, still read with new ones: as many
# as beside a window of long recordings.
_HISTORY = 64
# Audio before the next words that is kept through a pause, s.
_LEAD = 0.5


@dataclasses.dataclass(frozen=True)
class StreamSettings:
    """How speech that is still going on is heard; all in s of audio.

    Each ``step`` the last ``window`` is encoded anew. What lies ``look_ahead`` behind
    the end of the audio is settled: a vector is out at most ``step + look_ahead`` after
    the next token has begun, or ``hold`` later than that where none begins.

    Arguments
    ---------
    step : float
        Less costs more computing, in proportion.
    look_ahead : float
        More gives fewer errors, later. Infinite: nothing is settled before the end, and
        all is as without a stream.
    window : float
        Most audio that is encoded at once. More costs more computing.
    hold : float
        Where no token follows, the last is settled so long after its own beginning.
    pause : float
        After so much without a token, the window begins anew.

    Raises
    ------
    ValueError
        If they do not go together.

    Example
    -------
    >>> StreamSettings(step=0.2).latency
    0.52
    """

    step: float = 0.32
    look_ahead: float = 0.32
    window: float = 8.0
    hold: float = 0.8
    pause: float = 2.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value >= 0 or (value == 0 and field.name != "look_ahead"):
                raise ValueError(f"{field.name}: {value!r} is not above 0")
        least = self.step + self.hold
        if math.isfinite(self.look_ahead):
            least += self.look_ahead
        if self.window < least:
            raise ValueError(
                f"window: {self.window:g} s is too short: give {least:g} s, for step, "
                f"look_ahead and hold, or more"
            )

    @property
    def latency(self) -> float:
        """From the next token's beginning to a vector, at most, s of audio."""
        return self.step + self.look_ahead


#: Of segmenters that read frames.
FRAMES = StreamSettings()
#: Of recognisers, which hear little of half a sentence: each step is a whole decoding.
HEARING = StreamSettings(step=1.0, window=15.0)


class SpeechStream:
    """Reads speech while it is spoken, in memory that does not grow with it.

    What comes out does not depend on where the chunks are cut. It is not what
    :meth:`~ssr_plugin.inference.embedder.Embedder.embed` gives of the whole recording,
    since less is known of what follows, and of what was long before; with an infinite
    ``look_ahead`` and ``window`` it is.

    Silence costs nothing and gives nothing, however long.

    Arguments
    ---------
    embedder : ssr_plugin.inference.embedder.Embedder
        May be used for other things meanwhile, and by other streams.
    sample_rate : int or None
        Of the chunks, Hz; by default the encoder's.
    lm_fusion : bool
        Whether what the LLM expects is multiplied into what the connector hears.
    settings : StreamSettings or None
        None takes what suits the segmenter.

    Raises
    ------
    ValueError
        If there is no segmenter for audio alone, or it cannot work on a stream, or
        nobody records speech at such a rate.

    Example
    -------
    >>> from ssr_plugin import SpeechLM
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> stream = SpeechStream(lm.embedder, sample_rate=8000)
    >>> pieces = stream.push(torch.rand(16000) - 0.5)
    >>> pieces += stream.finish()
    >>> sum(map(len, pieces)) > 3, stream.seconds
    (True, 2.0)
    """

    def __init__(
        self,
        embedder: Embedder,
        sample_rate: int | None = None,
        lm_fusion: bool = False,
        settings: StreamSettings | None = None,
    ) -> None:
        segmenter = embedder.predicting
        if segmenter is None:
            raise ValueError(
                "this model has no segmenter for audio alone, without which there is "
                "no reading speech while it is spoken: train one "
                "(hparams/segmenter.yaml), or load the model with segmenter='asr'"
            )
        self._windows = segmenter.stream_windows()
        self._listens = isinstance(segmenter, HearingSegmenter)
        if settings is None:
            settings = HEARING if self._listens else FRAMES
        self.embedder = embedder
        self.settings = settings
        self.lm_fusion = lm_fusion
        encoder = embedder.encoder
        self._rate = encoder.frame_rate
        self._stride: int = encoder.stride
        self._resampler = ChunkResampler(
            sample_rate or encoder.sample_rate, encoder.sample_rate
        )
        self._step = max(round(settings.step * encoder.sample_rate), 1)
        self._settler = SegmentSettler(
            self._windows,
            hold=math.ceil(settings.hold * self._rate),
            # What is in doubt may stay so, but for as long as it is in the window.
            longest_doubt=math.floor((settings.window - settings.step) * self._rate / 2)
            if math.isfinite(settings.window)
            else 2**62,
        )
        self._chunks: list[torch.Tensor] = []
        # Of the stream: the first frame of the audio that is kept, samples that were
        # taken, those that were heard, and the audio that was when vectors were given.
        self._first_frame = 0
        self._taken = 0
        self._heard = 0
        self._told = 0.0
        self._said_until = 0
        self._history = _History()
        self._is_over = False

    # --- In and out --------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Audio that was heard, s."""
        return self._heard / self.embedder.encoder.sample_rate

    @property
    def pause(self) -> float | None:
        """How long nobody has spoken, s; None before the first vector.

        Where nothing follows a vector's segment, that is taken to be ``hold`` long.
        """
        if not self._said_until:
            return None
        if self._settler.num_open:
            return 0.0
        return max(self.seconds - self._said_until / self._rate, 0.0)

    def push(self, samples: Any) -> list[Speech]:
        """Takes more audio.

        Arguments
        ---------
        samples : array-like
            [S], of one channel: float in -1..1, int16 or int32; S may be 0.

        Returns
        -------
        list of Speech
            What was settled by it, in order: pieces with a vector or more, their times
            in the stream. ``seconds`` of each is the audio since the piece before.

        Raises
        ------
        ssr_plugin.data.audio.AudioError
            If some samples are no numbers. Nothing of the chunk is taken, and the
            stream may go on.
        ValueError
            If the stream is over.
        """
        if self._is_over:
            raise ValueError("this stream is over: begin another")
        return self._take(self._resampler.push(samples))

    def finish(self) -> list[Speech]:
        """The rest, once there is no more audio; the stream is over then."""
        if self._is_over:
            return []
        pieces = self._take(self._resampler.finish())
        self._is_over = True
        self._heard = self._taken
        return pieces + self._hear(final=True)

    def _take(self, samples: npt.NDArray[np.float32]) -> list[Speech]:
        """Goes on in steps, which are the same whatever the chunks are."""
        pieces, wav = [], torch.from_numpy(samples)
        while len(wav):
            missing = self._heard + self._step - self._taken
            # A copy: the caller may write the next chunk into the same memory.
            self._chunks.append(wav[:missing].clone())
            self._taken += len(self._chunks[-1])
            wav = wav[missing:]
            if self._taken == self._heard + self._step:
                self._heard = self._taken
                pieces += self._hear()
        return pieces

    @property
    def _audio(self) -> torch.Tensor:
        """[S], all that is kept."""
        self._chunks = [torch.cat([torch.zeros(0), *self._chunks])]
        return self._chunks[0]

    # --- One window --------------------------------------------------------------

    @torch.no_grad()
    def _hear(self, final: bool = False) -> list[Speech]:
        """What is settled once the audio up to now has been heard."""
        if not final and math.isinf(self.settings.look_ahead):
            return []
        audio = self._audio
        num_frames = self.embedder.encoder.num_frames(len(audio))
        now = self._first_frame + num_frames
        edge = now if final else now - math.ceil(self.settings.look_ahead * self._rate)
        pieces: list[Speech] = []
        if not num_frames or self._is_quiet(audio):
            self._settler.settle(Segments.none(), edge)
        else:
            features, found = self._read_window(audio)
            segments = self._in_stream(found.segments)
            settled = self._settler.settle(segments, edge, final, self._first_frame)
            if settled:
                new = _Settlement(settled, found, features, self._first_frame)
                pieces = self._read(new)
        self._forget(edge)
        return pieces

    def _is_quiet(self, audio: torch.Tensor) -> bool:
        """Whether nothing can be said in what is not settled yet."""
        settled = (self._settler.next_frame - self._first_frame) * self._stride
        return is_silent(audio[max(settled, 0) :])

    def _read_window(self, audio: torch.Tensor) -> tuple[torch.Tensor, Segmentation]:
        """Frames [T, D] of the window, and the segments in it."""
        embedder, lengths = self.embedder, torch.tensor([len(audio)])
        batch = audio[None].to(embedder.device)
        if not self._listens:
            features, frames = embedder.encoder(batch, lengths)
            (found,) = embedder.segment(features, frames, use_lm=False)
            return features[0], found
        with embedder.encoder.keep_windows() as kept:
            features, frames = embedder.encoder(batch, lengths)
        (found,) = embedder.listen([audio], [kept.get(0)], frames.tolist())
        return features[0], found

    def _in_stream(self, segments: Segments) -> Segments:
        return dataclasses.replace(
            segments,
            starts=segments.starts + self._first_frame,
            boundaries=segments.boundaries + self._first_frame,
        )

    def _forget(self, edge: int) -> None:
        """Lets go of audio that no later window needs."""
        settler, settings = self._settler, self.settings
        if math.isinf(settings.window):
            return
        now = self._heard // self._stride
        least = now - math.floor((settings.window - settings.step) * self._rate)
        pause = edge - settler.next_frame
        if not settler.num_open and pause > settings.pause * self._rate:
            least = max(least, edge - math.ceil(_LEAD * self._rate))
        if least <= self._first_frame:
            return
        # Rather where a segment begins than inside one.
        first = next(iter(settler.starts_since(least)), least)
        first = max(min(first, edge), self._first_frame)
        first -= first % self._windows.period
        settler.pass_over(first)
        left = self._audio[(first - self._first_frame) * self._stride :]
        # A copy, which does not hold the rest.
        self._chunks = [left.clone()]
        self._first_frame = first

    # --- Vectors -----------------------------------------------------------------

    def _read(self, new: _Settlement) -> list[Speech]:
        """The vectors of what was settled, if something is said there."""
        embedder, history = self.embedder, self._history
        history.add(new)
        count = len(new.settled)
        vectors, kept = embedder.read(
            history.features[None],
            torch.tensor([history.boundaries]),
            torch.tensor([history.starts]),
            predicted=True,
            lm_fusion=self.lm_fusion,
            posteriors=history.posteriors(),
        )
        history.shorten(_HISTORY)
        says = kept[0, -count:]
        vectors = vectors[0, -count:][says.to(vectors.device)].clone()
        said = [each for each, keep in zip(new.settled, says, strict=True) if keep]
        if not said:
            return []
        self._said_until = said[-1].boundary + 1
        tokens = embedder.nearest_tokens(vectors)
        hypothesis = new.found.hypothesis
        if hypothesis is not None and count < len(new.found.segments):
            # Of its words, those that are settled now.
            ids = [each.token for each in new.settled if each.token >= 0]
            hypothesis = embedder.spell(ids)
        seconds, self._told = self.seconds - self._told, self.seconds
        return [
            Speech(
                vectors=vectors,
                tokens=tokens,
                text=embedder.spell(tokens),
                starts=[each.start / self._rate for each in said],
                ends=[(each.boundary + 1) / self._rate for each in said],
                segmentation="predicted",
                hypothesis=hypothesis,
                seconds=seconds,
                lm_fusion=self.lm_fusion and embedder.can_fuse,
                segments=new.segments,
            )
        ]


@dataclasses.dataclass(frozen=True)
class _Settlement:
    """Segments that a window settled, and what it was read from."""

    settled: list[Settled]
    found: Segmentation
    features: torch.Tensor
    first_frame: int

    @property
    def segments(self) -> Segments:
        """In frames of the stream."""
        fields = ("token", "start", "boundary")
        columns = ([getattr(each, field) for each in self.settled] for field in fields)
        return Segments(*(np.array(column, dtype=np.int64) for column in columns))


class _History:
    """The last segments, their frames one after another without what lies between."""

    def __init__(self) -> None:
        self._frames: list[torch.Tensor] = []
        self._posteriors: list[tuple[Any, Any]] | None = []

    def add(self, new: _Settlement) -> None:
        told = new.found.posteriors
        if told is None:
            self._posteriors = None
        for each in new.settled:
            first = each.start - new.first_frame
            stop = each.boundary + 1 - new.first_frame
            self._frames.append(new.features[max(first, 0) : stop].clone())
            if told is not None and self._posteriors is not None:
                row = told.token_ids[each.row], told.log_probs[each.row]
                self._posteriors.append(row)

    def shorten(self, most: int) -> None:
        self._frames = self._frames[-most:]
        if self._posteriors is not None:
            self._posteriors = self._posteriors[-most:]

    @property
    def features(self) -> torch.Tensor:
        """[F, D]"""
        return torch.cat(self._frames)

    @property
    def starts(self) -> list[int]:
        return [0, *self._stops()[:-1]]

    @property
    def boundaries(self) -> list[int]:
        return [stop - 1 for stop in self._stops()]

    def _stops(self) -> list[int]:
        return [*itertools.accumulate(len(x) for x in self._frames)]

    def posteriors(self) -> list[TokenPosteriors] | None:
        """Those of all segments, as of one utterance."""
        if self._posteriors is None:
            return None
        most = max(len(ids) for ids, _ in self._posteriors)
        ids = np.zeros((len(self._posteriors), most), dtype=np.int64)
        log_probs = np.full(ids.shape, -np.inf, dtype=np.float32)
        for row, (tokens, scores) in enumerate(self._posteriors):
            ids[row, : len(tokens)], log_probs[row, : len(scores)] = tokens, scores
        return [TokenPosteriors(ids, log_probs)]


def read_stream(
    stream: SpeechStream, chunks: Iterable[Any], end_pause: float | None = None
) -> Iterator[Speech]:
    """Pieces of speech, as chunks of samples come.

    Arguments
    ---------
    stream : SpeechStream
    chunks : iterable of array-like
        Of :meth:`SpeechStream.push`.
    end_pause : float or None
        Ends, with no more chunks taken, when nobody has spoken for so long, s, after
        somebody has. None: when there are no more chunks.

    Yields
    ------
    Speech

    Example
    -------
    >>> from ssr_plugin import SpeechLM
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> chunks = (torch.rand(800) - 0.5 for _ in range(30))
    >>> pieces = list(read_stream(SpeechStream(lm.embedder), chunks))
    >>> pieces[0].starts[0] < pieces[-1].starts[-1]
    True
    """
    for chunk in chunks:
        yield from stream.push(chunk)
        pause = stream.pause
        if end_pause is not None and pause is not None and pause >= end_pause:
            break
    yield from stream.finish()
