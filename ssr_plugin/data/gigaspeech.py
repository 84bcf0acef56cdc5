"""GigaSpeech as a data set."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from ssr_plugin.data.datasets import DataSet, Utterance
from ssr_plugin.media_fragments import MediaFragment

logger = logging.getLogger(__name__)

#: The published subsets, as splits.
SUBSETS = ("xs", "s", "m", "l", "xl", "dev", "test")
#: Marks by their tag.
MARKS = {
    "<COMMA>": ",",
    "<PERIOD>": ".",
    "<QUESTIONMARK>": "?",
    "<EXCLAMATIONPOINT>": "!",
}
#: Tags of utterances in which nobody speaks.
GARBAGE = frozenset({"<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>"})
_TAG = re.compile(r"<[A-Z_]+>")


class GigaSpeech(DataSet):
    """GigaSpeech (Chen et al., 2021) as published.

    The layout::

        GigaSpeech/
            GigaSpeech.json                 about 2 GB; read a recording at a time
            audio/
                podcast/P0000/POD0000000001.opus    long recordings
                youtube/..., audiobook/...

    In the JSON, ``audios`` have an ``aid``, a ``path`` and ``segments``, each with
    ``sid``, ``speaker``, ``begin_time``, ``end_time`` (s), ``text_tn`` and
    ``subsets`` (``{XS}`` to ``{XL}``, ``{DEV}``, ``{TEST}``). Splits are the subsets
    in small letters. ``xs`` is a part of ``s``, and so on up to ``xl``: train on one.

    Its quirks: marks are tags (``<COMMA>``), which are taken out, or written as marks.
    Utterances in which nobody speaks (``<SIL>``, ``<MUSIC>``, ``<NOISE>``,
    ``<OTHER>``) are left out. Most speakers are not known ("N/A"): then the recording
    stands for its speaker, so that whole recordings are held out. Utterances are cut
    out of the recordings when they are read (:mod:`ssr_plugin.media_fragments`).

    Layout after ``utils/`` and ``toolkits/kaldi`` of SpeechColab/GigaSpeech.

    Arguments
    ---------
    data_folder : path-like
        The folder that holds ``GigaSpeech.json``.
    punctuation : bool
        Whether transcripts have marks.

    Raises
    ------
    FileNotFoundError
        If there is no ``GigaSpeech.json``.
    ImportError
        If ijson is not installed, which reads it a piece at a time.
    """

    language = "en"

    def __init__(
        self, data_folder: str | os.PathLike[str], punctuation: bool = False
    ) -> None:
        super().__init__(data_folder)
        self.punctuation = punctuation
        self.metadata = self.folder / "GigaSpeech.json"
        if not self.metadata.is_file():
            raise FileNotFoundError(
                f"data_folder: no GigaSpeech.json in '{self.folder}'; name the folder "
                f"that holds it"
            )
        _import_ijson()

    def splits(self) -> list[str]:
        return list(SUBSETS)

    def utterances(self, split: str) -> Iterator[Utterance]:
        wanted = {split.upper(), f"{{{split.upper()}}}"}
        silent = 0
        for number, audio in enumerate(self._audios(), 1):
            try:
                # All segments of a recording may be of other subsets.
                if wanted.isdisjoint(audio.get("subsets") or wanted):
                    continue
                path, name = self._audio(audio["path"]), str(audio["aid"])
                segments = list(audio["segments"])
            except (AttributeError, KeyError, TypeError) as error:
                yield self._bad(f"audio {number}", error)
                continue
            for place, segment in enumerate(segments, 1):
                try:
                    if wanted.isdisjoint(segment["subsets"]):
                        continue
                    if not GARBAGE.isdisjoint(segment["text_tn"].split()):
                        silent += 1
                        continue
                    utterance = self._utterance(segment, path, name)
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    yield self._bad(f"{name}, segment {place}", error)
                    continue
                yield utterance
        if silent:
            logger.info("%s: %d left out in which nobody speaks", split, silent)

    def _utterance(
        self, segment: dict[str, Any], wav: str, recording: str
    ) -> Utterance:
        start, end = float(segment["begin_time"]), float(segment["end_time"])
        if not 0 <= start < end:
            raise ValueError(f"it is from {start} to {end} s")
        text = self._written(segment["text_tn"])
        if tags := _TAG.findall(text):
            raise ValueError(f"an unknown tag in its transcript: {tags[0]}")
        speaker = str(segment.get("speaker") or "N/A")
        return Utterance(
            str(segment["sid"]),
            str(MediaFragment(wav, start, end)),
            text,
            recording if speaker == "N/A" else speaker,
        )

    def _audios(self) -> Iterator[Any]:
        """The recordings in the JSON, one at a time."""
        ijson = _import_ijson()
        try:
            with open(self.metadata, "rb") as file:
                shallow = _ShallowFile(file)
                yield from ijson.items(shallow, "audios.item", use_float=True)
        except (ijson.JSONError, _TooDeepError) as error:
            raise ValueError(
                f"{self.metadata} is damaged ({error}): fetch it again"
            ) from error

    def _audio(self, path: str) -> str:
        """A recording: published as Opus, and converted by some to WAV."""
        opus = self.folder / path
        wav = opus.with_suffix(".wav")
        return str(wav if not opus.exists() and wav.exists() else opus)

    def _written(self, text: str) -> str:
        """A transcript without tags of marks."""
        for tag, mark in MARKS.items():
            text = text.replace(f" {tag}", mark if self.punctuation else "")
            text = text.replace(tag, "")
        return text.strip()

    def _bad(self, name: str, error: Exception) -> Utterance:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        problem = f"{self.metadata}, {name}: {reason}"
        return Utterance(name, str(self.metadata), None, problem=problem)


# ijson keeps the whole path of every bracket that is open: 50,000 of them take 6 GB.
_DEEPEST, _SLICE = 1000, 4096


class _TooDeepError(ValueError):
    """JSON with brackets in brackets that no data set has."""


class _ShallowFile:
    """A file that is read only as long as few brackets are open.

    Brackets in texts count, too: the published file has next to none that is alone.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.depth = 0

    def read(self, size: int = -1) -> bytes:
        """As of any file."""
        data = self.file.read(size)
        for start in range(0, len(data), _SLICE):
            part = data[start : start + _SLICE]
            self.depth += part.count(b"[") + part.count(b"{")
            self.depth -= part.count(b"]") + part.count(b"}")
            if self.depth > _DEEPEST:
                raise _TooDeepError("brackets in brackets, much too deep")
        return data


def _import_ijson() -> Any:
    try:
        import ijson
    except ImportError:
        raise ImportError(
            "GigaSpeech.json is read by ijson: pip install ssr-plugin[gigaspeech]"
        ) from None
    return ijson
