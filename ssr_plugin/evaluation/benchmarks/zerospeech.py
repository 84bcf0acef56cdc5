"""sWUGGY and sBLIMP: which of two recordings is a word, or a sentence."""

from ssr_plugin.data.audio_headers import audio_files
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.evaluation.harness.set_files import read_csv_dicts
from ssr_plugin.tts.text_normalization import transcript_of


class SWUGGY(ChoiceBenchmark):
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
    max_items, metric
        Of :class:`ChoiceBenchmark`.
    """

    name = "swuggy"
    metric = "acc_norm"
    folder_name = "lexical"
    text_column = "word"
    pair_columns: tuple[str, ...] = ("id", "voice")
    about = (
        "Both recordings are heard and each is scored as it is heard: by the tokens of "
        "its transcript (forced) or those that its vectors read as (predicted), each "
        "given the vectors before it; the cascade by its hypothesis as text. Without a "
        "transcript nothing is forced or read as text. sWUGGY of "
        "ZeroSpeech 2021, arXiv 2011.11588; ties as half as there."
    )

    def __init__(self, data, split="dev", max_items=None, metric=None):
        super().__init__(metric, max_items)
        self.folder = self.find_data(data) / self.folder_name / split

    def docs(self):
        """See :meth:`ChoiceBenchmark.docs`: rows of a pair, the right one first."""
        pairs: dict[str, dict[str, dict[str, str]]] = {}
        path = self.folder / "gold.csv"
        columns = [*self.pair_columns, "filename", "correct", self.text_column]
        for number, row in read_csv_dicts(path, columns):
            key = "-".join(row[name].strip() for name in self.pair_columns)
            right = row["correct"].strip()
            if right not in ("0", "1") or right in pairs.setdefault(key, {}):
                raise ValueError(
                    f"{path}, line {number}: a pair has one row "
                    f"with correct 1 and one with 0; that of {key} has not"
                )
            pairs[key][right] = row
        docs = {k: (x["1"], x["0"]) for k, x in pairs.items() if len(x) == 2}
        if len(docs) < len(pairs):
            self.notes = [f"{len(pairs) - len(docs)} rows without a partner"]
        self._wavs = {path.stem: str(path) for path in audio_files(self.folder)}
        return docs

    def doc_to_text(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_text`: nothing."""
        return ()

    def doc_to_choice(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_choice`."""
        return [self._spoken(row) for row in doc]

    def doc_to_cluster(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_cluster`: the same pair in all voices."""
        return "-".join(doc[0][x].strip() for x in self.pair_columns if x != "voice")

    def _spoken(self, row):
        stem = row["filename"].strip().removesuffix(".wav")
        if stem not in self._wavs:
            raise ValueError(f"data: there is no recording {stem} in {self.folder}")
        text = transcript_of(row[self.text_column])
        phones = None if text else row.get("phones")
        return SpokenText(text, self._wavs[stem], written=phones)


class SBLIMP(SWUGGY):
    """Acceptability of ZeroSpeech 2021 (Nguyen et al., arXiv 2011.11588).

    The layout: ``syntactic/dev/`` with ``gold.csv`` (columns ``id``, ``type``,
    ``subtype``, ``filename``, ``voice``, ``correct`` and ``transcription``) and the
    recordings.

    Arguments
    ---------
    data, split, max_items, metric
        Of :class:`SWUGGY`.
    """

    name = "sblimp"
    folder_name = "syntactic"
    text_column = "transcription"
    pair_columns = ("type", "subtype", "id", "voice")
    about = SWUGGY.about.replace("sWUGGY", "sBLIMP")
