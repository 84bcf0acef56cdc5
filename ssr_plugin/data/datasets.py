"""What a data set is to this package: named splits of utterances.

A new data set is one small subclass of :class:`DataSet` (see
``recipes/template/prepare.py``); one that already has a CSV file needs none:
:class:`CSVDataSet` reads it. Everything else (headers, held-out speakers, bad files,
manifests) is :func:`ssr_plugin.data.prepare.prepare`'s and shared by all.
"""

from __future__ import annotations

import abc
import csv
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssr_plugin.media_fragments import MediaFragment

#: :attr:`Utterance.speaker` of a data set that does not name its speakers.
UNKNOWN_SPEAKER = "unknown"


@dataclass(frozen=True)
class Utterance:
    """One recording and its transcript, as in the data set.

    Arguments
    ---------
    id : str
        Unique in its data set.
    wav : str
        Path of the audio file; if it is missing, the preparation names it.
    text : str or None
        Transcript; None if the data set has none for this recording.
    speaker : str
        Who speaks, for holding out whole speakers.
    problem : str or None
        Why it cannot be used, where the data set knows that already; it is then named,
        counted and left out, and nothing of it is read.
    """

    id: str
    wav: str
    text: str | None
    speaker: str = UNKNOWN_SPEAKER
    problem: str | None = None


def name_of(wav: str | os.PathLike[str]) -> str:
    """The id of an utterance that has none but its audio's name.

    Arguments
    ---------
    wav : path-like
        A file, or a part of one (:mod:`ssr_plugin.media_fragments`).

    Returns
    -------
    str

    Example
    -------
    >>> name_of("clips/a1.wav"), name_of("clips/talk.opus#t=12.5,17.25")
    ('a1', 'talk-12.5-17.25')
    """
    part = MediaFragment.parse(wav)
    stem = pathlib.Path(part.path).stem
    if not part.is_part:
        return stem
    fields = str(part).removeprefix(f"{part.path}#")
    return "-".join([stem, *re.findall(r"[\d.]+", fields)])


def bad_line(path: str | os.PathLike[str], number: int, reason: str) -> Utterance:
    """What a line of a list stands for that cannot be read: named, and counted.

    Arguments
    ---------
    path : path-like
        The list.
    number : int
        Of the line, from 1.
    reason : str
        What is wrong with it.

    Returns
    -------
    Utterance

    Example
    -------
    >>> utterance = bad_line("corpus/train.tsv", 7, "no transcript")
    >>> utterance.id, utterance.problem
    ('train.tsv, line 7', 'corpus/train.tsv, line 7: no transcript')
    """
    place = f"{os.fspath(path)}, line {number}"
    name = f"{pathlib.Path(path).name}, line {number}"
    return Utterance(name, os.fspath(path), None, problem=f"{place}: {reason}")


class DataSet(abc.ABC):
    """Base of all data sets: says which splits there are and what is in them.

    Arguments
    ---------
    data_folder : path-like
        Where the data set lies.

    Attributes
    ----------
    language : str or None
        BCP-47 code of what is spoken, as "de" or "zh-CN"; None where the data set does
        not say: then a YAML's key ``language`` does, or it is English. A subclass sets
        it, for the class or in ``__init__``.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.

    Example
    -------
    >>> class Numbers(DataSet):
    ...     def utterances(self, split):
    ...         for wav in sorted((self.folder / split).glob("*.wav")):
    ...             yield Utterance(wav.stem, str(wav), text=wav.stem)
    >>> folder = getfixture("tmp_path")
    >>> (folder / "train").mkdir()
    >>> _ = (folder / "train" / "seven.wav").write_bytes(b"...")
    >>> numbers = Numbers(folder)
    >>> numbers.splits()
    ['train']
    >>> [utterance.text for utterance in numbers.utterances("train")]
    ['seven']
    """

    language: str | None = None

    def __init__(self, data_folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(data_folder)
        if not self.folder.exists():
            raise FileNotFoundError(
                f"data_folder: there is no '{self.folder}'; "
                f"name the folder that holds the data set"
            )

    def splits(self) -> list[str]:
        """Names of the splits that are there; by default one for each sub-folder.

        Returns
        -------
        list of str
        """
        return sorted(
            entry.name
            for entry in self.folder.iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        )

    @abc.abstractmethod
    def utterances(self, split: str) -> Iterator[Utterance]:
        """The utterances of one split, in any order.

        Bad ones are given, too: a recording without a transcript has ``text=None``, a
        transcript without a recording has a ``wav`` that does not exist. The
        preparation names and counts them.

        Arguments
        ---------
        split : str
            One of :meth:`splits`.

        Yields
        ------
        Utterance
        """


class CSVDataSet(DataSet):
    """Any CSV file with a header, one utterance a row.

    ========  ====================================================  ==================
    field     column (the first that is there, in any case)         without it
    ========  ====================================================  ==================
    id        ``ID``, ``utt_id``                                    audio file's stem
    wav       ``wav``, ``path``, ``audio``, ``file``                error
    text      ``wrd``, ``text``, ``transcript``, ``transcription``, error
              ``sentence``
    speaker   ``spk_id``, ``speaker``, ``speaker_id``,              one speaker,
              ``client_id``                                         ``unknown``
    split     ``split``                                             CSV file's stem
    ========  ====================================================  ==================

    Audio paths are absolute or start from the CSV file's folder. The manifests of
    SpeechBrain recipes can be read, and those of this package.

    Arguments
    ---------
    data_folder : path-like
        A CSV file, or a folder whose ``*.csv`` files are all read.
    columns : dict, optional
        Columns with other names: ``{"text": "normalised_text"}``.

    Raises
    ------
    FileNotFoundError
        If there is no CSV file.
    ValueError
        If a file lacks a column, or is no well-formed CSV; it names file and line.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "train.csv").write_text(
    ...     "id,path,sentence\\n"
    ...     "a,clips/a.mp3,good morning\\n"
    ... )
    >>> dataset = CSVDataSet(folder)
    >>> dataset.splits()
    ['train']
    >>> [utterance.text for utterance in dataset.utterances("train")]
    ['good morning']
    """

    ALIASES = {
        "id": ("id", "utt_id"),
        "wav": ("wav", "path", "audio", "file"),
        "text": ("wrd", "text", "transcript", "transcription", "sentence"),
        "speaker": ("spk_id", "speaker", "speaker_id", "client_id"),
        "split": ("split",),
    }
    REQUIRED = ("wav", "text")

    def __init__(
        self,
        data_folder: str | os.PathLike[str],
        columns: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_folder)
        self.columns = dict(columns or {})
        unknown = set(self.columns) - set(self.ALIASES)
        if unknown:
            raise ValueError(
                f"columns: unknown {', '.join(sorted(unknown))}; "
                f"known: {', '.join(self.ALIASES)}"
            )
        files = [self.folder]
        if self.folder.is_dir():
            files = sorted(self.folder.glob("*.csv"))
        if not files:
            raise FileNotFoundError(f"data_folder: no *.csv file in '{self.folder}'")
        # Read once to its end for what is wrong in it, and anew when it is asked for:
        # a file of millions of rows is not held.
        self._files: dict[str, dict[pathlib.Path, None]] = {}
        for path in files:
            for split, _ in self._rows(path):
                self._files.setdefault(split, {})[path] = None

    def splits(self) -> list[str]:
        return sorted(self._files)

    def utterances(self, split: str) -> Iterator[Utterance]:
        for path in self._files[split]:
            for of_split, cells in self._rows(path):
                if of_split != split:
                    continue
                wav = path.parent / (cells["wav"] or "")
                yield Utterance(
                    id=cells.get("id") or name_of(wav),
                    wav=str(wav),
                    text=cells["text"],
                    speaker=cells.get("speaker") or UNKNOWN_SPEAKER,
                )

    def _rows(self, path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Split and cells by field, of all rows of a file."""
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, strict=True)
            try:
                header = self._header(path, table.fieldnames or [])
                for row in table:
                    if None in row:
                        raise csv.Error(
                            "more cells than the header has; "
                            "put a transcript that contains commas in double quotes"
                        )
                    cells = {field: row[name] for field, name in header.items()}
                    yield cells.get("split") or path.stem, cells
            except csv.Error as error:
                raise ValueError(
                    f"{path}, line {table.reader.line_num}: {error}"
                ) from error
            except UnicodeDecodeError as error:
                raise _not_utf8(path, error) from error

    def _header(self, path: pathlib.Path, names: Sequence[str]) -> dict[str, str]:
        """The column of each field: {"wav": "path", ...}."""
        by_lower = {name.strip().lower(): name for name in reversed(names)}
        header = {}
        for field, aliases in self.ALIASES.items():
            if field in self.columns:
                aliases = (self.columns[field].lower(),)
            matches = [by_lower[alias] for alias in aliases if alias in by_lower]
            if matches:
                header[field] = matches[0]
            elif field in self.REQUIRED or field in self.columns:
                raise ValueError(
                    f"{path} has no column for '{field}' (looked for: "
                    f"{', '.join(aliases)}; there are: {', '.join(names)}); rename it, "
                    f"or name it with columns={{'{field}': ...}}"
                )
        return header


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises
    ------
    ValueError
        If it is not UTF-8; the message names the file.
    """
    path = pathlib.Path(path)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error


def _not_utf8(path: pathlib.Path, error: UnicodeDecodeError) -> ValueError:
    return ValueError(f"{path} is not UTF-8 text: {error}; convert it")
