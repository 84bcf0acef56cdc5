"""Multilingual LibriSpeech as a data set."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Iterator

from ssr_plugin.data.datasets import DataSet, Utterance, bad_line
from ssr_plugin.data.folders import choose_folder
from ssr_plugin.data.tables import read_lines

# Of so many utterances at the top of a list, the type of the files is looked up.
_LOOKED_UP = 100
_SUFFIXES = (".flac", ".opus", ".wav", ".ogg", ".mp3")

# BCP-47 codes of the languages that there are.
_CODES = {
    "dutch": "nl",
    "english": "en",
    "french": "fr",
    "german": "de",
    "italian": "it",
    "polish": "pl",
    "portuguese": "pt",
    "spanish": "es",
}


class MultilingualLibriSpeech(DataSet):
    """Multilingual LibriSpeech (Pratap et al., 2020) as published (OpenSLR 94).

    The layout, in FLAC or Opus::

        mls_german_opus/
            train/
                transcripts.txt     "4800_10003_000000<TAB>transcript" a line
                segments.txt        where in LibriVox's files each was (not needed)
                audio/
                    4800/                       speaker
                        10003/                  book
                            4800_10003_000000.opus
                limited_supervision/
                    9hr/handles.txt             ids of nine hours
                    1hr/0/handles.txt           ids of ten minutes; 0 to 5
            dev/, test/

    The lists of little data are splits, too: ``limited-9h``, ``limited-1h``,
    ``limited-10h`` (both) and ``limited-10min-0``, ... They are parts of ``train``.

    Layout after lhotse's ``recipes/mls.py`` and fairseq's list of the handles.

    Arguments
    ---------
    data_folder : path-like
        The folder of a language, ``mls_german`` or ``mls_german_opus``, or the one it
        lies in.
    language : str or None
        Which, where there are several: "german".

    Raises
    ------
    FileNotFoundError
        If there is no language.
    ValueError
        If there are several, and none is named.
    """

    def __init__(
        self, data_folder: str | os.PathLike[str], language: str | None = None
    ) -> None:
        super().__init__(data_folder)
        if not any(self.folder.glob("*/transcripts.txt")):
            # The Opus files and the FLAC files of a language are the same speech.
            folders = {
                path.name.split("_")[1]: path
                for path in sorted(self.folder.glob("mls_*"), reverse=True)
                if any(path.glob("*/transcripts.txt"))
            }
            self.folder = choose_folder(
                "language",
                language,
                folders,
                self.folder,
                "folder mls_<language> with a transcripts.txt in each split",
            )
        _, _, name = self.folder.resolve().name.partition("mls_")
        self.language = _CODES.get(name.removesuffix("_opus"))

    def splits(self) -> list[str]:
        published = [path.parent.name for path in self.folder.glob("*/transcripts.txt")]
        return sorted(published) + sorted(self._limited())

    def utterances(self, split: str) -> Iterator[Utterance]:
        wanted = None
        if split in (limited := self._limited()):
            lines = itertools.chain.from_iterable(map(read_lines, limited[split]))
            wanted = {line.text.strip() for line in lines}
            split = "train"
        folder = self.folder / split
        path = folder / "transcripts.txt"
        suffix = self._suffix(folder)
        for line in read_lines(path):
            name, tab, text = line.text.partition("\t")
            name = name.strip()
            if line.problem or not tab or name.count("_") != 2:
                form = "it is not 'speaker_book_number<TAB>transcript'"
                yield bad_line(path, line.number, line.problem or form)
            elif wanted is None or name in wanted:
                speaker, book, _ = name.split("_")
                wav = folder / "audio" / speaker / book / f"{name}{suffix}"
                yield Utterance(name, str(wav), text, speaker)

    def _limited(self) -> dict[str, list[pathlib.Path]]:
        """The lists of each split of little data."""
        root = self.folder / "train" / "limited_supervision"
        tens = sorted(root.glob("1hr/*/handles.txt"))
        nine = sorted(root.glob("9hr/handles.txt"))
        lists = {f"limited-10min-{path.parent.name}": [path] for path in tens}
        lists |= {"limited-1h": tens, "limited-9h": nine, "limited-10h": tens + nine}
        return {name: paths for name, paths in lists.items() if paths}

    def _suffix(self, folder: pathlib.Path) -> str:
        """The ending of a split's files, by the first of them that is there."""
        lines = itertools.islice(read_lines(folder / "transcripts.txt"), _LOOKED_UP)
        for line in lines:
            name = line.text.partition("\t")[0].strip()
            if name.count("_") != 2:
                continue
            speaker, book, _ = name.split("_")
            for suffix in _SUFFIXES:
                if (folder / "audio" / speaker / book / f"{name}{suffix}").exists():
                    return suffix
        return ".opus" if self.folder.name.endswith("opus") else ".flac"
