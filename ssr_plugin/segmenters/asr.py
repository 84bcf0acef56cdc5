"""Segments from what a recogniser hears: its words become the LLM's tokens."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ssr_plugin.alignment.number_aligner import with_number_words
from ssr_plugin.alignment.record import Alignment
from ssr_plugin.recognizers.aligned import AlignedRecognizer
from ssr_plugin.recognizers.base import Recognizer, Rescorer
from ssr_plugin.recognizers.load import load_recognizer
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.base import (
    HearingSegmenter,
    Segmentation,
    SegmentationError,
    Segments,
    StreamWindows,
)
from ssr_plugin.segmenters.forced import ForcedSegmenter, apply_case
from ssr_plugin.segmenters.llm_rescorer import LLMRescorer
from ssr_plugin.segmenters.marks import as_read
from ssr_plugin.segmenters.posteriors import token_posteriors
from ssr_plugin.segmenters.trained import read_settings

if TYPE_CHECKING:
    from ssr_plugin.alignment.base import Aligner
    from ssr_plugin.encoders.encoder import SpeechEncoder
    from ssr_plugin.llm.text_llm import TextLLM

# By how much a recogniser's time of a word differs from window to window, s.
_JITTER = 0.4
#: In place of an aligner's name: the recogniser's own times.
OWN = "own"


class ASRSegmenter(HearingSegmenter):
    """A Hugging Face recogniser's words, cut into the LLM's tokens.

    There is nothing to train, and no transcript. Its hypothesis, given to the LLM as
    text, is the *matched cascade* where the recogniser is the encoder's own.

    Arguments
    ---------
    input_size, llm, frame_rate
        Of :class:`ssr_plugin.segmenters.base.Segmenter`.
    source : str or None
        Hub id or folder of a whole Whisper model, or of one with a CTC head; None for
        the model that the encoder is taken from.
    language, num_beams
        Of :class:`ssr_plugin.recognizers.whisper.WhisperRecognizer`.
    times : str
        Name of the aligner that finds the recogniser's words in the audio, as
        "pocketsphinx", or folder of a trained one; "own" for the recogniser's own
        times, which are rougher.
    llm_weight : float
        Weight of the LLM's log-probability of a text, in the choice among ``num_beams``
        hypotheses; 0: the recogniser chooses alone. The LLM is asked without adapters.
    marks : bool
        Whether the LLM reads the recogniser's punctuation. Without, "Well-known, it's"
        is "Well known it's".
    silence, text_case, leading_space
        Of :class:`ssr_plugin.segmenters.forced.ForcedSegmenter`.
    """

    def __init__(
        self,
        input_size: int,
        llm: TextLLM,
        frame_rate: float,
        source: str | None = None,
        language: str | None = None,
        num_beams: int = 1,
        llm_weight: float = 0.0,
        times: str = OWN,
        marks: bool = False,
        silence: str = "previous",
        text_case: str = "lower",
        leading_space: bool = True,
    ) -> None:
        super().__init__(input_size, llm, frame_rate)
        self.marks = marks
        self._cutter = ForcedSegmenter(
            input_size, llm, frame_rate, silence, text_case, leading_space
        )
        self.source = source
        self._options: dict[str, Any] = {"language": language, "num_beams": num_beams}
        self._aligner = aligner_of(times)
        self._rescorer: Rescorer | None = None
        if llm_weight:
            self._rescorer = LLMRescorer(llm, llm_weight, self._cutter, marks)
        self._recognizer: Recognizer | None = None
        self._shares_encoder = False

    @property
    def recognizer(self) -> Recognizer:
        """See :attr:`HearingSegmenter.recognizer`."""
        if self._recognizer is None:
            raise ValueError("no encoder is known yet: call use_encoder first")
        return self._recognizer

    @property
    def shares_encoder(self) -> bool:
        """See :attr:`HearingSegmenter.shares_encoder`."""
        return self._shares_encoder

    def use_encoder(self, encoder: SpeechEncoder) -> None:
        """See :meth:`Segmenter.use_encoder`; loads the recogniser."""
        source = self.source or encoder.source
        recognizer = load_timed(source, self._aligner, **self._options)
        if self._rescorer is not None:
            recognizer.use_rescorer(self._rescorer)
        self._shares_encoder = recognizer.use_encoder(encoder)
        self._recognizer = recognizer

    def stream_windows(self) -> StreamWindows:
        """See :meth:`Segmenter.stream_windows`: words count that two windows agree on.

        Macháček et al., arXiv 2307.14743 (LocalAgreement).
        """
        return StreamWindows(jitter=round(_JITTER * self.frame_rate), agreement=True)

    def cut(self, hypothesis: Alignment, num_frames: int) -> Segmentation:
        """See :meth:`HearingSegmenter.cut`."""
        said = as_read(hypothesis, self.marks)
        tokenized = self._cutter.tokenize(said.text)
        try:
            segments = self._cutter.segment(said, num_frames, tokenized)
        except SegmentationError:
            return Segmentation(Segments.none(), "")
        text = apply_case(said.text, self._cutter.text_case)
        posteriors = token_posteriors(self._cutter, said, tokenized)
        return Segmentation(segments, text, posteriors)


def aligner_of(times: str) -> Callable[[], Aligner] | None:
    """What makes the aligner that times a recogniser's words; None for its own times.

    Arguments
    ---------
    times : str
        Of :class:`ASRSegmenter`.

    Returns
    -------
    callable or None

    Raises
    ------
    ValueError
        If there is no such aligner.

    Example
    -------
    >>> aligner_of("own")
    >>> aligner_of("pocketsphinx")().name
    'pocketsphinx'
    """
    if pathlib.Path(times).is_dir() or "/" in times:
        read_settings(times)
        trained = get_registry().aligners.get("trained")
        return functools.partial(trained, source=times)
    return None if times == OWN else get_registry().aligners.get(times)


def load_timed(
    source: str,
    aligner: Callable[[], Aligner] | None,
    language: str | None = None,
    num_beams: int = 1,
) -> Recognizer:
    """A recogniser whose words have an aligner's times, or else its own.

    Arguments
    ---------
    source, language, num_beams
        Of :func:`ssr_plugin.recognizers.load.load_recognizer`.
    aligner : callable or None
        Of :func:`aligner_of`.

    Returns
    -------
    ssr_plugin.recognizers.base.Recognizer
    """
    recognizer = load_recognizer(source, language, num_beams)
    if aligner is None:
        return recognizer
    return AlignedRecognizer(recognizer, with_number_words(aligner(), language))
