"""What every recogniser is: audio in, what is said in it and when out.

A hypothesis is an :class:`~ssr_plugin.alignment.record.Alignment` whose text the
recogniser wrote itself, each unit with a confidence.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self

    from ssr_plugin.alignment.record import Alignment
    from ssr_plugin.encoders.encoder import SpeechEncoder

logger = logging.getLogger(__name__)

# Letters of a text in the log.
_MOST_SHOWN = 80


class Rescorer(abc.ABC):
    """Tells how likely hypotheses are by something else than what was heard."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that changes its scores, as a JSON-able dict."""

    @abc.abstractmethod
    def score(self, hypotheses: Sequence[Alignment]) -> list[float]:
        """What is added to the recogniser's log-probabilities.

        Arguments
        ---------
        hypotheses : list of ssr_plugin.alignment.record.Alignment
            Of one recording; none is empty.

        Returns
        -------
        list of float
            Nats, for each.
        """


class Recognizer(nn.Module, abc.ABC):
    """Writes what is said in audio. It is frozen.

    Attributes
    ----------
    sample_rate : int
        Of the audio it takes, Hz.
    num_looped : int
        Recordings so far in which a loop was cut.
    """

    sample_rate: int
    num_looped: int = 0

    def note_loops(self, found: Sequence[Alignment]) -> None:
        """Counts recordings in which a loop was cut; the log has the first.

        Arguments
        ---------
        found : list of ssr_plugin.alignment.record.Alignment
            What :meth:`recognize` found in some recordings.
        """
        for hypothesis in found:
            if hypothesis.cut_loops:
                self.num_looped += 1
                logger.log(
                    logging.WARNING if self.num_looped == 1 else logging.DEBUG,
                    "the recogniser said the same over and over, which is cut to once; "
                    "what is left of %.1f s of audio: '%s'",
                    hypothesis.duration,
                    shorten(hypothesis.text, _MOST_SHOWN, placeholder=" ..."),
                )

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: it is frozen."""
        return super().train(False)

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that changes its hypotheses, as a JSON-able dict."""

    @abc.abstractmethod
    def recognize(
        self,
        wavs: Sequence[Tensor],
        windows: Sequence[Tensor | None] | None = None,
    ) -> list[Alignment]:
        """What is said in some recordings; each as if it were alone.

        Arguments
        ---------
        wavs : list of torch.Tensor
            [S] each, at :attr:`sample_rate`.
        windows : list of (torch.Tensor or None) or None
            What the encoder makes of each, [T, D], padding included, where that is
            known already (:meth:`use_encoder`).

        Returns
        -------
        list of ssr_plugin.alignment.record.Alignment
            One of each, with id "". Where nothing is said, the text is empty.
        """

    def use_encoder(self, encoder: SpeechEncoder) -> bool:
        """Lets the recogniser read what a speech encoder gives, if it can.

        Called once, before it recognises.

        Arguments
        ---------
        encoder : ssr_plugin.encoders.encoder.SpeechEncoder

        Returns
        -------
        bool
            Whether that encoder is the recogniser's own, so that audio need be encoded
            but once; by default it is not.
        """
        return False

    def use_rescorer(self, rescorer: Rescorer) -> None:
        """Lets something else choose among several hypotheses, too.

        Arguments
        ---------
        rescorer : Rescorer

        Raises
        ------
        ValueError
            If the recogniser finds one hypothesis alone.
        """
        raise ValueError(
            "llm_weight: the recogniser finds one hypothesis alone, and there is "
            "nothing to choose from: take a Whisper model and more num_beams, or leave "
            "it 0"
        )
