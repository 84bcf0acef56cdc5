"""Segments from a transcript and its alignment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ssr_plugin.languages import is_undivided
from ssr_plugin.segmenters.base import (
    SegmentationError,
    Segments,
    Tokenized,
    TranscriptSegmenter,
)
from ssr_plugin.segmenters.boundaries import (
    SILENCE_POLICIES,
    character_times,
    give_silence,
    to_frames,
    token_times,
)

if TYPE_CHECKING:
    from ssr_plugin.alignment.record import Alignment
    from ssr_plugin.llm.text_llm import TextLLM

TEXT_CASES = ("lower", "upper", "as_is")


def apply_case(text, case):
    """Changes the case of a text but not its length, so that offsets hold.

    Arguments
    ---------
    text : str
    case : str
        "lower", "upper" or "as_is".

    Example
    -------
    >>> apply_case("HELLO", "lower"), apply_case("Stra\u00dfe", "upper")
    ('hello', 'STRA\u00dfE')
    """
    if case == "as_is":
        return text
    change = str.lower if case == "lower" else str.upper
    return "".join(c if len(change(c)) != 1 else change(c) for c in text)


class ForcedSegmenter(TranscriptSegmenter):
    """One segment per token of the transcript, cut where the alignment says.

    It reads the reference transcript: whatever is measured with it says ``forced``.

    Arguments
    ---------
    input_size : int
        Not read.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Its tokenizer must give character offsets.
    frame_rate : float
        Of the encoder, in Hz.
    silence : str
        Which token the silence after a word belongs to: "previous", "next", "split"
        (half each) or "drop" (none).
    text_case : str
        Case in which the LLM reads the transcript: "lower", "upper" or "as_is".
    leading_space : bool
        Whether the first word becomes the tokens it would be inside a sentence, not
        those of a text's very first word. Of a script without blanks, the two are one.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> from transformers import PreTrainedTokenizerFast
    >>> from ssr_plugin.alignment.record import Alignment, Unit
    >>> words = {"hello": 0, "world": 1, "?": 2}
    >>> tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    >>> llm = SimpleNamespace(tokenizer=tokenizer)
    >>> segmenter = ForcedSegmenter(6, llm, frame_rate=50.0)
    >>> units = (Unit("HELLO", 0.1, 0.5, 0), Unit("WORLD", 0.6, 1.0, 6))
    >>> alignment = Alignment("a", "HELLO WORLD", units, "word", 1.2)
    >>> segments = segmenter.segment(alignment, num_frames=60)
    >>> segments.tokens.tolist(), segments.starts.tolist(), segments.boundaries.tolist()
    ([0, 1], [5, 30], [29, 59])
    """

    def __init__(
        self,
        input_size: int,
        llm: TextLLM,
        frame_rate: float,
        silence: str = "previous",
        text_case: str = "lower",
        leading_space: bool = True,
    ) -> None:
        super().__init__(input_size, llm, frame_rate)
        tokenizer = llm.tokenizer
        if not tokenizer.is_fast:
            raise ValueError(
                f"{type(tokenizer).__name__} of {tokenizer.name_or_path!r} gives no "
                "character offsets: forced segments need a fast tokenizer "
                "(a tokenizer.json in the LLM's folder)"
            )
        for value, known, key in (
            (silence, SILENCE_POLICIES, "silence"),
            (text_case, TEXT_CASES, "text_case"),
        ):
            if value not in known:
                raise ValueError(f"{key}: {value!r} is none of {', '.join(known)}")
        self.silence = silence
        self.text_case = text_case
        self.prefix = " " if leading_space and self._space_is_inside() else ""

    def _space_is_inside(self):
        """Whether "space + word" gives the tokens that the word has in a sentence.

        Byte-level tokenizers need the space; those of SentencePiece add it.
        """
        alone, spaced, inside = (
            self.tokenizer(text, add_special_tokens=False).input_ids
            for text in ("hello", " hello", "a hello")
        )
        return spaced != alone and inside[-len(spaced) :] == spaced

    def tokenize(self, text: str) -> Tokenized:
        """See :meth:`TranscriptSegmenter.tokenize`."""
        prefix = "" if is_undivided(text[:1]) else self.prefix
        text = prefix + apply_case(text, self.text_case)
        encoded = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True
        )
        shift = len(prefix)
        spans = [
            (max(first - shift, 0), max(stop - shift, 0))
            for first, stop in encoded.offset_mapping
        ]
        return encoded.input_ids, spans

    def segment(
        self,
        alignment: Alignment,
        num_frames: int,
        tokenized: Tokenized | None = None,
    ) -> Segments:
        """See :meth:`TranscriptSegmenter.segment`.

        Arguments
        ---------
        alignment, num_frames
            Of :meth:`TranscriptSegmenter.segment`.
        tokenized : tuple or None
            What :meth:`tokenize` gives for the alignment's text, if that is known.

        Returns
        -------
        Segments

        Raises
        ------
        SegmentationError
            If nothing is spoken, the text has no token, or more tokens than there are
            frames.
        """
        if not alignment.units:
            raise SegmentationError(f"{alignment.id}: the alignment has no unit")
        tokens, spans = tokenized or self.tokenize(alignment.text)
        if not tokens:
            raise SegmentationError(f"{alignment.id}: the transcript has no token")
        starts, ends = token_times(
            spans, *character_times(len(alignment.text), alignment.units)
        )
        starts, ends = give_silence(starts, ends, alignment.duration, self.silence)
        try:
            starts, boundaries = to_frames(starts, ends, self.frame_rate, num_frames)
        except ValueError as error:
            raise SegmentationError(f"{alignment.id}: {error}") from error
        return Segments(np.asarray(tokens, dtype=np.int64), starts, boundaries)
