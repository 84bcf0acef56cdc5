"""Lhotse's cuts, recordings with supervisions, and Shar folders as a data set."""

from __future__ import annotations

import os
import pathlib
import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

from ssr_plugin.data.datasets import UNKNOWN_SPEAKER, DataSet, Utterance, bad_line
from ssr_plugin.data.folders import resolve_path
from ssr_plugin.data.tables import read_lines
from ssr_plugin.json_files import parse_json
from ssr_plugin.media_fragments import MediaFragment

# Where in its name a manifest says what it holds, and of which split.
_NAME = re.compile(
    r"(?:(?P<corpus>.+?)[_-])?(?P<kind>cuts|recordings|supervisions)"
    r"(?:[_-](?P<split>.+))?"
)
_SHAR = re.compile(r"cuts\.(\d+)\.jsonl(\.gz)?")
_ENDINGS = (".jsonl", ".jsonl.gz")
_SAVE = "write its audio to files first (cuts.save_audios)"


class LhotseManifests(DataSet):
    """Manifests of Lhotse (Zelasko et al., 2021), as JSON lines, plain or gzipped.

    A folder may hold::

        librispeech_cuts_train-clean-100.jsonl.gz       cuts
        librispeech_recordings_dev-clean.jsonl.gz       or both of these
        librispeech_supervisions_dev-clean.jsonl.gz
        test/cuts.000000.jsonl.gz                       or Shar
        test/recording.000000.tar

    The split is what the name says behind ``cuts_``; of Shar, it is the folder's
    name. Each supervision is an utterance: its own time of its recording, and its
    channel where the recording has several. Of Shar, audio is read where it lies in
    the tar files. Words that supervisions have times for are an alignment, too:
    ``aligner: files`` reads them. Lhotse itself is not needed.

    Audio that is no file (a command, an address, audio in memory, mixed cuts, changed
    speed) is refused: nothing is run or fetched.

    Forms after lhotse's ``to_dict`` of cuts, and ``lhotse/shar``.

    Arguments
    ---------
    data_folder : path-like
        Such a folder, or one file of cuts.

    Raises
    ------
    FileNotFoundError
        If there are no such manifests.
    """

    def __init__(self, data_folder: str | os.PathLike[str]) -> None:
        super().__init__(data_folder)
        self._files: dict[str, dict[str, list[pathlib.Path]]] = {}
        if self.folder.is_file():
            self._files = {_stem(self.folder): {"cuts": [self.folder]}}
            return
        for path in sorted([*self.folder.glob("*.jsonl*"), *self.folder.glob("*/*")]):
            self._note(path)
        # Cuts hold all that recordings and supervisions do.
        self._files = {
            split: {"cuts": files["cuts"]} if "cuts" in files else files
            for split, files in self._files.items()
            if "cuts" in files or len(files) == 2
        }
        if not self._files:
            raise FileNotFoundError(
                f"data_folder: no cuts of Lhotse in '{self.folder}' "
                f"(*cuts*.jsonl.gz, Shar, or *recordings* with *supervisions*); other "
                f"forms are written anew by cuts.to_file('cuts.jsonl.gz')"
            )

    def _note(self, path: pathlib.Path) -> None:
        """Notes a file, if it is a manifest."""
        if not path.name.endswith(_ENDINGS):
            return
        if _SHAR.fullmatch(path.name):
            split = path.parent.resolve().name
            self._files.setdefault(split, {}).setdefault("cuts", []).append(path)
            return
        match = _NAME.fullmatch(_stem(path))
        if match is not None and path.parent == self.folder:
            split = match["split"] or match["corpus"] or match["kind"]
            files = self._files.setdefault(split, {})
            files.setdefault(match["kind"], []).append(path)

    def splits(self) -> list[str]:
        return sorted(self._files)

    def utterances(self, split: str) -> Iterator[Utterance]:
        files = self._files[split]
        for path in files.get("cuts", ()):
            stored = _shar_audio(path)
            for number, cut in _records(path):
                yield from _of_line(path, number, lambda c=cut, s=stored: _of_cut(c, s))
        recordings = {
            str(record.get("id")): record
            for path in files.get("recordings", ())
            for _, record in _records(path)
            if isinstance(record, dict)
        }
        for path in files.get("supervisions", ()):
            for number, one in _records(path):
                yield from _of_line(
                    path, number, lambda one=one: [_of_supervision(one, recordings)]
                )


def _stem(path: pathlib.Path) -> str:
    return path.name.partition(".jsonl")[0]


def _records(path: pathlib.Path) -> Iterator[tuple[int, Any]]:
    """Number and content of each line; the error of one that is no JSON."""
    for line in read_lines(path):
        content: Any = ValueError(line.problem)
        if not line.problem:
            try:
                content = parse_json(line.text)
            except ValueError as error:
                content = error
        yield line.number, content


def _of_line(path: pathlib.Path, number: int, make: Any) -> Iterator[Utterance]:
    """The utterances of a line, or what is wrong with it."""
    try:
        utterances = [_located(one, path.parent) for one in make()]
    except KeyError as error:
        yield bad_line(path, number, f"it lacks {error}")
    except (AttributeError, IndexError, OSError, TypeError, ValueError) as error:
        yield bad_line(path, number, str(error))
    else:
        yield from utterances


def _located(utterance: Utterance, folder: pathlib.Path) -> Utterance:
    """The same, its audio found from the current folder or the manifest's."""
    part = MediaFragment.parse(utterance.wav)
    path = resolve_path(part.path, folder)
    wav = str(
        MediaFragment(path, part.start, part.end, part.offset, part.size, part.channel)
    )
    return Utterance(utterance.id, wav, utterance.text, utterance.speaker)


def _of_cut(
    cut: Any, stored: Mapping[str, MediaFragment] | None
) -> Iterator[Utterance]:
    """The utterances of a cut: one for each supervision."""
    if isinstance(cut, Exception):
        raise cut
    if cut.get("type", "MonoCut") not in ("MonoCut", "MultiCut"):
        raise ValueError(f"a {cut['type']}: {_SAVE}")
    supervisions = cut.get("supervisions") or [{}]
    for number, one in enumerate(supervisions):
        # Times of a supervision count from the beginning of its cut.
        start, duration = one.get("start", 0.0), one.get("duration", cut["duration"])
        start, end = max(start, 0.0), min(start + duration, cut["duration"])
        channel = one.get("channel", cut.get("channel", 0))
        if stored is not None:
            audio = stored.get(cut["id"])
            if audio is None:
                raise ValueError(f"there is no audio of '{cut['id']}' in its tar file")
            whole, num_channels, length = audio, None, cut["duration"]
        else:
            whole, num_channels = _source(cut["recording"], channel)
            length = cut["recording"]["duration"]
            start, end = start + cut["start"], end + cut["start"]
        name = one.get("id", cut["id"]) if len(supervisions) > 1 else cut["id"]
        if len(supervisions) > 1 and "id" not in one:
            name = f"{name}-{number}"
        yield _utterance(name, one, whole, num_channels, length, start, end, channel)


def _of_supervision(one: Any, recordings: Mapping[Any, Any]) -> Utterance:
    """The utterance of a supervision, whose times count from its recording's start."""
    if isinstance(one, Exception):
        raise one
    recording = recordings.get(one["recording_id"])
    if recording is None:
        raise ValueError(f"there is no recording '{one['recording_id']}'")
    channel = one.get("channel", 0)
    whole, num_channels = _source(recording, channel)
    start, end = one["start"], one["start"] + one["duration"]
    return _utterance(
        one["id"],
        one,
        whole,
        num_channels,
        recording["duration"],
        max(start, 0.0),
        min(end, recording["duration"]),
        channel,
    )


def _utterance(
    name: str,
    supervision: Mapping[str, Any],
    whole: MediaFragment,
    num_channels: int | None,
    length: float,
    start: float,
    end: float,
    channel: Any,
) -> Utterance:
    if not start < end:
        raise ValueError(f"'{name}' is from {start} to {end} s")
    # Of rounding, a millisecond.
    is_whole = start < 1e-3 and end > length - 1e-3
    one_of_several = num_channels is not None and num_channels > 1
    if one_of_several and not isinstance(channel, int):
        one_of_several = False
    part = MediaFragment(
        whole.path,
        None if is_whole else start,
        None if is_whole else end,
        whole.offset,
        whole.size,
        channel if one_of_several else None,
    )
    text = supervision.get("text")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"the text of '{name}' is no text, but {text!r}")
    speaker = supervision.get("speaker") or UNKNOWN_SPEAKER
    return Utterance(str(name), str(part), text, str(speaker))


def _source(recording: Mapping[str, Any], channel: Any) -> tuple[MediaFragment, int]:
    """The file that has a channel of a recording, and how many channels it has."""
    for transform in recording.get("transforms") or ():
        # Resampling changes nothing: audio is read at the encoder's rate.
        if transform.get("name") != "Resample":
            raise ValueError(f"a recording that was changed: {_SAVE}")
    wanted = channel[0] if isinstance(channel, list) else channel
    sources = recording["sources"]
    having = [one for one in sources if wanted in one.get("channels", [0])]
    source = (having or sources)[0]
    if source["type"] != "file":
        raise ValueError(
            f"audio that is no file, but of type '{source['type']}': {_SAVE}"
        )
    return MediaFragment(str(source["source"])), len(source.get("channels", [0]))


def _shar_audio(path: pathlib.Path) -> dict[str, MediaFragment] | None:
    """Where the audio of each cut of a Shar lies; None if the cuts are no Shar's."""
    match = _SHAR.fullmatch(path.name)
    if match is None:
        return None
    tar = path.with_name(f"recording.{match[1]}.tar")
    if not tar.is_file():
        hint = ""
        if tar.with_name(f"{tar.name}.gz").is_file():
            hint = ": unpack the .tar.gz, in which nothing can be found without reading"
        raise FileNotFoundError(f"there is no '{tar}', the audio of '{path}'{hint}")
    stored = {}
    try:
        with tarfile.open(tar, "r:") as file:
            for member in file:
                stem, _, ending = member.name.rpartition(".")
                if member.isfile() and ending not in ("json", "nodata", "nometa"):
                    stored[stem] = MediaFragment(
                        str(tar), offset=member.offset_data, size=member.size
                    )
    except tarfile.TarError as error:
        raise ValueError(f"{tar} is damaged ({error}): make it anew") from error
    return stored
