"""Training speech in noise, too: multi-condition training (Hirsch and Pearce 2000).

Copies of utterances are written to disk as audio files, each with noise of a kind and a
level that are drawn for it. All that follows (encoder, recogniser, caches) takes them
for recordings like others, and a user can listen to them.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import soundfile
import torch
from tqdm import tqdm

from ssr_plugin.alignment.cache import parse_shard
from ssr_plugin.alignment.record import Alignment
from ssr_plugin.data.audio import AudioError, read_audio
from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.read_ahead import ReadAhead
from ssr_plugin.files import atomic_path, digest, file_identity
from ssr_plugin.problems import Problems
from ssr_plugin.processes import usable_cores
from ssr_plugin.training.copy_noise import CopyNoise
from ssr_plugin.training.speed_perturbation import AtSpeeds

Rows = dict[str, dict[str, Any]]
# Raised when the same settings give other copies than before.
_FORMAT = 1


class NoisyCopies:
    """Copies of a manifest's utterances in noise.

    Arguments
    ---------
    settings : dict
        Of :class:`ssr_plugin.training.copy_noise.CopyNoise`; talkers of babble are
        those of the manifest.
    rows : dict
        Manifest rows by id.
    folder : path-like
        Where the copies are kept.
    sample_rate : int
        Of the copies, Hz.
    seed : int
        Of all that is drawn.

    Attributes
    ----------
    originals : dict
        Of each copy's id, that of its utterance.

    Raises
    ------
    ValueError
        If a setting is unknown, or noise cannot be made of the utterances.

    Example
    -------
    >>> import numpy as np
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", np.sin(np.arange(8000.0)), 16000)
    >>> rows = {"a": {"wav": str(folder / "a.wav"), "duration": 0.5, "wrd": "hi",
    ...               "spk_id": "1"}}
    >>> settings = {"copies": 2, "kinds": ["white"], "snr": [20, 0]}
    >>> noisy = NoisyCopies(settings, rows, folder, 16000, seed=1)
    >>> noisy.originals
    {'noisy1-a': 'a', 'noisy2-a': 'a'}
    >>> copies, problems = noisy.make()
    >>> copies["noisy1-a"]["duration"], pathlib.Path(copies["noisy2-a"]["wav"]).suffix
    (0.5, '.flac')
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        rows: Mapping[str, Mapping[str, Any]],
        folder: str | pathlib.Path,
        sample_rate: int,
        seed: int,
    ) -> None:
        self.rows = rows
        self.sample_rate = sample_rate
        self.utterances = {
            name: Utterance(name, row["wav"], row["wrd"], row["spk_id"])
            for name, row in rows.items()
        }
        self.noise = CopyNoise(settings, [*self.utterances.values()], seed)
        self._copies = {
            CopyNoise.name(copy, name): (copy, name)
            for copy in range(1, self.noise.copies + 1)
            for name in rows
        }
        self.originals = {copy: name for copy, (_, name) in self._copies.items()}
        identity = self.noise.identity()
        self.folder = pathlib.Path(folder) / digest(_FORMAT, sample_rate, identity)

    def make(
        self, shard: str = "1/1", max_skipped_share: float = 0.01
    ) -> tuple[Rows, Problems]:
        """Writes those copies that are not there yet.

        Arguments
        ---------
        shard : str
            "k/n": the k-th of n parts is made, and the others' rows are left out.
        max_skipped_share : float
            More bad utterances stop the run.

        Returns
        -------
        rows : dict
            Of the copies, by id: the utterance's, with the copy's file.
        problems : ssr_plugin.problems.Problems
            The utterances of which there is no copy.
        """
        part, parts = parse_shard(shard)
        problems = Problems("adding noise", max_skipped_share)
        files: dict[str, pathlib.Path] = {}
        for copy_name in [*self.originals][part - 1 :: parts]:
            wav = self.utterances[self.originals[copy_name]].wav
            try:
                name = digest(copy_name, *file_identity(wav))
            except FileNotFoundError:
                problems.add(copy_name, f"there is no audio file {wav}")
                continue
            files[copy_name] = self.folder / f"{name}.flac"
        missing = [name for name, path in files.items() if not path.exists()]
        if missing:
            self.noise.prepare(self.sample_rate)
        for name, result in self._hear(missing):
            if isinstance(result, AudioError):
                problems.add(name, str(result))
            else:
                _write(files[name], result, self.sample_rate)
        problems.check(len(files))
        rows = {
            name: {**self.rows[self.originals[name]], "wav": str(path)}
            for name, path in files.items()
            if name not in problems.reasons
        }
        return rows, problems

    def _hear(
        self, names: list[str]
    ) -> Iterator[tuple[str, torch.Tensor | AudioError]]:
        """Each copy, or why there is none; processes make them."""
        reader: ReadAhead[str] = ReadAhead(
            self.sample_rate,
            read=self._read,
            seconds=lambda name: float(self.rows[self.originals[name]]["duration"]),
            num_workers=usable_cores(),
        )
        bar = tqdm(names, "adding noise", unit="utt", disable=not names)
        with contextlib.closing(reader.each(names)) as heard:
            yield from zip(bar, heard, strict=True)

    def _read(self, copy_name: str, sample_rate: int) -> torch.Tensor:
        copy, name = self._copies[copy_name]
        utterance = self.utterances[name]
        samples: torch.Tensor = read_audio(utterance.wav, sample_rate)
        return self.noise.hear(copy, utterance, samples, sample_rate)

    def alias(self, alignments: Mapping[str, Alignment]) -> AtSpeeds:
        """Alignments of the copies: in them nothing moves.

        Arguments
        ---------
        alignments : collections.abc.Mapping
            ssr_plugin.alignment.record.Alignment of the utterances, by id.

        Returns
        -------
        ssr_plugin.training.speed_perturbation.AtSpeeds
            By a copy's id.
        """
        originals = {
            copy: (name, 1)
            for copy, name in self.originals.items()
            if name in alignments
        }
        return AtSpeeds(alignments, originals)


def _write(path: pathlib.Path, samples: torch.Tensor, sample_rate: int) -> None:
    """A copy as a file."""
    with atomic_path(path) as partial, open(partial, "wb") as file:
        soundfile.write(file, samples.numpy(), sample_rate, format="FLAC")
