"""LibriSQA, Part II: questions with four options about what is heard in LibriSpeech."""

import pathlib

from ssr_plugin.data.audio_headers import AUDIO_SUFFIXES
from ssr_plugin.data.datasets import read_text
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.evaluation.harness.lettered_options import (
    option_letters,
    parse_letter,
    parse_options,
)
from ssr_plugin.json_files import JSONError, check_form, parse_json
from ssr_plugin.problems import Problems

_ROW = {"speech_path": str, "question_and_option": str, "answer": str, "text": str}


class LibriSQA(ChoiceBenchmark):
    """LibriSQA, Part II (Zhao et al., arXiv 2308.10390), over LibriSpeech.

    The layout: ``LibriSQA-PartII/LibriSQA-PartII-<split>.json`` of the data set
    ``ZihanZhao/LibriSQA``, objects with ``speech_path``, ``question_and_option``,
    ``answer`` (a letter) and ``text``, among others, in a list or one a line. A
    recording is found in LibriSpeech's folder by the file name in its path.

    Arguments
    ---------
    data : path-like
        Folder that holds ``LibriSQA-PartII``, or a file of it.
    librispeech : path-like
        Folder of LibriSpeech; of ``test`` the split test-clean is needed alone.
    split : str
        "test" or "train".
    max_skipped_share : float
        Of the questions, that may lack options, or the letter of one.
    max_items, metric
        Of :class:`ChoiceBenchmark`.
    """

    name = "librisqa"
    about = (
        "An utterance of LibriSpeech is heard; a question about it, its options and "
        "the letter to choose are text. LibriSQA, Part II, arXiv 2308.10390, whose "
        "models write the letter; here the likeliest one counts."
    )

    def __init__(
        self,
        data,
        librispeech=None,
        split="test",
        max_skipped_share=0.01,
        max_items=None,
        metric=None,
    ):
        super().__init__(metric, max_items)
        self.data = self.find_data(data)
        if librispeech is None:
            raise ValueError(
                "librispeech: name the folder of LibriSpeech (in evaluate.yaml: "
                "benchmark_options, librisqa, librispeech)"
            )
        self.librispeech = pathlib.Path(librispeech)
        self.split = split
        self.max_skipped_share = max_skipped_share

    def docs(self):
        """See :meth:`ChoiceBenchmark.docs`: rows with options, target and recording."""
        path = self._find_file()
        wavs = self._find_recordings()
        problems = Problems("reading librisqa", self.max_skipped_share)
        rows = _read_rows(path)
        docs, lost = {}, []
        for number, row in enumerate(rows, start=1):
            try:
                check_form(row, _ROW)
                options = parse_options(row["question_and_option"])
                target = parse_letter(row["answer"], len(options))
            except ValueError as error:
                problems.add(f"{path.name}, row {number}", error)
                continue
            # Paths of any machine, with its separators.
            utterance = pathlib.PureWindowsPath(row["speech_path"]).stem
            if utterance not in wavs:
                lost.append((number, utterance))
                continue
            docs[f"librisqa-{self.split}-{number:06d}"] = {
                "question": row["question_and_option"].strip(),
                "spoken": SpokenText(" ".join(row["text"].split()), wavs[utterance]),
                "utterance": utterance,
                "options": options,
                "target": target,
            }
        if lost:
            number, utterance = lost[0]
            raise ValueError(
                f"librispeech: '{self.librispeech}' lacks {len(lost)} of the "
                f"recordings that {path} asks about; the first is {utterance}, row "
                f"{number}"
            )
        problems.check(len(rows))
        if len(problems):
            self.notes = [f"{len(problems)} of {len(rows)} rows are no questions"]
        return docs

    def doc_to_text(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_text`."""
        return doc["spoken"], f"\n\n{doc['question']}\nAnswer:"

    def doc_to_choice(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_choice`."""
        return option_letters(len(doc["options"]))

    def doc_to_target(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_target`."""
        return doc["target"]

    def doc_to_cluster(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_cluster`: all about one utterance."""
        return doc["utterance"]

    def _find_file(self):
        if self.data.is_file():
            return self.data
        name = f"LibriSQA-PartII-{self.split}.json"
        for path in (self.data / "LibriSQA-PartII" / name, self.data / name):
            if path.is_file():
                return path
        raise ValueError(f"data: there is no LibriSQA-PartII/{name} in '{self.data}'")

    def _find_recordings(self):
        """The path of each recording by its utterance's id."""
        wavs = {
            path.stem: str(path)
            for path in sorted(self.librispeech.glob("**/*"))
            if path.suffix.lower() in AUDIO_SUFFIXES
        }
        if not wavs:
            raise ValueError(
                f"librispeech: there are no recordings in '{self.librispeech}'"
            )
        return wavs


def _read_rows(path):
    """The objects of a list, or of lines."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        try:
            return parse_json(text, [None])
        except JSONError as error:
            raise ValueError(f"{path}: {error}") from error
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append(parse_json(line))
            except JSONError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    return rows
