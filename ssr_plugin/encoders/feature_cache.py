"""Encoder frames on disk: computed once, so that later epochs skip the encoder.

A cache folder holds one folder for each encoder and its settings (``encoder.json``),
and in it safetensors files, each with the frames of some twenty minutes of audio under
names made of the audio files' identities. A changed audio file or encoder has another
name, so nothing stale is ever read. A thousand hours take about 180 GB for each 512
dimensions, at 50 Hz in float16.
"""

import concurrent.futures
import json
import logging
import pathlib
import uuid

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from ssr_plugin.alignment.cache import parse_shard
from ssr_plugin.data.audio import AudioError, read_row, row_speed
from ssr_plugin.files import atomic_path, digest, file_identity
from ssr_plugin.hub import safetensors_header
from ssr_plugin.nnet.groups import split_groups
from ssr_plugin.problems import Problems

logger = logging.getLogger(__name__)

# Audio in one file, s: what a killed process loses at most.
_FILE_SECONDS = 1200.0


class FeatureCache:
    """The frames of many utterances, kept on disk and read when asked for.

    Arguments
    ---------
    folder : path-like
        Made if it is not there; several encoders and data sets may share it.
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    dtype : torch.dtype
        Of the numbers on disk.

    Example
    -------
    >>> from ssr_plugin.encoders.encoder import SpeechEncoder
    >>> import soundfile
    >>> tmp = getfixture("tmp_path")
    >>> soundfile.write(tmp / "a.wav", torch.randn(16000) / 10, 16000)
    >>> encoder = SpeechEncoder(getfixture("tiny_encoder_folder"))
    >>> cache = FeatureCache(tmp / "features", encoder)
    >>> len(cache.build({"a": {"wav": str(tmp / "a.wav"), "duration": 1.0}}))
    0
    >>> "a" in cache, cache.num_frames("a"), cache.get("a").shape
    (True, 49, torch.Size([49, 32]))
    """

    def __init__(self, folder, encoder, dtype=torch.float16):
        self.encoder = encoder
        self.dtype = dtype
        identity = {**encoder.identity(), "stored": str(dtype).removeprefix("torch.")}
        self.folder = pathlib.Path(folder) / digest(identity)
        note = self.folder / "encoder.json"
        if not note.exists():
            with atomic_path(note) as path:
                path.write_text(
                    json.dumps({"source": encoder.source, **identity}, indent=1)
                )
        self._keys = {}
        self._locations = {}
        self._indexed = set()
        self._open_files = {}

    def build(
        self,
        rows,
        batch_seconds=120.0,
        shard="1/1",
        max_skipped_share=0.01,
    ):
        """Encodes what the cache lacks; afterwards the rows' ids can be asked for.

        Killed, it goes on from its last whole file.

        Arguments
        ---------
        rows : dict
            Utterance id -> {"wav": path, "duration": seconds, and "speed" where the
            audio is to be played at another than its own}.
        batch_seconds : float
            Audio of one batch, padding included, s. More is faster on a GPU.
        shard : str
            "k/n": only the k-th of n shards (k from 1), so that n processes or machines
            share the work. A last call without it makes all shards known.
        max_skipped_share : float
            Share of the utterances whose audio may be unreadable.

        Returns
        -------
        Problems
            The utterances without features, each with its reason.

        Raises
        ------
        TooManyProblems
            If they are more than ``max_skipped_share``; what was encoded is kept.
        """
        shard_index, num_shards = parse_shard(shard)
        problems = Problems("encoding audio", max_skipped_share)
        keys = {}
        for name, row in rows.items():
            try:
                keys[name] = _key(row)
            except OSError as error:
                problems.add(name, f"cannot read {row['wav']}: {error}")
        mine = {
            k: v for k, v in keys.items() if int(v, 16) % num_shards == shard_index - 1
        }
        self._keys |= keys
        self._index()

        def seconds(name):
            return float(rows[name]["duration"])

        # The longest first: what does not fit the memory fails at once.
        order = sorted(mine, key=lambda name: (-seconds(name), name))
        missing = {
            mine[name]: name for name in order if mine[name] not in self._locations
        }
        waiting = set(missing.values())
        # Batched before what is there is left out: a run that was killed then goes on
        # with the batches, and so to the last bit the frames, of an unbroken one.
        batches = [
            [name for name in batch if name in waiting]
            for batch in split_groups(order, seconds, batch_seconds, padded=True)
        ]
        if waiting:
            self._encode(rows, [batch for batch in batches if batch], problems)
            self._index()
        for name, key in mine.items():
            if key not in self._locations and name not in problems.reasons:
                # Another utterance of the same file has the reason.
                problems.add(name, problems.reasons[missing[key]])
        problems.check(len(mine) + len(rows) - len(keys))
        return problems

    def _encode(self, rows, batches, problems):
        """Encodes and writes; a thread reads the next batch meanwhile."""
        total = sum(
            float(rows[name]["duration"]) for batch in batches for name in batch
        )
        done, held, held_seconds = 0.0, {}, 0.0
        with (
            concurrent.futures.ThreadPoolExecutor(1) as reader,
            tqdm(
                total=round(total), unit=" s", desc="encoding audio", unit_scale=True
            ) as bar,
        ):
            upcoming = reader.submit(self._read, rows, batches[0])
            for number in range(len(batches)):
                wavs, reasons = upcoming.result()
                if number + 1 < len(batches):
                    upcoming = reader.submit(self._read, rows, batches[number + 1])
                for name, reason in reasons.items():
                    problems.add(name, reason)
                held |= self._encode_batch(wavs)
                seconds = sum(float(rows[name]["duration"]) for name in batches[number])
                done += seconds
                held_seconds += seconds
                if held_seconds >= _FILE_SECONDS or number + 1 == len(batches):
                    self._write(held)
                    held, held_seconds = {}, 0.0
                elapsed = max(bar.format_dict["elapsed"], 1e-9)
                bar.set_postfix_str(f"{done / elapsed:.0f} x real time", refresh=False)
                bar.update(seconds)

    def _read(self, rows, names):
        wavs, reasons = {}, {}
        for name in names:
            try:
                wavs[name] = read_row(rows[name], self.encoder.sample_rate)
            except AudioError as error:
                reasons[name] = str(error)
        return wavs, reasons

    @torch.no_grad()
    def _encode_batch(self, wavs):
        if not wavs:
            return {}
        device = next(self.encoder.parameters()).device
        features, lengths = self.encoder(
            pad_sequence(list(wavs.values()), batch_first=True).to(device),
            torch.tensor([len(wav) for wav in wavs.values()]),
        )
        stored = features.to("cpu", self.dtype)
        return {
            self._keys[name]: frames[:length].clone()
            for name, frames, length in zip(wavs, stored, lengths.tolist(), strict=True)
        }

    def _write(self, tensors):
        if not tensors:
            return
        name = f"features-{uuid.uuid4().hex}.safetensors"
        with atomic_path(self.folder / name) as path:
            save_file(tensors, path)

    def _index(self):
        """Notes what the files written since the last time hold."""
        for path in sorted(self.folder.glob("features-*.safetensors")):
            if path.name in self._indexed:
                continue
            self._indexed.add(path.name)
            try:
                self._locations |= _frames_of_file(path)
            except ValueError as error:
                logger.warning("%s; its utterances are encoded anew", error)

    def __contains__(self, name):
        return self._keys.get(name) in self._locations

    def _location(self, name):
        if name not in self:
            raise KeyError(
                f"the cache {self.folder} has no features of '{name}': build it for "
                f"this utterance first"
            )
        return self._locations[self._keys[name]]

    def num_frames(self, name):
        """Number of frames of an utterance, without reading them."""
        return self._location(name)[1]

    def get(self, name):
        """An utterance's frames.

        Arguments
        ---------
        name : str
            Its id, as in the rows that the cache was built for.

        Returns
        -------
        torch.Tensor
            [T, D] float32

        Raises
        ------
        KeyError
            If the cache was not built for this utterance, or could not be.
        """
        file, _ = self._location(name)
        try:
            if file not in self._open_files:
                self._open_files[file] = safe_open(self.folder / file, "pt")
            return self._open_files[file].get_tensor(self._keys[name]).float()
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{self.folder / file} is damaged ({error}): delete it and run again, "
                f"and its utterances are encoded anew"
            ) from error

    def __getstate__(self):
        # Workers of a data loader read frames: they open files of their own, and need
        # no encoder.
        return {**self.__dict__, "_open_files": {}, "encoder": None}


def _key(row):
    speed = row_speed(row)
    return digest(*file_identity(row["wav"]), *([speed] if speed != 1 else []))


def _frames_of_file(path):
    """Key -> (file name, number of frames), for all that a file of the cache holds."""
    header = safetensors_header(path)
    entries = json.loads(header)
    entries.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if path.stat().st_size < 8 + len(header) + end:
        raise ValueError(f"{path} is cut short")
    return {key: (path.name, entry["shape"][0]) for key, entry in entries.items()}
