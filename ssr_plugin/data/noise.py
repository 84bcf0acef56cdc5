"""Noise that is added to speech: babble, speech-shaped and white noise."""

import abc
import itertools
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.signal import welch
from tqdm import tqdm

from ssr_plugin.data.audio import AudioError, read_audio
from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.distortion import Distortion
from ssr_plugin.data.speech_level import rms_level, speech_level
from ssr_plugin.files import digest, file_identity

logger = logging.getLogger(__name__)

# Of the Fourier transforms that the spectrum of speech is averaged over.
_WINDOW = 1024
# So many utterances show what the speech of a data set is like.
_SPECTRUM_UTTERANCES = 100


class Noise(abc.ABC):
    """A source of noise.

    Attributes
    ----------
    kind : str
        As users name it.
    about : str
        What it is made of, for the report.
    """

    kind: str
    about: str

    def settings(self) -> list[Any]:
        """What tells it from another source, JSON-able."""
        return []

    def prepare(self, sample_rate: int) -> None:
        """See :meth:`ssr_plugin.data.distortion.Distortion.prepare`."""
        return None

    @abc.abstractmethod
    def draw(
        self,
        num_samples: int,
        utterance: Utterance,
        sample_rate: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Noise for an utterance, of any level.

        Arguments
        ---------
        num_samples : int
        utterance : ssr_plugin.data.datasets.Utterance
        sample_rate : int
            Hz
        rng : numpy.random.Generator

        Returns
        -------
        numpy.ndarray
            [num_samples]
        """


class AddedNoise(Distortion):
    """Noise at a signal-to-noise ratio.

    The ratio is that of the speech's active level (ITU-T P.56: pauses do not count) to
    the noise's root mean square over the whole recording. The speech stays as loud as
    it was.

    Arguments
    ---------
    noise : Noise
    snr : float
        dB

    Example
    -------
    >>> distortion = AddedNoise(WhiteNoise(), snr=20)
    >>> distortion.name
    'white 20 dB'
    >>> speech, rng = torch.ones(8000), np.random.default_rng(0)
    >>> utterance = Utterance("1", "1.wav", "a")
    >>> noisy = distortion.apply(speech, utterance, 16000, rng)
    >>> round(rms_level(noisy - speech))
    -20
    """

    unit = "dB"

    def __init__(self, noise: Noise, snr: float) -> None:
        self.noise = noise
        self.kind = noise.kind
        self.strength = snr
        self.about = noise.about

    def settings(self) -> list[Any]:
        """See :meth:`Distortion.settings`."""
        return [*super().settings(), self.noise.settings()]

    def prepare(self, sample_rate: int) -> None:
        """See :meth:`Distortion.prepare`."""
        self.noise.prepare(sample_rate)

    def apply(
        self,
        samples: torch.Tensor,
        utterance: Utterance,
        sample_rate: int,
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """See :meth:`Distortion.apply`."""
        wanted = speech_level(samples, sample_rate, utterance.wav) - self.strength
        noise = self.noise.draw(len(samples), utterance, sample_rate, rng)
        level = rms_level(noise)
        if not np.isfinite(level):
            raise AudioError(f"{self.kind} noise for {utterance.wav} is silent")
        gain = 10 ** ((wanted - level) / 20)
        return samples + torch.from_numpy(gain * noise).to(samples.dtype)


class WhiteNoise(Noise):
    """Gaussian noise, as strong at all frequencies.

    Example
    -------
    >>> utterance = Utterance("1", "1.wav", "a")
    >>> WhiteNoise().draw(5, utterance, 16000, np.random.default_rng(0)).shape
    (5,)
    """

    kind = "white"
    about = "Gaussian, as strong at all frequencies"

    def draw(
        self,
        num_samples: int,
        utterance: Utterance,
        sample_rate: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """See :meth:`Noise.draw`."""
        return rng.standard_normal(num_samples)


class SpeechShapedNoise(Noise):
    """Stationary noise with the long-term spectrum of speech.

    Arguments
    ---------
    utterances : list of Utterance
        Whose speech it is; the mean spectrum of up to 100 of them is taken, each as
        loud as the others.
    seed : int
        Which are taken.

    Raises
    ------
    ValueError
        If there are none.
    """

    kind = "speech_shaped"

    def __init__(self, utterances: Iterable[Utterance], seed: int = 0) -> None:
        by_id = sorted(utterances, key=lambda utterance: (utterance.id, utterance.wav))
        if not by_id:
            raise ValueError("speech_shaped: there is no utterance to be like")
        order = np.random.default_rng(seed).permutation(len(by_id))
        self.utterances = [by_id[i] for i in order]
        count = min(len(by_id), _SPECTRUM_UTTERANCES)
        self.about = (
            f"stationary Gaussian, with the mean spectrum of {count} utterances of "
            f"the data"
        )
        self._spectra: dict[int, np.ndarray] = {}

    def settings(self) -> list[Any]:
        """See :meth:`Noise.settings`."""
        # More than are taken: some of them may be silent.
        return [_identity(self.utterances[: 2 * _SPECTRUM_UTTERANCES])]

    def prepare(self, sample_rate: int) -> None:
        """See :meth:`Noise.prepare`: the spectrum.

        Raises
        ------
        ValueError
            If nothing is said in any utterance.
        """
        self.spectrum(sample_rate)

    def spectrum(self, sample_rate: int) -> np.ndarray:
        """The mean power of the speech at frequencies from 0 to half the sampling rate.

        Arguments
        ---------
        sample_rate : int
            Hz

        Returns
        -------
        numpy.ndarray
            [F]
        """
        if sample_rate not in self._spectra:
            said = _speak(self.utterances, sample_rate)
            said = itertools.islice(said, _SPECTRUM_UTTERANCES)
            bar = tqdm(said, "spectrum of speech", unit="utt", delay=1)
            spectra = [
                welch(speech, nperseg=min(_WINDOW, len(speech)), nfft=_WINDOW)[1]
                for speech in bar
            ]
            if not spectra:
                raise ValueError("speech_shaped: nothing is said in any utterance")
            self._spectra[sample_rate] = np.mean(spectra, axis=0)
        return self._spectra[sample_rate]

    def draw(
        self,
        num_samples: int,
        utterance: Utterance,
        sample_rate: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """See :meth:`Noise.draw`."""
        power = self.spectrum(sample_rate)
        white = np.fft.rfft(rng.standard_normal(num_samples))
        places = np.linspace(0, len(power) - 1, len(white))
        gains = np.sqrt(np.interp(places, np.arange(len(power)), power))
        return np.fft.irfft(gains * white, num_samples)


class Babble(Noise):
    """Several talkers at once, none of whom is the speaker of the utterance.

    Each talker reads utterances of one speaker, one after the other, from anywhere in
    the first, and all are as loud. Talkers are of different speakers where there are so
    many.

    Arguments
    ---------
    utterances : list of Utterance
        What they read.
    num_talkers : int

    Raises
    ------
    ValueError
        If there are fewer than two speakers, or no talker.
    """

    kind = "babble"

    def __init__(self, utterances: Iterable[Utterance], num_talkers: int = 6) -> None:
        if not isinstance(num_talkers, int) or num_talkers < 1:
            raise ValueError(f"babble: there must be a talker, not {num_talkers}")
        by_speaker: dict[str, list[Utterance]] = {}
        for one in sorted(utterances, key=lambda x: (x.speaker, x.id, x.wav)):
            by_speaker.setdefault(one.speaker, []).append(one)
        if len(by_speaker) < 2:
            raise ValueError(
                f"babble is made of other speakers' utterances, and all are of one "
                f"speaker ({', '.join(by_speaker) or 'none'}): name splits of more, or "
                f"take speech_shaped"
            )
        self.by_speaker = by_speaker
        self.num_talkers = num_talkers
        self.about = (
            f"{num_talkers} talkers at once, other speakers of the data than the "
            f"utterance's own, all as loud"
        )

    def settings(self) -> list[Any]:
        """See :meth:`Noise.settings`."""
        everyone = itertools.chain.from_iterable(self.by_speaker.values())
        return [self.num_talkers, _identity(everyone)]

    def draw(
        self,
        num_samples: int,
        utterance: Utterance,
        sample_rate: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """See :meth:`Noise.draw`."""
        others = [name for name in self.by_speaker if name != utterance.speaker]
        order = itertools.cycle(rng.permutation(len(others)))
        babble = np.zeros(num_samples)
        for index in itertools.islice(order, self.num_talkers):
            babble += self._talk(others[index], num_samples, sample_rate, rng)
        return babble

    def _talk(
        self,
        speaker: str,
        num_samples: int,
        sample_rate: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """What one talker says, as long as it is wanted."""
        own = self.by_speaker[speaker]
        order = [own[i] for i in rng.permutation(len(own))]
        place = rng.random()
        said = np.zeros(0)
        while len(said) < num_samples:
            before = len(said)
            for speech in _speak(order, sample_rate):
                if not len(said):
                    start = int(place * len(speech))
                    # What is left out comes last.
                    said = speech[start:]
                else:
                    said = np.concatenate([said, speech])
                if len(said) >= num_samples:
                    break
            if len(said) == before:
                raise AudioError(f"babble: speaker {speaker} says nothing")
        return said[:num_samples]


def _speak(utterances: Iterable[Utterance], sample_rate: int) -> Iterator[np.ndarray]:
    """The speech of utterances, each at 0 dB; those in which there is none are left."""
    for utterance in utterances:
        try:
            samples = read_audio(utterance.wav, sample_rate).numpy()
            level = speech_level(samples, sample_rate, utterance.wav)
        except AudioError as error:
            logger.warning("Noise is made without %s: %s", utterance.id, error)
            continue
        yield samples * 10 ** (-level / 20)


def _identity(utterances: Iterable[Utterance]) -> str:
    """A name for some utterances: another one where any of them has changed."""
    rows = []
    for utterance in utterances:
        try:
            file = file_identity(utterance.wav)
        except FileNotFoundError:
            file = None
        rows.append([utterance.id, utterance.speaker, file])
    name: str = digest(rows)
    return name
