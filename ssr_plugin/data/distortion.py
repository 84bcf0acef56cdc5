"""What every change to a recording is, such as noise that is added to it."""

import abc
from typing import Any

import numpy as np
import torch

from ssr_plugin.data.datasets import Utterance


class Distortion(abc.ABC):
    """One change to recordings, of one strength: babble at 5 dB, a room of 0.6 s.

    Attributes
    ----------
    kind : str
        What it is, as users name it.
    strength : float
        How strong it is, in ``unit``.
    unit : str
        "dB" or "s".
    about : str
        How it is made, in a sentence for the report.
    """

    kind: str
    strength: float
    unit: str
    about: str

    @property
    def name(self) -> str:
        """Kind and strength, for titles."""
        return f"{self.kind.replace('_', ' ')} {self.strength:g} {self.unit}"

    def settings(self) -> list[Any]:
        """What tells it from another one, JSON-able."""
        return [self.kind, self.strength]

    def prepare(self, sample_rate: int) -> None:
        """Makes what all recordings share. Called before the first of them.

        Arguments
        ---------
        sample_rate : int
            Of the recordings, Hz.
        """
        return None

    @abc.abstractmethod
    def apply(
        self,
        samples: torch.Tensor,
        utterance: Utterance,
        sample_rate: int,
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """Changes a recording; what is spoken stays where it is in time.

        Arguments
        ---------
        samples : torch.Tensor
            [S] float32
        utterance : ssr_plugin.data.datasets.Utterance
            What it is a recording of.
        sample_rate : int
            Hz
        rng : numpy.random.Generator
            All that is random comes from it.

        Returns
        -------
        torch.Tensor
            [S] float32

        Raises
        ------
        ssr_plugin.data.audio.AudioError
            If that cannot be done to this recording.
        """
