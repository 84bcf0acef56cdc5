"""A recogniser whose words are timed by an aligner."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ssr_plugin.alignment.base import Aligner, AlignmentItem
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.recognizers.base import Recognizer, Rescorer

logger = logging.getLogger(__name__)


class AlignedRecognizer(Recognizer):
    """What a recogniser writes, when an aligner finds it said.

    A forced aligner knows better than a recogniser when a word is said. Where it cannot
    find a text in its audio, the recogniser's own times stay.

    Arguments
    ---------
    recognizer : Recognizer
    aligner : ssr_plugin.alignment.base.Aligner
        One that reads audio.

    Attributes
    ----------
    num_failed : int
        Recordings that the aligner could not align so far.
    """

    def __init__(self, recognizer: Recognizer, aligner: Aligner) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.aligner = aligner
        self.sample_rate = recognizer.sample_rate
        self.num_failed = 0

    def settings(self) -> dict[str, Any]:
        """See :meth:`Recognizer.settings`."""
        aligner = {"name": self.aligner.name, **self.aligner.settings()}
        return {**self.recognizer.settings(), "aligner": aligner}

    def use_encoder(self, encoder: SpeechEncoder) -> bool:
        """See :meth:`Recognizer.use_encoder`."""
        return self.recognizer.use_encoder(encoder)

    def use_rescorer(self, rescorer: Rescorer) -> None:
        """See :meth:`Recognizer.use_rescorer`."""
        self.recognizer.use_rescorer(rescorer)

    def recognize(
        self,
        wavs: Sequence[Tensor],
        windows: Sequence[Tensor | None] | None = None,
    ) -> list[Alignment]:
        """See :meth:`Recognizer.recognize`."""
        found = self.recognizer.recognize(wavs, windows)
        self.num_looped = self.recognizer.num_looped
        rows = [i for i, hypothesis in enumerate(found) if hypothesis.units]
        items = [
            AlignmentItem(
                f"recording {i}",
                "audio",
                found[i].text,
                samples=wavs[i].float().cpu().numpy(),
                sample_rate=self.sample_rate,
            )
            for i in rows
        ]
        for i, timed in zip(rows, self.aligner.align(items), strict=True):
            if isinstance(timed, AlignmentError):
                self.num_failed += 1
                logger.log(
                    logging.WARNING if self.num_failed == 1 else logging.DEBUG,
                    "%s cannot find in the audio what was recognised: the "
                    "recogniser's own times are taken (%s)",
                    self.aligner.name,
                    timed.reason,
                )
            else:
                found[i] = with_times(found[i], timed)
        return found


def with_times(hypothesis: Alignment, timed: Alignment) -> Alignment:
    """A hypothesis whose units have the times of another alignment of its text.

    Arguments
    ---------
    hypothesis, timed : ssr_plugin.alignment.record.Alignment
        Of the same text. Units of the second may be smaller, as characters are.

    Returns
    -------
    ssr_plugin.alignment.record.Alignment
        A unit that the second leaves out takes no time.

    Example
    -------
    >>> word = Alignment("", "hi", (Unit("hi", 0.0, 0.9, 0, 0.5),), "word", 1.0)
    >>> letters = Unit("h", 0.2, 0.3, 0), Unit("i", 0.3, 0.5, 1)
    >>> timed = Alignment("", "hi", letters, "char", 1.0)
    >>> [(u.start, u.end, u.confidence) for u in with_times(word, timed).units]
    [(0.2, 0.5, 0.5)]
    """
    units: list[Unit] = []
    last = 0.0
    for unit in hypothesis.units:
        stop = unit.offset + len(unit.text)
        inside = [x for x in timed.units if unit.offset <= x.offset < stop]
        start = max(inside[0].start, last) if inside else last
        last = max(inside[-1].end, start) if inside else last
        units.append(dataclasses.replace(unit, start=start, end=last))
    return dataclasses.replace(hypothesis, units=tuple(units))
