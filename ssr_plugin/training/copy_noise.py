"""In which noise copies of training utterances are heard: drawn for each by its id."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.distorted_set import DistortedSet, make_distorted_sets
from ssr_plugin.files import digest

# Of a copy that is louder than a file can be: its highest sample.
_PEAK = 0.99


class CopyNoise:
    """Noise for copies of utterances: of a kind and a level that are drawn for each.

    What is drawn depends on the seed, the copy's number and the utterance's id alone.

    Arguments
    ---------
    settings : dict
        The key ``noisy_copies`` of ``hparams/distill.yaml``: ``copies`` of each
        utterance, and what :func:`ssr_plugin.data.distorted_set.noise_settings` takes,
        but for ``splits``.
    utterances : list of ssr_plugin.data.datasets.Utterance
        Talkers of babble, and the speech that speech-shaped noise is like.
    seed : int
        Of all that is drawn.

    Attributes
    ----------
    copies : int
        Of each utterance.

    Raises
    ------
    ValueError
        If a setting is unknown, or noise cannot be made of the utterances.

    Example
    -------
    >>> noise = CopyNoise({"copies": 2, "kinds": ["white"], "snr": [20]}, [], seed=1)
    >>> noise.name(2, "a")
    'noisy2-a'
    >>> utterance, speech = Utterance("a", "a.wav", "hi"), torch.ones(8000)
    >>> copy = noise.hear(1, utterance, speech, 16000)
    >>> bool((copy == noise.hear(1, utterance, speech, 16000)).all())
    True
    >>> bool((copy == noise.hear(2, utterance, speech, 16000)).all())
    False
    """

    def __init__(
        self, settings: Mapping[str, Any], utterances: Sequence[Utterance], seed: int
    ) -> None:
        settings = dict(settings)
        number = settings.pop("copies", 1)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"copies: there must be one or more, not {number}")
        self.seed = seed
        # Each copy has babble and rooms of its own.
        self._sets = [
            make_distorted_sets(settings, {"all": utterances}, seed + copy)
            for copy in range(number)
        ]
        self.copies = number if self._sets[0] else 0

    def identity(self) -> list[list[str]]:
        """What tells the noise from other noise, JSON-able."""
        return [[x.identity() for x in sets] for sets in self._sets]

    def prepare(self, sample_rate: int) -> None:
        """Makes what all copies share. Called before the first of them.

        Arguments
        ---------
        sample_rate : int
            Of the copies, Hz.
        """
        for sets in self._sets:
            for distorted in sets:
                distorted.distortion.prepare(sample_rate)

    @staticmethod
    def name(copy: int, name: str) -> str:
        """The id of a copy, from 1, of the utterance of that id."""
        return f"noisy{copy}-{name}"

    def drawn(self, copy: int, name: str) -> DistortedSet:
        """The noise that is drawn for a copy, from 1, of the utterance of that id."""
        sets = self._sets[copy - 1]
        draw = int(digest(self.seed, "noisy copy", copy, name), 16)
        rng = np.random.default_rng(draw)
        # Kinds are as frequent as each other, whatever levels each has.
        kinds = sorted({x.distortion.kind for x in sets})
        kind = kinds[rng.integers(len(kinds))]
        those = [x for x in sets if x.distortion.kind == kind]
        return those[rng.integers(len(those))]

    def hear(
        self, copy: int, utterance: Utterance, samples: torch.Tensor, sample_rate: int
    ) -> torch.Tensor:
        """A copy of an utterance in its noise; one that is too loud is made softer.

        Arguments
        ---------
        copy : int
            From 1.
        utterance : ssr_plugin.data.datasets.Utterance
        samples : torch.Tensor
            [S] float32, all of it.
        sample_rate : int
            Hz

        Returns
        -------
        torch.Tensor
            [S] float32

        Raises
        ------
        ssr_plugin.data.audio.AudioError
            If no noise can be added to it.
        """
        distorted = self.drawn(copy, utterance.id)
        noisy = distorted.distort(utterance, samples, sample_rate)
        peak = float(noisy.abs().max())
        return noisy * (_PEAK / peak) if peak > _PEAK else noisy
