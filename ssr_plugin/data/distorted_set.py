"""Recordings in noise, or in a room: the same ones whenever asked.

What is random of a recording is drawn by the seed, the kind of distortion and the
utterance's id alone: it depends neither on the order, the batch or the process, nor on
what else is heard, and is the same at each signal-to-noise ratio but for its level.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ssr_plugin.data.audio import AudioError
from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.distortion import Distortion
from ssr_plugin.data.noise import (
    AddedNoise,
    Babble,
    Noise,
    SpeechShapedNoise,
    WhiteNoise,
)
from ssr_plugin.data.rooms import Reverberation
from ssr_plugin.data.splits import select_splits
from ssr_plugin.files import digest
from ssr_plugin.problems import did_you_mean, prefix_errors

# Raised when the same recordings are made in another way than before.
_FORMAT = 1
_KINDS = (Babble.kind, SpeechShapedNoise.kind, WhiteNoise.kind, Reverberation.kind)
# Of what a YAML does not say.
_DEFAULTS: dict[str, Any] = {
    "kinds": (),
    "snr": (20, 10, 5, 0),
    "reverberation_time": (0.3, 0.6, 0.9),
    "num_talkers": 6,
    "splits": ("*",),
}
#: How levels are measured, for the report.
SNR = (
    "The signal-to-noise ratio is that of the active speech level (ITU-T P.56: pauses "
    "do not count) of the whole recording to the noise's root mean square. Forced "
    "segments are cut by the alignment of the clean audio. Text and nothing are not "
    "heard: their answers are those beside clean audio."
)


class DistortedSet:
    """The recordings of a data set, distorted.

    Arguments
    ---------
    distortion : ssr_plugin.data.distortion.Distortion
    utterances : dict
        By path of the recording.
    seed : int

    Example
    -------
    >>> from ssr_plugin.data.noise import AddedNoise, WhiteNoise
    >>> utterances = {"a.wav": Utterance("a", "a.wav", "hi")}
    >>> noisy = DistortedSet(AddedNoise(WhiteNoise(), snr=5), utterances, seed=1)
    >>> samples = torch.ones(8000)
    >>> bool((noisy("a.wav", samples, 16000) == noisy("a.wav", samples, 16000)).all())
    True
    """

    def __init__(
        self, distortion: Distortion, utterances: Mapping[str, Utterance], seed: int
    ) -> None:
        self.distortion = distortion
        self.utterances = utterances
        self.seed = seed

    def __call__(
        self, path: str, samples: torch.Tensor, sample_rate: int
    ) -> torch.Tensor:
        """A recording, distorted.

        Arguments
        ---------
        path : str
        samples : torch.Tensor
            [S] float32, the whole recording.
        sample_rate : int
            Hz

        Returns
        -------
        torch.Tensor
            [S] float32

        Raises
        ------
        ssr_plugin.data.audio.AudioError
            If it is none of the data set, or cannot be distorted.
        """
        if path not in self.utterances:
            raise AudioError(f"{path} is no recording of the data: no noise is drawn")
        return self.distort(self.utterances[path], samples, sample_rate)

    def distort(
        self, utterance: Utterance, samples: torch.Tensor, sample_rate: int
    ) -> torch.Tensor:
        """As a call, for an utterance that need not be of the data set."""
        name = digest(self.seed, self.distortion.kind, utterance.id)
        rng = np.random.default_rng(int(name, 16))
        return self.distortion.apply(samples, utterance, sample_rate, rng)

    def identity(self) -> str:
        """A name for what is heard: another one where that is."""
        name: str = digest(_FORMAT, self.seed, self.distortion.settings())
        return name


def noise_settings(noise: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a user says of noise, with defaults for the rest.

    Arguments
    ---------
    noise : dict or None
        The key ``noise`` of ``hparams/evaluate.yaml``.

    Returns
    -------
    dict
        "kinds", each once; "snr" (dB), "reverberation_time" (s), "num_talkers" and
        "splits".

    Raises
    ------
    ValueError
        If a key or a kind is unknown.

    Example
    -------
    >>> noise_settings({"kinds": ["white"]})["snr"]
    (20, 10, 5, 0)
    """
    settings = _DEFAULTS | dict(noise or {})
    for key in settings:
        if key not in _DEFAULTS:
            raise ValueError(
                f"noise: there is no '{key}'; known: {', '.join(_DEFAULTS)}"
                f"{did_you_mean(key, _DEFAULTS)}"
            )
    settings["kinds"] = list(dict.fromkeys(_listed(settings["kinds"])))
    for kind in settings["kinds"]:
        if kind not in _KINDS:
            raise ValueError(
                f"noise: there is no kind '{kind}'; known: {', '.join(_KINDS)}"
                f"{did_you_mean(kind, _KINDS)}"
            )
    return settings


def make_distorted_sets(
    noise: Mapping[str, Any] | None,
    utterances: Mapping[str, Sequence[Utterance]],
    seed: int,
) -> list[DistortedSet]:
    """Utterances in each noise that a user asks for.

    Arguments
    ---------
    noise : dict or None
        Of :func:`noise_settings`.
    utterances : dict
        Those of each split, by its name.
    seed : int

    Returns
    -------
    list of DistortedSet
        By kind as they are asked for, from the weakest to the strongest.

    Raises
    ------
    ValueError
        If a kind is unknown, a level is no number, or noise cannot be made of the data.
    """
    noise = noise_settings(noise)
    if not noise["kinds"]:
        return []
    by_wav = {x.wav: x for split in utterances.values() for x in split}
    chosen = select_splits("noise.splits", noise["splits"], [*utterances])
    pool = [x for split in chosen for x in utterances[split]]
    distortions: list[Distortion] = []
    for kind in noise["kinds"]:
        if kind == Reverberation.kind:
            times = _numbers("reverberation_time", noise["reverberation_time"])
            with prefix_errors("noise"):
                distortions += [Reverberation(x, seed) for x in sorted(times)]
        else:
            snrs = _numbers("snr", noise["snr"])
            with prefix_errors(f"noise (splits: {', '.join(chosen)})"):
                source = _make_noise(kind, pool, seed, noise["num_talkers"])
            distortions += [AddedNoise(source, snr) for snr in sorted(snrs)[::-1]]
    return [DistortedSet(x, by_wav, seed) for x in distortions]


def _make_noise(
    kind: str, pool: Sequence[Utterance], seed: int, num_talkers: int
) -> Noise:
    if kind == Babble.kind:
        return Babble(pool, num_talkers)
    if kind == SpeechShapedNoise.kind:
        return SpeechShapedNoise(pool, seed)
    return WhiteNoise()


def _listed(value: Any) -> list[Any]:
    """What a YAML has as a list, or as a value alone."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _numbers(key: str, values: Any) -> list[float]:
    """The numbers of a list, each once; refuses what is none."""
    values = _listed(values)
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ValueError(f"noise.{key}: {value!r} is no number")
    if not values:
        raise ValueError(f"noise.{key}: name one number or more")
    return list(dict.fromkeys(map(float, values)))
