"""Encoder frames on disk: computed once, so that later epochs skip the encoder.

A cache folder holds one folder for each encoder and its settings (``encoder.json``),
and in it safetensors files, each with the frames of some twenty minutes of audio under
names made of the audio files' identities. A changed audio file or encoder has another
name, so nothing stale is ever read. A thousand hours take about 180 GB for each 512
dimensions, at 50 Hz in float16, and half of that in int8
(:mod:`ssr_plugin.data.frame_rounding`).
"""

import collections
import concurrent.futures
import contextlib
import json
import logging
import pathlib
import time
import uuid
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from ssr_plugin.alignment.cache import parse_shard
from ssr_plugin.data.audio import row_speed
from ssr_plugin.data.frame_rounding import restore_frames, round_frames
from ssr_plugin.data.read_ahead import ReadAhead
from ssr_plugin.files import atomic_path, digest, file_identity
from ssr_plugin.hub import safetensors_header
from ssr_plugin.json_files import check_form, parse_json
from ssr_plugin.nnet.groups import split_groups
from ssr_plugin.nnet.lengths import send_padded
from ssr_plugin.problems import Problems
from ssr_plugin.processes import num_readers

logger = logging.getLogger(__name__)

# Ends the name of what rounded frames are multiplied by.
_SCALE = ".scale"
# Audio in one file, s: what a killed process loses at most.
_FILE_SECONDS = 1200.0
# Audio of one batch, s, by type of device. That of a GPU does not follow its memory: a
# build that was killed goes on with the same batches on any.
_BATCH_SECONDS = {"cpu": 120.0}
_BATCH_SECONDS_ELSEWHERE = 960.0
# Batches that are encoded or written while the next one is prepared.
_UNDER_WAY = 2


class FeatureCache:
    """The frames of many utterances, kept on disk and read when asked for.

    Arguments
    ---------
    folder : path-like
        Made if it is not there; several encoders and data sets may share it.
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    dtype : torch.dtype
        Of the numbers on disk: a floating-point type, or int8.

    Attributes
    ----------
    rates : dict
        Of the last build that encoded something: seconds of audio a second of "reading"
        (all processes together, if nobody held them up), "front_end", "encoder" and
        "writing", each alone, and of the "build" as a whole.

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
        self.rates = {}

    @property
    def _device(self):
        """What encodes."""
        return next(self.encoder.parameters()).device

    def build(
        self,
        rows,
        batch_seconds=None,
        shard="1/1",
        max_skipped_share=0.01,
    ):
        """Encodes what the cache lacks; afterwards the rows' ids can be asked for.

        Processes read the audio ahead, and files are written while the next batches
        are encoded. Killed, it goes on from its last whole file.

        Arguments
        ---------
        rows : dict
            Utterance id -> {"wav": path, "duration": seconds, and "speed" where the
            audio is to be played at another than its own}.
        batch_seconds : float or None
            Audio of one batch, padding included, s; None for 120 on a CPU and 960
            elsewhere. How much of it goes through the encoder at once depends on the
            memory (:class:`ssr_plugin.encoders.encoder.SpeechEncoder`).
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
        if batch_seconds is None:
            kind = self._device.type
            batch_seconds = _BATCH_SECONDS.get(kind, _BATCH_SECONDS_ELSEWHERE)

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
        """Encodes and writes, each beside the other; processes read ahead meanwhile."""
        total = sum(
            float(rows[name]["duration"]) for batch in batches for name in batch
        )
        workers = num_readers(self._device)
        reader = ReadAhead(self.encoder.sample_rate, num_workers=workers)
        files = _FileWriter(self._write)
        begin = time.perf_counter()
        waited = 0.0
        with (
            concurrent.futures.ThreadPoolExecutor(1) as writer,
            contextlib.closing(
                reader({name: rows[name] for name in batch} for batch in batches)
            ) as reading,
            self.encoder.timed() as stopwatch,
            tqdm(
                total=round(total), unit=" s", desc="encoding audio", unit_scale=True
            ) as bar,
        ):
            running = collections.deque()

            def finish():
                seconds, written = running.popleft()
                written.result()
                bar.update(seconds)
                speed = bar.n / max(bar.format_dict["elapsed"], 1e-9)
                bar.set_postfix_str(f"{speed:.0f} x real time", refresh=False)

            for batch in batches:
                asked = time.perf_counter()
                audio = next(reading)
                waited += time.perf_counter() - asked
                for name, error in audio.errors.items():
                    problems.add(name, str(error))
                encoded = self._encode_batch(audio.waveforms)
                seconds = sum(float(rows[name]["duration"]) for name in batch)
                running.append((seconds, writer.submit(files.add, encoded, seconds)))
                while len(running) > _UNDER_WAY:
                    finish()
            while running:
                finish()
            writer.submit(files.finish).result()
            seconds = {"writing": files.busy_seconds, **stopwatch.seconds()}
        seconds["build"] = time.perf_counter() - begin
        self.rates = {"reading": reader.rate} | {
            name: reader.audio_seconds / max(seconds.get(name, 0.0), 1e-9)
            for name in ("front_end", "encoder", "writing", "build")
        }
        logger.info(
            "Encoded %.0f s of audio. Seconds of audio a second: %s. The encoder "
            "waited for audio %.0f %% of the time.",
            reader.audio_seconds,
            ", ".join(f"{name} {rate:.0f}" for name, rate in self.rates.items()),
            100 * waited / seconds["build"],
        )

    @torch.no_grad()
    def _encode_batch(self, wavs):
        """Encodes waveforms by id. A CUDA device may still be at it afterwards."""
        if not wavs:
            return _Encoded([], torch.empty(0), [])
        device = self._device
        on_cuda = device.type == "cuda"
        samples = [len(wav) for wav in wavs.values()]
        batch = send_padded(list(wavs.values()), device)
        features, lengths = self.encoder(batch, torch.tensor(samples))
        stored = features.to(self._read_dtype)
        keys = [self._keys[name] for name in wavs]
        if not on_cuda:
            return _Encoded(keys, stored.cpu(), lengths.tolist())
        frames = torch.empty(stored.shape, dtype=stored.dtype, pin_memory=True)
        frames.copy_(stored, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(device))
        return _Encoded(keys, frames, lengths.tolist(), arrived)

    @property
    def _read_dtype(self):
        """Of frames that are read: whole numbers stand for float16."""
        return torch.float16 if self.dtype == torch.int8 else self.dtype

    def _write(self, frames):
        tensors = dict(frames)
        if self.dtype == torch.int8:
            for key, values in frames.items():
                rounded = map(torch.from_numpy, round_frames(values.numpy()))
                tensors[key], tensors[key + _SCALE] = rounded
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

    def get(self, name, dtype=torch.float32):
        """An utterance's frames.

        Arguments
        ---------
        name : str
            Its id, as in the rows that the cache was built for.
        dtype : torch.dtype or None
            Of the numbers; None for the one they are stored in, or float16 for int8,
            which is half as much to send to a GPU.

        Returns
        -------
        torch.Tensor
            [T, D]

        Raises
        ------
        KeyError
            If the cache was not built for this utterance, or could not be.
        """
        file, _ = self._location(name)
        try:
            if file not in self._open_files:
                self._open_files[file] = safe_open(self.folder / file, "pt")
            opened, key = self._open_files[file], self._keys[name]
            frames = opened.get_tensor(key)
            if self.dtype == torch.int8:
                scale = opened.get_tensor(key + _SCALE).numpy()
                frames = torch.from_numpy(restore_frames(frames.numpy(), scale))
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(
                f"{self.folder / file} is damaged ({error}): delete it and run again, "
                f"and its utterances are encoded anew"
            ) from error
        return frames if dtype is None else frames.to(dtype)

    def __getstate__(self):
        # Workers of a data loader read frames: they open files of their own, and need
        # no encoder.
        return {**self.__dict__, "_open_files": {}, "encoder": None}


class _Encoded(NamedTuple):
    """Frames of a batch, on the host or on their way there."""

    keys: list[str]
    frames: torch.Tensor  # [B, T, D]
    lengths: list[int]
    arrived: torch.cuda.Event | None = None


class _FileWriter:
    """Gathers frames of batches and writes them, a file's worth at a time."""

    def __init__(self, write):
        self._write = write
        self._held = {}
        self._held_seconds = 0.0
        self.busy_seconds = 0.0

    def add(self, encoded, seconds):
        """Takes a batch; writes a file if there is enough for one."""
        if encoded.arrived is not None:
            encoded.arrived.synchronize()
        begin = time.perf_counter()
        for key, frames, length in zip(
            encoded.keys, encoded.frames, encoded.lengths, strict=True
        ):
            # A copy, so that the batch need not be held.
            self._held[key] = frames[:length].clone()
        self._held_seconds += seconds
        self.busy_seconds += time.perf_counter() - begin
        if self._held_seconds >= _FILE_SECONDS:
            self.finish()

    def finish(self):
        """Writes what is held."""
        begin = time.perf_counter()
        if self._held:
            self._write(self._held)
        self._held, self._held_seconds = {}, 0.0
        self.busy_seconds += time.perf_counter() - begin


def _key(row):
    speed = row_speed(row)
    return digest(*file_identity(row["wav"]), *([speed] if speed != 1 else []))


def _frames_of_file(path):
    """Key -> (file name, number of frames), for all that a file of the cache holds."""
    header = safetensors_header(path)
    try:
        entries = parse_json(header, dict)
        entries.pop("__metadata__", None)
        check_form(entries, {str: {"shape": [int], "data_offsets": [int]}})
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        frames = {k: x for k, x in entries.items() if not k.endswith(_SCALE)}
        if any(len(entry["shape"]) != 2 for entry in frames.values()):
            raise ValueError("frames of another shape")
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if path.stat().st_size < 8 + len(header) + end:
        raise ValueError(f"{path} is cut short")
    return {key: (path.name, entry["shape"][0]) for key, entry in frames.items()}
