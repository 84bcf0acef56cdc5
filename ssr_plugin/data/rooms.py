"""Reverberation of simulated rooms (pyroomacoustics, extra ``rooms``)."""

from typing import Any

import numpy as np
import torch
from torchaudio.functional import fftconvolve
from tqdm import tqdm

from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.distortion import Distortion
from ssr_plugin.data.speech_level import speech_level

#: Rooms that utterances are said in.
NUM_ROOMS = 8
# Smallest and largest length, width and height of a room, m.
_SMALLEST, _LARGEST = (4.0, 3.0, 2.5), (8.0, 6.0, 3.5)
# Talker and microphone: height, distance to walls and to each other, m.
_LOWEST, _HIGHEST = 1.0, 1.8
_FROM_WALLS = 0.5
_NEAR, _FAR = 1.0, 3.0
# The decay is measured from 5 to 35 dB below the start (T30 of ISO 3382).
_DECAY = 30
# How near to what is asked for it must come, and how often walls are changed for that.
_TOLERANCE, _TRIALS = 0.05, 5


class Reverberation(Distortion):
    """Rooms with a reverberation time, one of them for each utterance.

    Rooms are boxes whose walls all absorb alike, simulated by image sources (Allen and
    Berkley, 1979). Sizes and places of talker and microphone are the same at all
    reverberation times. Speech stays as loud as it was, and what comes straight from
    the talker stays where it was in time.

    Arguments
    ---------
    seconds : float
        Reverberation time: in which sound falls by 60 dB, going by how it falls from 5
        to 35 dB below its start (T30 of ISO 3382).
    seed : int
        Of the rooms.
    num_rooms : int

    Raises
    ------
    ValueError
        If the time is not above 0.
    ImportError
        If pyroomacoustics is not installed.
    """

    kind = "reverberation"
    unit = "s"

    def __init__(
        self, seconds: float, seed: int = 0, num_rooms: int = NUM_ROOMS
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"reverberation: {seconds} s is no reverberation time")
        try:
            import pyroomacoustics  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "reverberation needs pyroomacoustics: pip install ssr-plugin[rooms]"
            ) from error
        self.strength = seconds
        self.seed = seed
        self.num_rooms = num_rooms
        self.about = (
            f"{num_rooms} simulated rooms (boxes, image sources); the time in which "
            f"sound falls by 60 dB"
        )
        self._responses: dict[int, list[torch.Tensor]] = {}

    def settings(self) -> list[Any]:
        """See :meth:`Distortion.settings`."""
        return [*super().settings(), self.seed, self.num_rooms]

    def prepare(self, sample_rate: int) -> None:
        """See :meth:`Distortion.prepare`: the rooms' impulse responses.

        Raises
        ------
        ValueError
            If no walls give a room of such a size so short a time.
        """
        self.responses(sample_rate)

    def responses(self, sample_rate: int) -> list[torch.Tensor]:
        """The impulse response of each room.

        Arguments
        ---------
        sample_rate : int
            Hz

        Returns
        -------
        list of torch.Tensor
            [R] float32
        """
        if sample_rate not in self._responses:
            seeds = np.random.SeedSequence(self.seed).spawn(self.num_rooms)
            bar = tqdm(seeds, f"rooms of {self.strength:g} s", unit="room", delay=1)
            self._responses[sample_rate] = [
                simulate_room(self.strength, sample_rate, np.random.default_rng(seed))
                for seed in bar
            ]
        return self._responses[sample_rate]

    def apply(
        self,
        samples: torch.Tensor,
        utterance: Utterance,
        sample_rate: int,
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """See :meth:`Distortion.apply`."""
        level = speech_level(samples, sample_rate, utterance.wav)
        response = self.responses(sample_rate)[rng.integers(self.num_rooms)]
        # The direct sound is the loudest: it has the shortest way, and met no wall.
        delay = int(response.abs().argmax())
        heard: torch.Tensor = fftconvolve(samples, response)
        heard = heard[delay : delay + len(samples)]
        change = level - speech_level(heard, sample_rate, utterance.wav)
        return heard * float(10 ** (change / 20))


def simulate_room(
    seconds: float, sample_rate: int, rng: np.random.Generator
) -> torch.Tensor:
    """The impulse response of a room that is drawn at random.

    Arguments
    ---------
    seconds : float
        Its reverberation time.
    sample_rate : int
        Hz
    rng : numpy.random.Generator
        Draws its size, and where talker and microphone are.

    Returns
    -------
    torch.Tensor
        [R] float32

    Raises
    ------
    ValueError
        If no walls give such a room so short a time.
    """
    from pyroomacoustics import inverse_sabine
    from pyroomacoustics.experimental import measure_rt60

    size = rng.uniform(_SMALLEST, _LARGEST)
    places = _draw_places(size, rng)
    try:
        absorption, order = inverse_sabine(seconds, size)
    except ValueError as error:
        raise ValueError(
            f"reverberation: no walls give a room of "
            f"{' x '.join(f'{x:.1f}' for x in size)} m only {seconds} s: name a "
            f"longer time"
        ) from error
    # Sabine's formula is for sound that is everywhere alike; boxes ring up to a fourth
    # longer.
    for _ in range(_TRIALS):
        response = _respond(size, places, absorption, order, sample_rate)
        measured = measure_rt60(response, fs=sample_rate, decay_db=_DECAY)
        if abs(measured / seconds - 1) < _TOLERANCE:
            break
        absorption = min(absorption * measured / seconds, 1.0)
    return torch.from_numpy(response).float()


def _draw_places(size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where talker and microphone are, [2, 3] in m."""
    low = np.array([_FROM_WALLS, _FROM_WALLS, _LOWEST])
    high = np.array([*(size[:2] - _FROM_WALLS), _HIGHEST])
    while True:
        places = rng.uniform(low, high, (2, 3))
        if _NEAR <= np.linalg.norm(places[0] - places[1]) <= _FAR:
            return places


def _respond(
    size: np.ndarray,
    places: np.ndarray,
    absorption: float,
    order: int,
    sample_rate: int,
) -> np.ndarray:
    """A room's impulse response, [R]."""
    from pyroomacoustics import Material, ShoeBox

    walls = Material(float(absorption))
    room = ShoeBox(size, fs=sample_rate, materials=walls, max_order=order)
    room.add_source(places[0])
    room.add_microphone(places[1])
    room.compute_rir()
    response: np.ndarray = room.rir[0][0]
    return response
