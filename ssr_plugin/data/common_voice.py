"""Common Voice as a data set."""

from __future__ import annotations

import logging
import os
import pathlib
from collections.abc import Iterator

from ssr_plugin.data.datasets import UNKNOWN_SPEAKER, DataSet, Utterance, bad_line
from ssr_plugin.data.folders import choose_folder, language_of
from ssr_plugin.data.tables import read_table

logger = logging.getLogger(__name__)

#: The published lists.
LISTS = ("train", "dev", "test", "validated", "invalidated", "other")
#: All that was validated, but for what tells of the speakers of dev and test.
VALIDATED_TRAIN = "validated-train"


class CommonVoice(DataSet):
    """Mozilla Common Voice (Ardila et al., 2020) as published.

    The layout::

        cv-corpus-17.0-2024-03-15/
            de/                         locale
                clips/
                    common_voice_de_17298952.mp3
                train.tsv, dev.tsv, test.tsv
                validated.tsv, invalidated.tsv, other.tsv

    Its quirks:

    - ``train`` has one recording of each sentence, and is a small part of what was
      validated. ``validated`` has dev and test in it. So there is one more split,
      ``validated-train``: validated recordings, but those of speakers of dev or test.
    - Quotation marks in the lists are doubled, and some sentences are in marks as a
      whole; they are undone.
    - The first releases name files without ``.mp3``.

    Layout after lhotse's ``recipes/commonvoice.py``, SpeechBrain's
    ``common_voice_prepare.py`` and Mozilla's CorporaCreator, which writes the lists.

    Arguments
    ---------
    data_folder : path-like
        The folder of a locale (``de``), or that of a release.
    locale : str or None
        Which, where there are several: "de".
    min_up_votes : int
        Leave out what fewer people found right.
    max_down_votes : int or None
        Leave out what more people found wrong.

    Raises
    ------
    FileNotFoundError
        If there is no locale.
    ValueError
        If there are several, and none is named.
    """

    def __init__(
        self,
        data_folder: str | os.PathLike[str],
        locale: str | None = None,
        min_up_votes: int = 0,
        max_down_votes: int | None = None,
    ) -> None:
        super().__init__(data_folder)
        self.min_up_votes = min_up_votes
        self.max_down_votes = max_down_votes
        if not (self.folder / "clips").is_dir():
            clips = [*self.folder.glob("*/clips"), *self.folder.glob("*/*/clips")]
            folders = {path.parent.name: path.parent for path in sorted(clips)}
            self.folder = choose_folder(
                "locale", locale, folders, self.folder, "locale, a folder with clips/,"
            )
        elif locale not in (None, self.folder.name):
            raise FileNotFoundError(
                f"locale: '{self.folder}' is the folder of a locale, and not of "
                f"'{locale}'"
            )
        # Locales are BCP-47 codes.
        self.language = language_of(self.folder.resolve().name)

    def splits(self) -> list[str]:
        splits = [name for name in LISTS if self._list(name).is_file()]
        if "validated" in splits:
            splits.append(VALIDATED_TRAIN)
        return sorted(splits)

    def utterances(self, split: str) -> Iterator[Utterance]:
        held_out: set[str] = set()
        if split == VALIDATED_TRAIN:
            split = "validated"
            for name in ("dev", "test"):
                if self._list(name).is_file():
                    rows = read_table(self._list(name), ["client_id"])
                    held_out |= {row.cells.get("client_id", "") for row in rows}
        path = self._list(split)
        left_out = 0
        for row in read_table(path, ["client_id", "path", "sentence"]):
            if row.problem:
                yield bad_line(path, row.number, row.problem)
                continue
            cells = row.cells
            if held_out and cells["client_id"] in held_out:
                continue
            if not self._votes_suffice(cells):
                left_out += 1
                continue
            wav = self.folder / "clips" / cells["path"]
            if wav.suffix != ".mp3" and not wav.exists():
                wav = wav.with_name(f"{wav.name}.mp3")
            yield Utterance(
                wav.stem,
                str(wav),
                without_marks(cells["sentence"]),
                cells["client_id"] or UNKNOWN_SPEAKER,
            )
        if left_out:
            logger.info("%s: %d left out by their votes", path, left_out)

    def _list(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.tsv"

    def _votes_suffice(self, cells: dict[str, str]) -> bool:
        up, down = (_votes(cells.get(name)) for name in ("up_votes", "down_votes"))
        few_down = self.max_down_votes is None or down <= self.max_down_votes
        return up >= self.min_up_votes and few_down


def _votes(cell: str | None) -> int:
    return int(cell) if cell and cell.isdecimal() else 0


def without_marks(sentence: str) -> str:
    """A sentence as it was before it was written into a list.

    Example
    -------
    >>> without_marks('He said ""no"".'), without_marks('"Well, well."')
    ('He said "no".', 'Well, well.')
    >>> without_marks('""No"", he said.')
    '"No", he said.'
    """
    sentence = sentence.strip()
    marks = len(sentence) - len(sentence.lstrip('"'))
    # Inside, each mark is two; one more at either end encloses the whole.
    if marks % 2 and len(sentence) > 1 and sentence.endswith('"'):
        sentence = sentence[1:-1]
    return sentence.replace('""', '"')
