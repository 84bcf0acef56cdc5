"""What every segmenter is: an utterance in, one segment of frames per token out.

There are three kinds. A :class:`TranscriptSegmenter` cuts an alignment of the reference
transcript: its segments are *forced*. Those of the others are *predicted*: a
:class:`FrameSegmenter` reads frames alone, a :class:`HearingSegmenter` has a recogniser
listen to the audio. A segmenter may also be one that is trained
(:class:`TrainableSegmenter`), and one that finds a known text (:class:`TextAligner`).
"""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ssr_plugin.nnet.lengths import absolute_lengths

if TYPE_CHECKING:
    from ssr_plugin.alignment.record import Alignment
    from ssr_plugin.encoders.encoder import SpeechEncoder
    from ssr_plugin.llm.text_llm import TextLLM
    from ssr_plugin.recognizers.base import Recognizer


class Needs(enum.Flag):
    """What a segmenter must be given of an utterance.

    Example
    -------
    >>> Needs.TRANSCRIPT in Needs.FRAMES | Needs.TRANSCRIPT
    True
    """

    FRAMES = enum.auto()
    TRANSCRIPT = enum.auto()
    AUDIO = enum.auto()


#: Tokens of a text, and the half-open range of characters of each.
Tokenized: TypeAlias = tuple[list[int], list[tuple[int, int]]]


class SegmentationError(ValueError):
    """An utterance that cannot be cut into one segment per token."""


@dataclasses.dataclass(frozen=True)
class Segments:
    """The segments of one utterance: one LLM token each.

    Arguments
    ---------
    tokens : np.ndarray
        [N] int, token ids; -1 where a segmenter does not say which.
    starts : np.ndarray
        [N] int, the first frame of each segment.
    boundaries : np.ndarray
        [N] int, the last frame of each segment.

    Example
    -------
    >>> len(Segments.none())
    0
    """

    tokens: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    boundaries: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice) -> Segments:
        """Some of them."""
        return Segments(self.tokens[rows], self.starts[rows], self.boundaries[rows])

    @classmethod
    def none(cls) -> Segments:
        """Those of an utterance in which nothing is said."""
        return cls(*(np.zeros(0, dtype=np.int64) for _ in range(3)))


@dataclasses.dataclass(frozen=True)
class TokenPosteriors:
    """The likeliest tokens of each segment, the likeliest first.

    Arguments
    ---------
    token_ids : np.ndarray
        [N, K] int
    log_probs : np.ndarray
        [N, K] float32, in nats; of all tokens of the vocabulary and of none together
        they sum to 1.
    """

    token_ids: npt.NDArray[np.int64]
    log_probs: npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """What a segmenter finds in the frames of one utterance.

    Arguments
    ---------
    segments : Segments
        Maybe none.
    hypothesis : str or None
        The text that it hears; None from a segmenter that knows no text.
    posteriors : TokenPosteriors or None
        Of each segment; None where it has no probabilities of tokens.
    """

    segments: Segments
    hypothesis: str | None = None
    posteriors: TokenPosteriors | None = None


@dataclasses.dataclass(frozen=True)
class StreamWindows:
    """How segments are found in windows that move on with a stream.

    Arguments
    ---------
    period : int
        Frames; each window begins at a multiple of it.
    jitter : int
        Frames by which a segment may begin elsewhere in the next window; above 0 with
        ``agreement``.
    agreement : bool
        Whether a token counts only when two windows, one after the other, have it.
    """

    period: int = 1
    jitter: int = 0
    agreement: bool = False


class Segmenter(nn.Module, abc.ABC):
    """Cuts utterances into segments. A subclass is registered by name.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the tokenizer.
    frame_rate : float
        Of the encoder, in Hz.

    Attributes
    ----------
    needs : Needs
        What it must be given. What is measured with one that needs the transcript says
        ``forced``.
    """

    needs: ClassVar[Needs]

    def __init__(self, input_size: int, llm: TextLLM, frame_rate: float) -> None:
        super().__init__()
        self.tokenizer = llm.tokenizer
        self.frame_rate = frame_rate

    def use_encoder(self, encoder: SpeechEncoder) -> None:
        """Called once, with the encoder whose frames are to be cut.

        Arguments
        ---------
        encoder : ssr_plugin.encoders.encoder.SpeechEncoder
        """

    def stream_windows(self) -> StreamWindows:
        """How it finds segments in speech that is still going on.

        Returns
        -------
        StreamWindows

        Raises
        ------
        ValueError
            If it cannot, as by default; it says why.
        """
        raise ValueError(
            f"{type(self).__name__} finds segments in whole recordings only, not in a "
            f"stream: take subword_ctc, boundary, fixed or asr"
        )


class FrameSegmenter(Segmenter):
    """Finds segments in frames alone.

    Example
    -------
    >>> import torch
    >>> class Halves(FrameSegmenter):
    ...     '''Cuts each utterance in two.'''
    ...     def segment_frames(self, features, lengths, use_lm=True):
    ...         unknown, found = np.array([-1, -1]), []
    ...         for n in lengths.tolist():
    ...             starts = np.array([0, n // 2])
    ...             ends = np.array([n // 2 - 1, n - 1])
    ...             found.append(Segmentation(Segments(unknown, starts, ends)))
    ...         return found
    >>> from types import SimpleNamespace
    >>> segmenter = Halves(6, SimpleNamespace(tokenizer=None), 50.0)
    >>> (found,) = segmenter.segment_frames(torch.rand(1, 9, 6), torch.tensor([9]))
    >>> found.segments.starts.tolist(), found.segments.boundaries.tolist()
    ([0, 4], [3, 8])
    """

    needs = Needs.FRAMES

    @abc.abstractmethod
    def segment_frames(
        self, features: Tensor, lengths: Tensor, use_lm: bool = True
    ) -> list[Segmentation]:
        """Cuts utterances of which only the frames are known.

        What is found in an utterance does not depend on those beside it.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        lengths : torch.Tensor
            [B] int, frames of each; or floats, shares of T.
        use_lm : bool
            False does without the LLM's help, where a segmenter asks for it: faster,
            as in training.

        Returns
        -------
        list of Segmentation
            One of each utterance.
        """


class HearingSegmenter(Segmenter):
    """Listens to the audio itself: a recogniser, whose hypothesis is cut into tokens.

    What it hears of an utterance is an alignment, which depends on no LLM and can be
    kept on disk; :meth:`cut` makes segments of it.
    """

    needs = Needs.AUDIO

    @property
    @abc.abstractmethod
    def recognizer(self) -> Recognizer:
        """What listens."""

    @property
    def shares_encoder(self) -> bool:
        """Whether :meth:`hear` can read what the connector's encoder gives."""
        return False

    @abc.abstractmethod
    def cut(self, hypothesis: Alignment, num_frames: int) -> Segmentation:
        """Cuts one utterance.

        Arguments
        ---------
        hypothesis : ssr_plugin.alignment.record.Alignment
            As the recogniser gives it.
        num_frames : int
            Frames that the encoder gives for the utterance.

        Returns
        -------
        Segmentation
            None of a hypothesis that says nothing, or that has more tokens than there
            are frames.
        """

    def cut_all(
        self, hypotheses: Iterable[Alignment], num_frames: Iterable[int]
    ) -> list[Segmentation]:
        """:meth:`cut` of several utterances."""
        pairs = zip(hypotheses, num_frames, strict=True)
        return [self.cut(hypothesis, count) for hypothesis, count in pairs]


class TranscriptSegmenter(Segmenter):
    """Cuts an utterance by an alignment of its transcript."""

    needs = Needs.TRANSCRIPT

    @abc.abstractmethod
    def tokenize(self, text: str) -> Tokenized:
        """The tokens of a transcript and the characters each of them covers.

        Arguments
        ---------
        text : str

        Returns
        -------
        tokens : list of int
        spans : list of (int, int)
            Characters [first, last + 1) of ``text``; an empty span where a token
            covers none.
        """

    @abc.abstractmethod
    def segment(self, alignment: Alignment, num_frames: int) -> Segments:
        """Cuts one utterance.

        Arguments
        ---------
        alignment : ssr_plugin.alignment.record.Alignment
        num_frames : int
            Frames that the encoder gives for the utterance.

        Returns
        -------
        Segments

        Raises
        ------
        SegmentationError
            If it cannot be cut.
        """


class TrainableSegmenter(Segmenter):
    """A segmenter with weights, trained on forced segments by ``segmenter.yaml``."""

    @abc.abstractmethod
    def loss(
        self,
        features: Tensor,
        lengths: Tensor,
        boundaries: Tensor,
        starts: Tensor,
        tokens: Tensor,
    ) -> Tensor:
        """What is minimised in training.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        lengths : torch.Tensor
            [B] int, frames of each.
        boundaries, starts, tokens : torch.Tensor
            [B, N] int each, the forced segments, padded with -1.

        Returns
        -------
        torch.Tensor
            A scalar.
        """

    def forward(self, features: Tensor, lengths: Tensor, *targets: Tensor) -> Tensor:
        """:meth:`loss`, by the name that DDP needs; lengths may be shares of T."""
        counts = absolute_lengths(lengths, features.shape[1])
        return self.loss(features, counts, *targets)

    def learn_symbols(self, segments: Iterable[Segments]) -> None:
        """Takes from the training data what symbols there are, before training.

        Arguments
        ---------
        segments : iterable of Segments
            All of the training data.
        """

    def symbols(self) -> dict[str, Any]:
        """Options of the class that :meth:`learn_symbols` set, JSON-able."""
        return {}


class TextAligner(abc.ABC):
    """What a segmenter also is that finds a known text in frames.

    Attributes
    ----------
    start_offset, end_offset : float
        Added to starts and ends, in ms; set by :mod:`ssr_plugin.segmenters.calibration`
        after training.
    """

    start_offset: float
    end_offset: float

    @abc.abstractmethod
    def spell(self, tokens: Any) -> str:
        """The text of some tokens, as :meth:`align_text` takes it."""

    @abc.abstractmethod
    def align_text(
        self, features: Tensor, text: str, id: str = "?"
    ) -> list[tuple[int, float, float]]:
        """Finds the characters of a text in the frames in which it is spoken.

        Arguments
        ---------
        features : torch.Tensor
            [T, D], one utterance's frames, without padding.
        text : str
        id : str
            The utterance, for messages.

        Returns
        -------
        list of (int, float, float)
            Index of a character in ``text``, start and end in s; in order, without
            overlap. What is not spoken is not there.

        Raises
        ------
        ssr_plugin.alignment.record.AlignmentError
            If the text cannot be found.
        """
