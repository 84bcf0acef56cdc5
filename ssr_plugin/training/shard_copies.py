"""Copies of the utterances in shards, made as they are read: at speeds, and in noise.

They are those that a folder's data has (:mod:`ssr_plugin.training.speed_perturbation`,
:mod:`ssr_plugin.training.noisy_copies`), in the same order and under the same ids, so
that a folder and its shards give the same batches. Nothing of them is kept: each is the
same whenever it is read.
"""

import dataclasses

import numpy as np
import torch

from ssr_plugin.data.audio import read_audio
from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.resampling import resample
from ssr_plugin.training.copy_noise import CopyNoise
from ssr_plugin.training.speed_perturbation import check_speeds, name_at_speed


@dataclasses.dataclass(frozen=True)
class ShardCopies:
    """Which copies there are of each utterance; copies count from 0.

    Arguments
    ---------
    speeds : tuple of float
        Above 1 is faster; 1 is the speech as it is.
    noise : ssr_plugin.training.copy_noise.CopyNoise or None
        Copies are heard in it, beside the speech as it is.

    Raises
    ------
    ValueError
        If a speed is not above 0, or occurs twice.

    Example
    -------
    >>> copies = ShardCopies((1.0, 0.5))
    >>> [copies.name(copy, "a") for copy in range(len(copies))]
    ['a', 'sp0.5-a']
    >>> durations = copies.durations(np.array([3.0, 2.0]))
    >>> durations[:].tolist(), durations[np.array([2, 0])].tolist()
    ([3.0, 2.0, 6.0, 4.0], [6.0, 3.0])
    """

    speeds: tuple = (1.0,)
    noise: CopyNoise | None = None

    def __post_init__(self):
        check_speeds(self.speeds)

    @property
    def _at_each_speed(self):
        return 1 + (0 if self.noise is None else self.noise.copies)

    def __len__(self):
        return len(self.speeds) * self._at_each_speed

    @property
    def is_plain(self):
        """Whether there is the speech as it is, and nothing else."""
        return len(self) == 1 and self.speed(0) == 1

    @property
    def seconds(self):
        """What all copies together last, for a second of the speech as it is."""
        return self._at_each_speed * sum(1 / speed for speed in self.speeds)

    def speed(self, copy):
        """The speed of a copy."""
        return self.speeds[copy // self._at_each_speed]

    def is_clean(self, copy):
        """Whether a copy is heard in no noise."""
        return copy % self._at_each_speed == 0

    def name(self, copy, name):
        """The id of a copy of the utterance of that id."""
        number = copy % self._at_each_speed
        heard = self.noise.name(number, name) if number else name
        return name_at_speed(heard, self.speed(copy))

    def alike(self):
        """Copies that are cut alike: those at one speed, for each speed."""
        count = self._at_each_speed
        return [range(first, first + count) for first in range(0, len(self), count)]

    def durations(self, durations):
        """Those of all copies, s: of each utterance's first copy, then of its second.

        Arguments
        ---------
        durations : numpy.ndarray
            [N] s, of the utterances.

        Returns
        -------
        numpy.ndarray or CopiedDurations
            [C * N] s
        """
        if self.is_plain:
            return durations
        speeds = [self.speed(copy) for copy in range(len(self))]
        return CopiedDurations(durations, np.array(speeds, dtype=float))

    def read(self, copy, content, record, sample_rate, name):
        """The audio of a copy.

        Arguments
        ---------
        copy : int
        content : bytes
            The audio file of the utterance.
        record : dict
            Of the utterance.
        sample_rate : int
            Wanted, Hz.
        name : str
            What messages call the audio.

        Returns
        -------
        torch.Tensor
            [S]

        Raises
        ------
        ssr_plugin.data.audio.AudioError
            If it cannot be read, or no noise can be added to it.
        """
        speed = self.speed(copy)
        if self.is_clean(copy):
            return read_audio(content, sample_rate, speed=speed, name=name)
        samples = read_audio(content, sample_rate, name=name)
        utterance = Utterance(record["id"], name, record["text"], record["speaker"])
        number = copy % self._at_each_speed
        noisy = self.noise.hear(number, utterance, samples, sample_rate)
        played = resample(noisy.numpy(), round(sample_rate * speed), sample_rate)
        return torch.from_numpy(played)


class CopiedDurations:
    """Durations of copies of utterances, each computed when it is asked for.

    Arguments
    ---------
    durations : numpy.ndarray
        [N] s, of the utterances.
    speeds : numpy.ndarray
        [C], of the copies.
    """

    def __init__(self, durations, speeds):
        self._durations = durations
        self._speeds = speeds

    def __len__(self):
        return len(self._durations) * len(self._speeds)

    def __getitem__(self, rows):
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        copies, originals = np.divmod(rows, len(self._durations))
        return self._durations[originals] / self._speeds[copies]
