"""Data folders of Kaldi (and of ESPnet and WeNet, which use them) as a data set."""

from __future__ import annotations

import heapq
import itertools
import os
import pathlib
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from ssr_plugin.data.datasets import UNKNOWN_SPEAKER, DataSet, Utterance, bad_line
from ssr_plugin.data.folders import resolve_path
from ssr_plugin.data.tables import read_lines
from ssr_plugin.media_fragments import MediaFragment

# The end of an entry of wav.scp that is in an archive: its first byte.
_IN_ARCHIVE = re.compile(r"(?P<path>.+\.ark):(?P<offset>\d+)")


class _Entry(NamedTuple):
    """A line of one of the files: what stands behind its key."""

    key: str
    file: str
    number: int
    value: str


class KaldiFolder(DataSet):
    """Kaldi's data folders: ``wav.scp``, ``text``, and what else there is.

    The layout::

        data/
            train/              a split: any folder with a wav.scp
                wav.scp         "recording path"; in an archive "path.ark:1234"
                text            "utterance transcript"
                segments        "utterance recording start end", s; may be missing
                utt2spk         "utterance speaker"; may be missing

    Without ``segments`` recordings are utterances. With them, utterances are cut out
    of the recordings when they are read (:mod:`ssr_plugin.media_fragments`). Paths are
    absolute, or start from the current folder, or from that of ``wav.scp``.

    No command is run: a ``wav.scp`` with ``... |`` is refused.

    Layout after https://kaldi-asr.org/doc/data_prep.html.

    Arguments
    ---------
    data_folder : path-like
        A data folder, or one of several.

    Raises
    ------
    FileNotFoundError
        If there is no ``wav.scp``.
    """

    def __init__(self, data_folder: str | os.PathLike[str]) -> None:
        super().__init__(data_folder)
        if (self.folder / "wav.scp").is_file():
            self._folders = {self.folder.resolve().name: self.folder}
        else:
            folders = [path.parent for path in self.folder.glob("*/wav.scp")]
            self._folders = {path.name: path for path in sorted(folders)}
        if not self._folders:
            raise FileNotFoundError(
                f"data_folder: no wav.scp in '{self.folder}' or in a folder in it"
            )
        for folder in self._folders.values():
            _refuse_commands(folder / "wav.scp")

    def splits(self) -> list[str]:
        return sorted(self._folders)

    def utterances(self, split: str) -> Iterator[Utterance]:
        folder = self._folders[split]
        files = ["text", "segments", "utt2spk"]
        if not (folder / "segments").is_file():
            files[1] = "wav.scp"
        recordings = {}
        if files[1] == "segments":
            for entry in _entries(folder / "wav.scp"):
                recordings[entry.key] = entry.value
        tables = [_sorted_entries(folder / name) for name in files]
        # By key: of each file its lines, one unless an id comes twice.
        together = heapq.merge(*tables, key=lambda entry: entry.key)
        for key, group in itertools.groupby(together, key=lambda entry: entry.key):
            entries = list(group)
            texts = [entry for entry in entries if entry.file == "text"]
            places = [entry for entry in entries if entry.file == files[1]]
            speakers = [entry.value for entry in entries if entry.file == "utt2spk"]
            if not texts and not places:
                # A speaker of nothing.
                continue
            speaker = speakers[0].strip() if speakers else UNKNOWN_SPEAKER
            yield from self._utterances_of(
                folder, key, texts, places, speaker, recordings
            )

    def _utterances_of(
        self,
        folder: pathlib.Path,
        key: str,
        texts: list[_Entry],
        places: list[_Entry],
        speaker: str,
        recordings: dict[str, str],
    ) -> Iterator[Utterance]:
        """What lines with the same key tell: one utterance, unless a line is bad."""
        if not places:
            line = texts[0].number
            yield bad_line(folder / "text", line, f"'{key}' has no audio in {folder}")
            return
        for place in places:
            try:
                wav = _audio(folder, place, recordings)
            except ValueError as error:
                yield bad_line(folder / place.file, place.number, str(error))
                continue
            if not texts:
                yield Utterance(key, wav, None, speaker)
            for text in texts:
                yield Utterance(key, wav, text.value, speaker)


def _entries(path: pathlib.Path) -> Iterator[_Entry]:
    """The lines of one of the files."""
    for line in read_lines(path):
        if line.problem:
            raise ValueError(f"{path}, line {line.number}: {line.problem}: convert it")
        key, *rest = line.text.split(maxsplit=1)
        yield _Entry(key, path.name, line.number, rest[0] if rest else "")


def _sorted_entries(path: pathlib.Path) -> Iterator[_Entry]:
    """The same by key: Kaldi's files are sorted so; others are sorted in memory."""
    if not path.is_file():
        return iter(())
    before = ""
    for entry in _entries(path):
        if entry.key < before:
            return iter(sorted(_entries(path), key=lambda entry: entry.key))
        before = entry.key
    return _entries(path)


def _audio(folder: pathlib.Path, place: _Entry, recordings: dict[str, str]) -> str:
    """The audio that a line of wav.scp or of segments names."""
    if place.file == "wav.scp":
        return _recording(folder, place.value)
    fields = place.value.split()
    if len(fields) < 3:
        raise ValueError("it is not 'utterance recording start end'")
    name = fields[0]
    if name not in recordings:
        raise ValueError(f"there is no recording '{name}' in wav.scp")
    try:
        start, end = float(fields[1]), float(fields[2])
    except ValueError:
        raise ValueError(f"'{fields[1]} {fields[2]}' are no times") from None
    if not 0 <= start < end:
        raise ValueError(f"it is from {start} to {end} s")
    whole = MediaFragment.parse(_recording(folder, recordings[name]))
    channel = None
    if len(fields) > 3:
        channel = int(fields[3]) if fields[3].isdecimal() else None
    return str(MediaFragment(whole.path, start, end, whole.offset, whole.size, channel))


def _recording(folder: pathlib.Path, value: str) -> str:
    """A recording that wav.scp names: a file, or a WAV file in an archive."""
    if not value:
        raise ValueError("it names no file")
    match = _IN_ARCHIVE.fullmatch(value)
    if match is None:
        return resolve_path(value, folder)
    path, offset = resolve_path(match["path"], folder), int(match["offset"])
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            head = file.read(8)
    except OSError as error:
        raise ValueError(f"cannot read {path} ({error.strerror})") from error
    if len(head) < 8 or head[:4] != b"RIFF":
        raise ValueError(f"at byte {offset} of {path} there is no WAV file")
    size = 8 + struct.unpack("<I", head[4:])[0]
    return str(MediaFragment(path, offset=offset, size=size))


def _refuse_commands(path: pathlib.Path) -> None:
    """Refuses a wav.scp whose audio is what commands write."""
    for line in read_lines(path):
        if line.text.rstrip().endswith("|"):
            command = line.text.strip().partition(" ")[2].strip()
            raise ValueError(
                f"{path}, line {line.number}: '{command}' is a command, and none is "
                f"run. Put the path of its audio file in its place (FLAC, MP3, SPHERE "
                f"and the like are read as they are), or run the commands once: "
                f"wav-copy scp:wav.scp ark,scp:wav.ark,new_wav.scp"
            )
