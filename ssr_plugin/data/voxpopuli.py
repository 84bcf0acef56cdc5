"""VoxPopuli as a data set."""

from __future__ import annotations

import logging
import os
import pathlib
from collections.abc import Iterator

from ssr_plugin.data.datasets import UNKNOWN_SPEAKER, DataSet, Utterance, bad_line
from ssr_plugin.data.folders import choose_folder, language_of
from ssr_plugin.data.tables import read_table

logger = logging.getLogger(__name__)

# The column of each kind of transcript.
_COLUMNS = {"normalized": "normalized_text", "raw": "raw_text"}


class VoxPopuli(DataSet):
    """Transcribed speech of VoxPopuli (Wang et al., 2021).

    The layout, as the corpus's own ``get_asr_data.py`` makes it::

        voxpopuli/
            transcribed_data/
                de/                         language
                    asr_train.tsv, asr_dev.tsv, asr_test.tsv
                    2013/                   the year, at the id's beginning
                        20131007-0900-PLENARY-7-de_20131007-17_05_27_1.ogg

    The lists have the columns ``id``, ``raw_text`` (as it is printed, with marks;
    often empty), ``normalized_text``, ``speaker_id`` ("None" if unknown), ``split``,
    ``gender``.

    Layout after ``voxpopuli/get_asr_data.py`` of facebookresearch/voxpopuli.

    Arguments
    ---------
    data_folder : path-like
        The folder ``voxpopuli``, ``transcribed_data`` in it, or that of a language.
    language : str or None
        Which, where there are several: "de".
    text : str
        Which transcript: "normalized" or "raw". Where the raw one is empty, the
        utterance is left out.

    Raises
    ------
    FileNotFoundError
        If there is no language.
    ValueError
        If there are several, and none is named; or no such transcript.
    """

    def __init__(
        self,
        data_folder: str | os.PathLike[str],
        language: str | None = None,
        text: str = "normalized",
    ) -> None:
        super().__init__(data_folder)
        if text not in _COLUMNS:
            raise ValueError(f"text: '{text}' is none of {', '.join(_COLUMNS)}")
        self.text = text
        if not any(self.folder.glob("asr_*.tsv")):
            root = self.folder / "transcribed_data"
            root = root if root.is_dir() else self.folder
            having = [path for path in root.iterdir() if any(path.glob("asr_*.tsv"))]
            folders = {path.name: path for path in having}
            self.folder = choose_folder(
                "language",
                language,
                folders,
                root,
                "language, a folder with asr_*.tsv,",
            )
        # As de, or en_accented.
        self.language = language_of(self.folder.resolve().name.partition("_")[0])

    def splits(self) -> list[str]:
        return sorted(
            path.stem.removeprefix("asr_") for path in self.folder.glob("asr_*.tsv")
        )

    def utterances(self, split: str) -> Iterator[Utterance]:
        path = self.folder / f"asr_{split}.tsv"
        column = _COLUMNS[self.text]
        left_out = 0
        for row in read_table(path, ["id", column, "speaker_id"]):
            if row.problem:
                yield bad_line(path, row.number, row.problem)
                continue
            name, text = row.cells["id"].strip(), row.cells[column]
            if self.text == "raw" and not text.strip():
                left_out += 1
                continue
            speaker = row.cells["speaker_id"].strip()
            known = speaker and speaker != "None"
            yield Utterance(
                name,
                str(self._audio(name)),
                text,
                speaker if known else UNKNOWN_SPEAKER,
            )
        if left_out:
            logger.info("%s: %d left out, without raw text", path, left_out)

    def _audio(self, name: str) -> pathlib.Path:
        """Where an utterance lies: published as Ogg, and converted by some to WAV."""
        ogg = self.folder / name[:4] / f"{name}.ogg"
        wav = ogg.with_suffix(".wav")
        return wav if not ogg.exists() and wav.exists() else ogg
