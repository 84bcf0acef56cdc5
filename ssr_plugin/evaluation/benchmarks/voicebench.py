"""VoiceBench's multiple-choice sets: questions that are heard with their options."""

import fnmatch
import re

from ssr_plugin.data.hugging_face import HuggingFaceDataSet
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.evaluation.harness.lettered_options import (
    option_letters,
    parse_letter,
    parse_options,
)
from ssr_plugin.problems import Problems
from ssr_plugin.tts.text_normalization import transcript_of

# "mmsu/physics-00000-of-00001.parquet" has rows of the split physics.
_SHARD = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}")
_FORMS = ("letter", "text")


class VoiceBenchOpenBookQA(ChoiceBenchmark):
    """OpenBookQA of VoiceBench (Chen et al., arXiv 2410.17196).

    The layout: ``openbookqa/test-*.parquet`` of the data set ``hlt-lab/voicebench``,
    with the columns ``audio``, ``prompt`` (what is said: a question and its options,
    one a line with its letter) and ``reference`` (a letter). It is read by the package
    ``datasets``.

    VoiceBench lets a model write, and looks for a letter in what it wrote. Here the
    likeliest answer counts, as of all benchmarks with choices: no answer is lost for
    its form, and figures are not those of VoiceBench's leaderboard.

    Arguments
    ---------
    data : path-like
        Folder of a snapshot, or the data set's name on the Hugging Face hub.
    answer : str
        What is scored after "Answer:": the "letter" of an option, or its "text".
    max_skipped_share : float
        Of the questions, that may lack options, or the letter of one.
    max_items, metric
        Of :class:`ChoiceBenchmark`.
    """

    name = "voicebench_openbookqa"
    subset = "openbookqa"

    def __init__(
        self,
        data,
        answer="letter",
        max_skipped_share=0.01,
        max_items=None,
        metric=None,
    ):
        super().__init__(metric, max_items)
        if answer not in _FORMS:
            raise ValueError(f"answer: '{answer}' is none of {', '.join(_FORMS)}")
        self.data = self.find_data(data)
        self.answer_form = answer
        self.max_skipped_share = max_skipped_share

    @property
    def about(self):
        """See :class:`Benchmark`."""
        return (
            f"The question is heard with its options; the {self.answer_form} of the "
            f"likeliest option, after 'Answer:', is the answer. No judge, and nothing "
            f"is written. VoiceBench's {self.subset}, arXiv 2410.17196."
        )

    def docs(self):
        """See :meth:`ChoiceBenchmark.docs`: prompt, options, target and recording."""
        dataset = self._open()
        problems = Problems(f"reading '{self.data}'", self.max_skipped_share)
        docs, count = {}, 0
        for split in self.choose_splits(dataset.splits()):
            prompts = dataset.column(split, "prompt")
            references = dataset.column(split, "reference")
            rows = zip(dataset.utterances(split), prompts, references, strict=True)
            for number, (utterance, prompt, reference) in enumerate(rows):
                count += 1
                try:
                    options = parse_options(prompt or "")
                    target = parse_letter(reference or "", len(options))
                except ValueError as error:
                    problems.add(f"{self.subset}, {split}, row {number}", error)
                    continue
                docs[f"{self.name}-{split}-{number:05d}"] = {
                    "spoken": SpokenText(
                        transcript_of(prompt), utterance.wav, written=prompt.strip()
                    ),
                    "options": options,
                    "target": target,
                }
        problems.check(count)
        if len(problems):
            self.notes = [f"{len(problems)} of {count} rows are no questions"]
        return docs

    def choose_splits(self, splits):
        """Those of the set that are used."""
        return splits

    def doc_to_text(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_text`."""
        return doc["spoken"], "\nAnswer:"

    def doc_to_choice(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_choice`."""
        if self.answer_form == "text":
            return [f" {option}" for option in doc["options"]]
        return option_letters(len(doc["options"]))

    def doc_to_target(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_target`."""
        return doc["target"]

    def _open(self):
        columns = {"text": "prompt"}
        if not self.data.is_dir():
            return HuggingFaceDataSet(self.data, self.subset, columns=columns)
        folder = self.data / self.subset
        folder = folder if folder.is_dir() else self.data
        # Without the snapshot's README, which lists all subsets, they are found so.
        files: dict[str, list[str]] = {}
        for path in sorted(folder.glob("*.parquet")):
            match = _SHARD.fullmatch(path.stem)
            files.setdefault(match["split"] if match else path.stem, []).append(
                str(path.resolve())
            )
        return HuggingFaceDataSet(folder, data_files=files or None, columns=columns)


class VoiceBenchMMSU(VoiceBenchOpenBookQA):
    """MMSU of VoiceBench: questions of MMLU-Pro in 12 subjects, spoken.

    The layout: ``mmsu/<subject>-*.parquet``, with the columns of
    :class:`VoiceBenchOpenBookQA`; the subjects are the splits. It is another set than
    the MMSU of arXiv 2506.04779.

    Arguments
    ---------
    data, answer, max_skipped_share, max_items, metric
        Of :class:`VoiceBenchOpenBookQA`.
    subjects : list of str
        Names or globs.
    """

    name = "voicebench_mmsu"
    subset = "mmsu"

    def __init__(
        self,
        data,
        answer="letter",
        subjects=("*",),
        max_skipped_share=0.01,
        max_items=None,
        metric=None,
    ):
        super().__init__(data, answer, max_skipped_share, max_items, metric)
        self.subjects = list(subjects)

    def choose_splits(self, splits):
        """Those of the chosen subjects."""
        chosen = [
            split
            for split in splits
            if any(fnmatch.fnmatch(split, pattern) for pattern in self.subjects)
        ]
        if not chosen:
            raise ValueError(
                f"subjects: none of {', '.join(splits)} in '{self.data}' is one of "
                f"{', '.join(self.subjects)}"
            )
        return chosen
