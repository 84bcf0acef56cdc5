"""A corpus as shards: utterances side by side in tar files, which are read in sequence.

The tar files are WebDataset's (``benchmarks/shards.py`` says why): what belongs to an
utterance stands side by side, under one key. Any program that reads WebDataset reads
them. Beside each lies an index, by which a run finds any utterance without reading
those before it, and so goes on from the middle of an epoch at once::

    corpus/
        shards.json             the list of all shards, with sizes and digests
        skipped.jsonl           utterances that were left out, each with its reason
        train/
            durations.npy       s, of all utterances, in their order
            000000.tar          0000000.json  transcript, speaker, words with times;
                                              what a recogniser hears, if it is kept
                                0000000.flac  audio, as the data set has it
                                0000000.npy   frames [T, D], where they are kept; of
                                              8 bits, and then the scale [D]
            000000.index.npy    where in the tar file all that is
            000000.json         what the shard was made of

``shards.json`` is written last: without it nothing is read.
"""

import dataclasses
import io
import json
import os
import pathlib
import tarfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ssr_plugin.data.frame_rounding import restore_frames
from ssr_plugin.data.samples import StoredAudio
from ssr_plugin.files import atomic_path, digest
from ssr_plugin.json_files import JSONError, check_form, parse_json
from ssr_plugin.problems import did_you_mean

LIST_FILE = "shards.json"
SKIPPED_FILE = "skipped.jsonl"
DURATIONS_FILE = "durations.npy"
#: To be raised by 1 when shards are no longer read as before.
FORMAT = 1

#: One utterance in the index of a shard: where its parts are, in bytes. A part that is
#: not there has a size of 0.
INDEX = np.dtype(
    [
        ("duration", "<f8"),
        ("record", "<u8"),
        ("record_size", "<u4"),
        ("frames", "<u8"),
        ("frames_size", "<u4"),
        ("num_frames", "<u4"),
        ("audio", "<u8"),
        ("audio_size", "<u4"),
    ]
)
# Files that a process holds open.
_OPEN_FILES = 128
# More than any corpus has.
_MOST_UTTERANCES = 1 << 40
# What is written as JSON.
_SPLIT = {"seconds": int | float, "skipped": int, "shards": [list]}
_LIST = {"made_of": dict, "splits": {str: _SPLIT}}
_RECORD = {"id": str, "text": str, "alignment": dict, "hypothesis?": dict}
_SKIPPED = {"split": str, "id": str, "reason": str}


class ShardError(ValueError):
    """Shards that cannot be read; the message names them and says what to do."""


@dataclasses.dataclass(frozen=True)
class ShardSample:
    """What a shard holds of one utterance.

    Arguments
    ---------
    id, text, speaker : str
    duration : float
        s
    sample_rate : int
        Of the audio, Hz.
    alignment : dict
        Of ``Alignment.to_json``.
    audio : bytes or None
        An audio file.
    suffix : str
        Its type: ".flac", ...
    frames : numpy.ndarray or None
        [T, D] of an encoder.
    scale : numpy.ndarray or None
        [D], where those are in 8 bits:
        :func:`ssr_plugin.data.frame_rounding.round_frames`.
    hypothesis : dict or None
        Of ``Alignment.to_json``: what a recogniser hears.
    """

    id: str
    text: str
    speaker: str
    duration: float
    sample_rate: int
    alignment: dict[str, Any]
    audio: bytes | None = None
    suffix: str = ""
    frames: npt.NDArray[Any] | None = None
    scale: npt.NDArray[np.float16] | None = None
    hypothesis: dict[str, Any] | None = None


def is_shard_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is a corpus of shards, finished or not.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> is_shard_folder(folder)
    False
    >>> _ = (folder / "shards.json").write_text("{}")
    >>> is_shard_folder(folder)
    True
    """
    return (pathlib.Path(folder) / LIST_FILE).is_file()


def shard_name(number: int) -> str:
    """The name of a shard's files, without their endings."""
    return f"{number:06d}"


def write_shard(
    folder: str | os.PathLike[str],
    name: str,
    samples: Iterable[ShardSample],
    made_of: dict[str, Any],
) -> dict[str, Any]:
    """Writes a shard, whole or not at all.

    Arguments
    ---------
    folder : path-like
        Of the split.
    name : str
    samples : iterable of ShardSample
    made_of : dict
        JSON-able; kept beside the shard.

    Returns
    -------
    dict
        Its entry in the list: ``name``, ``utterances``, ``seconds``, ``bytes`` and
        ``ids``, a digest of its utterances.

    Example
    -------
    >>> sample = ShardSample("a", "hi", "anna", 1.0, 16000, {}, b"...", ".flac")
    >>> entry = write_shard(getfixture("tmp_path"), "000000", [sample], {})
    >>> entry["utterances"], entry["seconds"]
    (1, 1.0)
    """
    folder = pathlib.Path(folder)
    rows, ids = [], []
    with (
        atomic_path(folder / f"{name}.tar") as partial,
        tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for number, sample in enumerate(samples):
            rows.append(_write_sample(tar, f"{number:07d}", sample))
            ids.append(sample.id)
        tar.close()
        size = partial.stat().st_size
    index = np.array(rows, dtype=INDEX)
    with (
        atomic_path(folder / f"{name}.index.npy") as partial,
        open(partial, "wb") as file,
    ):
        np.save(file, index)
    entry = {
        "name": name,
        "utterances": len(rows),
        "seconds": float(index["duration"].sum()),
        "bytes": size,
        "ids": digest(ids),
    }
    # Last: with it the shard is there.
    with atomic_path(folder / f"{name}.json") as partial:
        partial.write_text(json.dumps({**entry, **made_of}), encoding="utf-8")
    return entry


def _write_sample(
    tar: tarfile.TarFile, key: str, sample: ShardSample
) -> tuple[float | int, ...]:
    """Adds what belongs to an utterance; returns its row of the index."""
    record = {
        "id": sample.id,
        "text": sample.text,
        "speaker": sample.speaker,
        "duration": sample.duration,
        "sample_rate": sample.sample_rate,
        "alignment": sample.alignment,
    }
    if sample.hypothesis is not None:
        record["hypothesis"] = sample.hypothesis
    if sample.audio is not None:
        record["audio"] = sample.suffix
    text = json.dumps(record, ensure_ascii=False).encode()
    record_at = _add(tar, f"{key}.json", text)
    frames = audio = (0, 0)
    num_frames = 0
    if sample.frames is not None:
        num_frames = len(sample.frames)
        buffer = io.BytesIO()
        np.save(buffer, sample.frames)
        if sample.scale is not None:
            np.save(buffer, sample.scale)
        frames = _add(tar, f"{key}.npy", buffer.getvalue())
    if sample.audio is not None:
        audio = _add(tar, f"{key}{sample.suffix}", sample.audio)
    return (sample.duration, *record_at, *frames, num_frames, *audio)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> tuple[int, int]:
    """Adds a file to a tar; returns where its bytes are, and how many."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
    # The content is padded to whole blocks.
    blocks = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return tar.offset - blocks, len(content)


def shard_entry(folder: pathlib.Path, name: str) -> dict[str, Any] | None:
    """What was noted beside a shard; None if it is not there or cut short.

    Arguments
    ---------
    folder : pathlib.Path
        Of the split.
    name : str

    Returns
    -------
    dict or None
        Of :func:`write_shard`, with what it was made of.
    """
    try:
        entry = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        whole = (folder / f"{name}.tar").stat().st_size == entry["bytes"]
        whole = whole and (folder / f"{name}.index.npy").is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if whole else None


def remove_others(folder: pathlib.Path, names: Iterable[str]) -> None:
    """Deletes the shards of a split that are not among these, and what is half written.

    Arguments
    ---------
    folder : pathlib.Path
        Of the split.
    names : iterable of str
    """
    kept = set(names)
    for path in [*folder.glob("[0-9]*"), *folder.glob(".*.partial")]:
        if path.name.partition(".")[0] not in kept:
            path.unlink()


def write_list(
    folder: str | os.PathLike[str],
    splits: dict[str, list[dict[str, Any]]],
    skipped: dict[str, int],
    made_of: dict[str, Any],
) -> None:
    """Writes the list of all shards: from now on the corpus can be read.

    Arguments
    ---------
    folder : path-like
        Of the corpus.
    splits : dict
        Name -> entries of its shards, as :func:`write_shard` gives them.
    skipped : dict
        Name -> how many utterances were left out.
    made_of : dict
        JSON-able.
    """
    folder = pathlib.Path(folder)
    listed = {}
    for split, entries in splits.items():
        entries = [entry for entry in entries if entry["utterances"]]
        total = sum(entry["utterances"] for entry in entries)
        with atomic_path(folder / split / DURATIONS_FILE) as partial:
            _write_durations(partial, folder / split, entries, total)
        listed[split] = {
            "utterances": total,
            "seconds": sum(entry["seconds"] for entry in entries),
            "skipped": skipped.get(split, 0),
            "shards": [
                [entry[key] for key in ("name", "utterances", "bytes", "ids")]
                for entry in entries
            ],
        }
    content = {"format": FORMAT, "made_of": made_of, "splits": listed}
    with atomic_path(folder / LIST_FILE) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _write_durations(
    path: pathlib.Path,
    folder: pathlib.Path,
    entries: Sequence[dict[str, Any]],
    total: int,
) -> None:
    """The durations of all shards' utterances, in one file; one shard at a time."""
    header = {"descr": "<f8", "fortran_order": False, "shape": (total,)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for entry in entries:
            index = np.load(folder / f"{entry['name']}.index.npy")
            file.write(np.ascontiguousarray(index["duration"]).tobytes())


class ShardSplit:
    """One split of a corpus of shards. Opening it reads the list, no utterance.

    Utterances are counted from 0 through all shards.

    Arguments
    ---------
    folder : pathlib.Path
        Of the split.
    entry : dict
        Of the split in ``shards.json``.

    Attributes
    ----------
    names : list of str
        Of the shards.
    sizes : numpy.ndarray
        [S] int, utterances of each.
    starts : numpy.ndarray
        [S + 1] int, the first utterance of each, and behind the last.
    durations : numpy.ndarray
        [N] s, of all utterances; on disk until it is asked for.
    digest : str
        Of the shards and their utterances, in their order.
    ids : set of str
        A digest of the utterances of each shard.
    """

    def __init__(self, folder: pathlib.Path, entry: dict[str, Any]) -> None:
        self.folder = folder
        for shard in entry["shards"]:
            kinds = [type(value) for value in shard]
            # A name is of a file in the split's folder.
            if (
                kinds != [str, int, int, str]
                or not 0 <= shard[1] < _MOST_UTTERANCES
                or pathlib.PurePath(shard[0]).name != shard[0]
            ):
                raise ShardError(
                    f"{folder.parent / LIST_FILE} is damaged, in '{folder.name}': "
                    f"{shard} is no shard: {_AGAIN}"
                )
        self.skipped = int(entry["skipped"])
        self.seconds = float(entry["seconds"])
        self.names = [shard[0] for shard in entry["shards"]]
        self.sizes = np.array([shard[1] for shard in entry["shards"]], dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self.digest = digest(entry["shards"])
        self._bytes = [shard[2] for shard in entry["shards"]]
        self._ids = [shard[3] for shard in entry["shards"]]
        self._check()
        self.ids = frozenset(self._ids)
        path = folder / DURATIONS_FILE
        try:
            self.durations = _load_array(path, 1, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise ShardError(
                f"{path} is missing or damaged ({error}): {_AGAIN}"
            ) from error
        if len(self.durations) != len(self):
            raise ShardError(
                f"{path} has {len(self.durations)} utterances, and the shards have "
                f"{len(self)}: {_AGAIN}"
            )
        self._files: OrderedDict[int, _OpenShard] = OrderedDict()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _check(self) -> None:
        """Finds shards that are missing, cut short, doubled, or not in the list."""
        first: dict[str, str] = {}
        for name, ids in zip(self.names, self._ids, strict=True):
            if ids in first:
                raise ShardError(
                    f"{self.folder}: shards {first[ids]} and {name} hold the same "
                    f"utterances: delete one, and its lines in {LIST_FILE}; or {_AGAIN}"
                )
            first[ids] = name
        sizes = {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")
                if suffix == "tar" and stem and not stem.startswith("."):
                    sizes[stem] = entry.stat().st_size
        for name, size in zip(self.names, self._bytes, strict=True):
            path = self.folder / f"{name}.tar"
            found = sizes.pop(name, None)
            if found is None:
                raise ShardError(f"shard {path} is missing: {_AGAIN}")
            if found != size:
                raise ShardError(
                    f"shard {path} has {found} bytes in place of {size}: it is cut "
                    f"short or was changed. Delete it, and {_AGAIN}"
                )
        if sizes:
            raise ShardError(
                f"{self.folder}: {min(sizes)}.tar is not in {LIST_FILE}: it is a copy, "
                f"or of another corpus. Move it away, or {_AGAIN}"
            )

    def __getstate__(self) -> dict[str, Any]:
        # Each process opens files of its own.
        return {**self.__dict__, "_files": OrderedDict()}

    def part(self, row: int) -> "ShardSplit":
        """The split of an utterance, as
        :class:`ssr_plugin.data.joined_shards.JoinedShards` has several."""
        return self

    def locate(self, row: int) -> tuple[int, int]:
        """The shard of an utterance, and which of the shard's it is."""
        shard = int(np.searchsorted(self.starts, row, side="right")) - 1
        return shard, row - int(self.starts[shard])

    def _open(self, shard: int) -> "_OpenShard":
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        opened = _OpenShard(self.folder, self.names[shard], int(self.sizes[shard]))
        self._files[shard] = opened
        if len(self._files) > _OPEN_FILES:
            self._files.popitem(last=False)
        return opened

    def will_read(self, first: int, stop: int) -> None:
        """Tells the system that utterances [first, stop) of one shard are read soon.

        It reads them in sequence, ahead and beside the program, into memory that all
        processes share.
        """
        shard, number = self.locate(first)
        self._open(shard).will_read(number, number + stop - first)

    def record(self, row: int) -> dict[str, Any]:
        """The record of an utterance: id, text, speaker, duration, alignment, ...

        Raises
        ------
        ShardError
            If the shard is damaged.
        """
        shard, number = self.locate(row)
        opened = self._open(shard)
        try:
            record = parse_json(opened.read(number, "record"), _RECORD)
            if "hypothesis" in record:
                record["hypothesis"]["id"] = record["id"]
        except JSONError as error:
            raise opened.damaged(error) from error
        record["alignment"] |= {key: record[key] for key in ("id", "text")}
        return dict(record)

    def damaged(self, row: int, error: object) -> ShardError:
        """What is wrong with an utterance, as an error that names its shard."""
        return self._open(self.locate(row)[0]).damaged(error)

    def num_frames(self, row: int) -> int:
        """How many frames are kept of an utterance; 0 if none are."""
        shard, number = self.locate(row)
        return int(self._open(shard).index["num_frames"][number])

    def frames(self, row: int) -> npt.NDArray[Any]:
        """The frames of an utterance: [T, D], in the type they are stored in; those of
        8 bits in float16."""
        shard, number = self.locate(row)
        opened = self._open(shard)
        try:
            content = io.BytesIO(opened.read(number, "frames"))
            frames = _load_array(content, 2)
            if frames.dtype == np.int8:
                frames = restore_frames(frames, _load_array(content, 1))
            if len(frames) != self.num_frames(row):
                raise ValueError(f"{len(frames)} frames, not {self.num_frames(row)}")
        except ShardError:
            raise
        except ValueError as error:
            raise opened.damaged(error) from error
        return frames

    def audio_file(self, row: int) -> bytes:
        """The audio file of an utterance; empty if the shards keep none."""
        shard, number = self.locate(row)
        return self._open(shard).read(number, "audio")

    def audio(self, row: int, record: dict[str, Any]) -> StoredAudio | None:
        """The audio of an utterance, to be read when it is asked for; None if the
        shards keep none."""
        if "audio" not in record:
            return None
        shard, number = self.locate(row)
        opened = self._open(shard)
        return StoredAudio(
            str(opened.path),
            int(opened.index["audio"][number]),
            int(opened.index["audio_size"][number]),
            f"{record['id']}{record['audio']}",
        )


class _OpenShard:
    """A shard whose file is open, and its index."""

    def __init__(self, folder: pathlib.Path, name: str, utterances: int) -> None:
        self.path = folder / f"{name}.tar"
        try:
            self.index = _load_array(folder / f"{name}.index.npy", 1)
            self._file = os.open(self.path, os.O_RDONLY)
            self._size = os.fstat(self._file).st_size
        except (OSError, ValueError) as error:
            raise self.damaged(error) from error
        if self.index.dtype != INDEX or len(self.index) != utterances:
            raise self.damaged("its index is of another shard")

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def damaged(self, error: object) -> ShardError:
        return ShardError(
            f"shard {self.path} is damaged ({error}): delete it, and {_AGAIN}"
        )

    def read(self, number: int, part: str) -> bytes:
        row = self.index[number]
        size, place = int(row[f"{part}_size"]), int(row[part])
        if size < 0 or not 0 <= place <= self._size - size:
            raise self.damaged("its index names what is not in it")
        return os.pread(self._file, size, place)

    def will_read(self, first: int, stop: int) -> None:
        if not hasattr(os, "posix_fadvise"):  # macOS
            return
        rows = self.index[[first, stop - 1]]
        last = max(int(rows[1][x] + rows[1][f"{x}_size"]) for x in _PARTS)
        begin = int(rows[0]["record"])
        os.posix_fadvise(self._file, begin, last - begin, os.POSIX_FADV_WILLNEED)


def _load_array(file: Any, num_dims: int, **options: Any) -> npt.NDArray[Any]:
    """An array of so many dimensions, or a ValueError: numpy has errors of any kind."""
    try:
        array: npt.NDArray[Any] = np.load(file, allow_pickle=False, **options)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"no array: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != num_dims:
        raise ValueError(f"no array of {num_dims} dimensions")
    return array


_PARTS = ("record", "frames", "audio")
_AGAIN = "give the command 'ssr prepare' again, which makes it anew"


class Shards:
    """A corpus of shards that ``ssr prepare`` made.

    Arguments
    ---------
    folder : path-like

    Raises
    ------
    ShardError
        If its list is damaged or of another version.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> sample = ShardSample("a", "hi", "anna", 1.0, 16000, {}, b"...", ".flac")
    >>> entry = write_shard(folder / "train", "000000", [sample], {})
    >>> write_list(folder, {"train": [entry]}, {}, {"aligner": "even"})
    >>> shards = Shards(folder)
    >>> shards.splits(), len(shards["train"]), shards["train"].record(0)["text"]
    (['train'], 1, 'hi')
    >>> shards["train"].audio(0, shards["train"].record(0)).read_bytes()
    b'...'
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        path = self.folder / LIST_FILE
        try:
            content = parse_json(path.read_bytes(), {"format": None})
            if (version := content["format"]) != FORMAT:
                raise ShardError(
                    f"{path} is of version {version}, and this package reads {FORMAT}: "
                    f"{_AGAIN}"
                )
            check_form(content, _LIST)
        except (OSError, JSONError) as error:
            raise ShardError(
                f"{path} is missing or damaged ({error}): {_AGAIN}"
            ) from error
        self._entries: dict[str, Any] = content["splits"]
        self.made_of: dict[str, Any] = content["made_of"]
        self._splits: dict[str, ShardSplit] = {}

    def splits(self) -> list[str]:
        """Names of the splits."""
        return sorted(self._entries)

    def __getitem__(self, split: str) -> ShardSplit:
        """A split; what is wrong with its shards is told when it is opened first.

        Raises
        ------
        ShardError
            If a shard is missing, cut short, doubled, or not in the list.
        """
        if split not in self._entries:
            hint = did_you_mean(split, self._entries)
            raise ShardError(f"{self.folder} has no split '{split}'{hint}")
        if split not in self._splits:
            self._splits[split] = ShardSplit(self.folder / split, self._entries[split])
        return self._splits[split]

    def skipped(self) -> Iterator[tuple[str, str, str]]:
        """The utterances that were left out: split, id, reason."""
        path = self.folder / SKIPPED_FILE
        if path.is_file():
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = parse_json(line, _SKIPPED)
                    except JSONError as error:
                        raise ShardError(
                            f"{path}, line {number}, is damaged ({error}): {_AGAIN}"
                        ) from error
                    yield record["split"], record["id"], record["reason"]


def write_skipped(
    folder: str | os.PathLike[str], skipped: Iterable[Sequence[str]]
) -> None:
    """Writes which utterances were left out.

    Arguments
    ---------
    folder : path-like
        Of the corpus.
    skipped : iterable of (str, str, str)
        Split, id, reason.
    """
    with (
        atomic_path(pathlib.Path(folder) / SKIPPED_FILE) as partial,
        open(partial, "w", encoding="utf-8") as file,
    ):
        for split, name, reason in skipped:
            line = {"split": split, "id": name, "reason": reason}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
