"""Any audio data set that the package ``datasets`` reads: by hub name, or a folder."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ssr_plugin.data.datasets import (
    UNKNOWN_SPEAKER,
    CSVDataSet,
    DataSet,
    Utterance,
)
from ssr_plugin.media_fragments import MediaFragment

# Columns by field, as data sets of the hub call them; the first that is there.
_ALIASES = {
    "id": (*CSVDataSet.ALIASES["id"], "segment_id", "audio_id", "utterance_id", "key"),
    "text": (
        *CSVDataSet.ALIASES["text"],
        "normalized_text",
        "raw_text",
        "raw_transcription",
    ),
    "speaker": CSVDataSet.ALIASES["speaker"],
}
# What save_to_disk writes.
_SAVED = ("state.json", "dataset_dict.json")


class HuggingFaceDataSet(DataSet):
    """A data set with a column of audio and one of text.

    ========  =======================================================  ===============
    field     column (the first that is there, in any case)            without it
    ========  =======================================================  ===============
    audio     the first of the feature ``Audio``                       error
    text      ``wrd``, ``text``, ``transcript``, ``transcription``,    error
              ``sentence``, ``normalized_text``, ``raw_text``,
              ``raw_transcription``
    id        ``ID``, ``utt_id``, ``segment_id``, ``audio_id``,        split and row
              ``utterance_id``, ``key``
    speaker   ``spk_id``, ``speaker``, ``speaker_id``, ``client_id``   one speaker
    ========  =======================================================  ===============

    ``datasets`` fetches it, and keeps it in its own cache on disk. From there it is
    read: audio is neither decoded nor copied while it is listed
    (:mod:`ssr_plugin.media_fragments`).

    Arguments
    ---------
    data_folder : str
        What ``datasets.load_dataset`` takes: a name on the hub (``user/name``), or a
        folder, such as an ``AudioFolder`` or one of parquet files; or a folder that
        ``save_to_disk`` has written.
    name : str or None
        Of its configuration, often a language: "de".
    revision : str or None
        Commit, tag or branch on the hub.
    data_files : str, list or dict or None
        Which files of it, as ``load_dataset`` takes them, where not all shall be
        fetched: ``{test: data/test-*.parquet}``.
    columns : dict, optional
        Columns with other names: ``{"text": "normalised"}``.

    Raises
    ------
    ImportError
        If ``datasets`` is not installed.
    ValueError
        If there is no such data set, or it lacks a column; it names those there are.
    """

    def __init__(
        self,
        data_folder: str | os.PathLike[str],
        name: str | None = None,
        revision: str | None = None,
        data_files: Any = None,
        columns: Mapping[str, str] | None = None,
    ) -> None:
        # A name on the hub is no folder.
        self.folder = pathlib.Path(data_folder)
        self.columns = dict(columns or {})
        unknown = set(self.columns) - {"audio", *_ALIASES}
        if unknown:
            raise ValueError(
                f"columns: unknown {', '.join(sorted(unknown))}; known: audio, "
                f"{', '.join(_ALIASES)}"
            )
        self._splits = _load(self.folder, name, revision, data_files)

    def splits(self) -> list[str]:
        return sorted(self._splits)

    def column(self, split: str, name: str) -> list[Any]:
        """The cells of another column, one for each of :meth:`utterances`, in order.

        Arguments
        ---------
        split : str
            One of :meth:`splits`.
        name : str

        Returns
        -------
        list

        Raises
        ------
        ValueError
            If there is no such column; it names those there are.
        """
        dataset = self._splits[split]
        if name not in dataset.column_names:
            raise ValueError(
                f"'{self.folder}', {split}: there is no column '{name}'; there are: "
                f"{', '.join(dataset.column_names)}"
            )
        return list(dataset[name])

    def utterances(self, split: str) -> Iterator[Utterance]:
        header = self._header(split)
        row = 0
        for path, base, batch in _batches(self.folder, self._splits[split]):
            wavs = _audio_paths(batch.column(header["audio"]), path, base)
            nothing = [None] * batch.num_rows
            cells = [
                batch.column(header[field]).to_pylist() if field in header else nothing
                for field in ("id", "text", "speaker")
            ]
            for wav, name, text, speaker in zip(wavs, *cells, strict=True):
                yield Utterance(
                    f"{split}-{row:08d}" if name is None else str(name),
                    wav,
                    None if text is None else str(text),
                    str(UNKNOWN_SPEAKER if speaker is None else speaker),
                )
                row += 1

    def _header(self, split: str) -> dict[str, str]:
        """The column of each field."""
        from datasets import Audio

        if split not in self._splits:
            raise ValueError(
                f"'{self.folder}' has no split '{split}'; it has: "
                f"{', '.join(self.splits()) or 'none'}"
            )
        features = self._splits[split].features
        names = {name.lower(): name for name in reversed(list(features))}
        sounds = [name for name, one in features.items() if isinstance(one, Audio)]
        header = {}
        for field, aliases in {"audio": tuple(sounds), **_ALIASES}.items():
            if field in self.columns:
                aliases = (self.columns[field],)
            found = [names[x.lower()] for x in aliases if x.lower() in names]
            if found:
                header[field] = found[0]
            elif field in ("audio", "text") or field in self.columns:
                raise ValueError(
                    f"'{self.folder}', {split}: there is no column for '{field}'; "
                    f"there are: {', '.join(features)}; name one: "
                    f"dataset_options.huggingface.columns.{field}"
                )
        if header["audio"] not in sounds:
            raise ValueError(
                f"'{self.folder}', {split}: the column '{header['audio']}' is no "
                f"Audio, but {features[header['audio']]}"
            )
        return header


def _load(
    folder: pathlib.Path, name: str | None, revision: str | None, data_files: Any
) -> dict[str, Any]:
    """The splits: ``datasets.Dataset`` by name."""
    try:
        import datasets
    except ImportError:
        raise ImportError(
            "data sets of Hugging Face are read by the package datasets: pip install "
            "ssr-plugin[datasets]"
        ) from None
    try:
        if any((folder / name).is_file() for name in _SAVED):
            loaded = datasets.load_from_disk(str(folder))
        else:
            loaded = datasets.load_dataset(
                str(folder), name, revision=revision, data_files=data_files
            )
    except Exception as error:
        # Its loaders raise errors of all kinds, and tell the cause behind them.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(
            f"data_folder: '{folder}' cannot be read as a data set of Hugging Face: "
            f"{error}" + (f" ({cause})" if cause is not error else "")
        ) from error
    if isinstance(loaded, datasets.Dataset):
        return {str(loaded.split or "train"): loaded}
    return dict(loaded)


def _batches(folder: pathlib.Path, dataset: Any) -> Iterator[tuple[str, int, Any]]:
    """File, where it is in memory, and rows: of all of a data set's Arrow files."""
    import pyarrow

    files = [entry["filename"] for entry in dataset.cache_files]
    count = 0
    for path in files:
        try:
            with pyarrow.memory_map(path) as memory:
                base = memory.read_buffer(1).address
                memory.seek(0)
                for batch in pyarrow.ipc.open_stream(memory):
                    # Else a damaged one is read beyond its end.
                    batch.validate(full=True)
                    count += batch.num_rows
                    yield path, base, batch
        except pyarrow.ArrowException as error:
            raise ValueError(
                f"{path} is damaged ({error}): fetch or write the data set again"
            ) from error
    if count != dataset.num_rows:
        raise ValueError(
            f"'{folder}': it has {dataset.num_rows} rows, and {count} are on disk; "
            f"write it with save_to_disk, and give that folder"
        )


def _audio_paths(cells: Any, path: str, base: int) -> list[str]:
    """Where the audio of some rows is: a file, or bytes in the Arrow file."""
    content = cells.field("bytes")
    places, first = None, 0
    if content.null_count < len(content):
        _, starts, values = content.buffers()
        kind = np.int64 if str(content.type).startswith("large") else np.int32
        places = np.frombuffer(starts, kind)[content.offset :]
        # The file is mapped into memory: from where in it, it is where in the file.
        first = values.address - base
        if not 0 <= first <= os.path.getsize(path):
            raise ValueError(
                f"{path} is packed: write the data set with save_to_disk, and give "
                f"that folder"
            )
    paths = []
    for row, name in enumerate(cells.field("path").to_pylist()):
        if places is not None and cells[row].is_valid and content[row].is_valid:
            start, end = (int(place) for place in places[row : row + 2])
            part = MediaFragment(path, offset=first + start, size=end - start)
            paths.append(str(part))
        else:
            paths.append(name or f"{path}, row {row}: no audio")
    return paths
