"""sWUGGY and sBLIMP: which of two recordings is a word, or a sentence."""

import csv
import io

from ssr_plugin.data.audio_headers import audio_files
from ssr_plugin.data.datasets import read_text
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceTask
from ssr_plugin.evaluation.harness.items import Item, Spoken, draw_names
from ssr_plugin.tts.text_normalization import transcript_of


class SWUGGY(ChoiceTask):
    """Spot-the-word of ZeroSpeech 2021 (Nguyen et al., arXiv 2011.11588).

    The layout: ``lexical/dev/`` with ``gold.csv`` (columns ``id``, ``filename``,
    ``voice``, ``word``, ``phones`` and ``correct``, among others) and the recordings.
    Each pair is spoken in several voices, which count as one item in the intervals. A
    non-word is not spelled there: it has phones alone, so that only what needs no
    transcript can be measured (predicted, cascade).

    Arguments
    ---------
    data : path-like
        The folder that holds ``lexical``.
    split : str
    max_items : int or None
        Only so many, drawn at random but always the same.
    rule : str or None
        Of :class:`ChoiceTask`.
    """

    name = "swuggy"
    rule = "mean"
    part = "lexical"
    column = "word"
    pair: tuple[str, ...] = ("id", "voice")
    about = (
        "Both recordings are heard and each is scored as it is heard: by the tokens of "
        "its transcript (forced) or those that its vectors read as (predicted), each "
        "given the vectors before it; the cascade by its hypothesis as text. Without a "
        "transcript nothing is forced or read as text. sWUGGY of "
        "ZeroSpeech 2021, arXiv 2011.11588; ties as half as there."
    )

    def __init__(self, data, split="dev", max_items=None, rule=None):
        super().__init__(rule)
        self.folder = self.find_data(data) / self.part / split
        self.max_items = max_items

    def items(self, align):
        """See :meth:`Task.items`."""
        pairs = {}
        for number, row in self._rows():
            key = "-".join(row[name].strip() for name in self.pair)
            right = row["correct"].strip()
            if right not in ("0", "1") or right in pairs.setdefault(key, {}):
                raise ValueError(
                    f"{self.folder / 'gold.csv'}, line {number}: a pair has one row "
                    f"with correct 1 and one with 0; that of {key} has not"
                )
            pairs[key][right] = row
        names = [key for key, rows in pairs.items() if len(rows) == 2]
        self.notes = [f"{len(pairs) - len(names)} rows without a partner"]
        if len(names) == len(pairs):
            self.notes = []
        chosen = draw_names(names, self.max_items)
        files = {path.stem: str(path) for path in audio_files(self.folder)}
        return [self._item(name, pairs[name], files) for name in chosen]

    def _rows(self):
        """The lines of the table, with their numbers."""
        path = self.folder / "gold.csv"
        if not path.is_file():
            raise ValueError(f"data: there is no {path}")
        table = csv.DictReader(io.StringIO(read_text(path), newline=""))
        wanted = {*self.pair, "filename", "correct", self.column}
        lacking = sorted(wanted - set(table.fieldnames or []))
        if lacking:
            raise ValueError(f"{path} has no column {', '.join(lacking)}")
        for row in table:
            yield table.line_num, row

    def _item(self, name, pair, files):
        choices = []
        for right in "10":
            row = pair[right]
            stem = row["filename"].strip().removesuffix(".wav")
            if stem not in files:
                raise ValueError(f"data: there is no recording {stem} in {self.folder}")
            text = transcript_of(row[self.column])
            phones = None if text else row.get("phones")
            choices.append(Spoken(text, files[stem], written=phones))
        cluster = "-".join(pair["1"][x].strip() for x in self.pair if x != "voice")
        return Item(name, (), tuple(choices), answer=0, cluster=cluster)


class SBLIMP(SWUGGY):
    """Acceptability of ZeroSpeech 2021 (Nguyen et al., arXiv 2011.11588).

    The layout: ``syntactic/dev/`` with ``gold.csv`` (columns ``id``, ``type``,
    ``subtype``, ``filename``, ``voice``, ``correct`` and ``transcription``) and the
    recordings.

    Arguments
    ---------
    data, split, max_items, rule
        Of :class:`SWUGGY`.
    """

    name = "sblimp"
    part = "syntactic"
    column = "transcription"
    pair = ("type", "subtype", "id", "voice")
    about = SWUGGY.about.replace("sWUGGY", "sBLIMP")
