"""MMLU: questions of 57 subjects, each with four answers."""

import csv
import fnmatch
import io
from collections import defaultdict

from ssr_plugin.data.datasets import read_text
from ssr_plugin.evaluation.harness.items import Item, is_heard
from ssr_plugin.evaluation.harness.text_benchmark import TextTask

_LETTERS = "ABCD"
# The split that examples are from.
_SHOWN = "dev"


class MMLU(TextTask):
    """Massive Multitask Language Understanding (Hendrycks et al., arXiv 2009.03300).

    The layout: ``<split>/<subject>_<split>.csv`` without a header (question, four
    answers, the right one's letter), examples in ``dev``; or ``cais/mmlu`` of the
    Hugging Face hub, by ``datasets``. The prompt is that of the LM Evaluation Harness,
    which has one blank before the subject where the original has two.

    Arguments
    ---------
    data : path-like
        Folder, or name of a data set of the hub.
    shots : int
        Examples of the subject before each question, 0 to 5.
    spoken_shots : bool
        Whether the questions of the examples are heard, too, where the question is.
        Those that were not spoken, since they read badly aloud, are text.
    subjects : list of str
        Names or globs.
    split : str
    speech, max_items, rule
        Of :class:`TextTask`.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "test").mkdir()
    >>> _ = (folder / "test" / "law_test.csv").write_text("Who?,he,she,it,they,C\\n")
    >>> (item,) = MMLU(folder).items(align=None)
    >>> item.id, item.choices[item.answer]
    ('mmlu-law-00000', ' C')
    >>> print(item.context[0] + item.context[1].written + item.context[2])
    The following are multiple choice questions (with answers) about law.
    <BLANKLINE>
    Who?
    A. he
    B. she
    C. it
    D. they
    Answer:
    """

    name = "mmlu"

    def __init__(
        self,
        data,
        shots=0,
        spoken_shots=True,
        subjects=("*",),
        split="test",
        speech=None,
        max_items=None,
        rule=None,
    ):
        super().__init__(data, speech, max_items, rule)
        if not 0 <= shots <= 5:
            raise ValueError(f"shots: {shots} is not between 0 and 5")
        self.shots = shots
        self.spoken_shots = spoken_shots
        self.subjects = list(subjects)
        self.split = split
        self._read = {}

    @property
    def about(self):
        """See :class:`Task`."""
        questions = (
            "questions are" if self.shots and self._are_heard() else "question is"
        )
        return (
            f"The {questions} heard, with {self.shots} examples before it; the four "
            f"answers and the letter to choose are text, in the prompt of the LM "
            f"Evaluation Harness (MMLU, arXiv 2009.03300)."
        )

    def _are_heard(self):
        """Whether questions of examples are."""
        return self.spoken_shots and self.speech is not None

    def questions(self):
        """See :meth:`TextTask.questions`."""
        return {
            f"mmlu-{subject}-{number:05d}": (subject, row)
            for subject, rows in self._rows(self.split).items()
            for number, row in enumerate(rows)
        }

    def shown(self):
        """See :meth:`TextTask.shown`."""
        if self.data.is_dir() and not (self.data / _SHOWN).is_dir():
            return {}
        return {
            f"mmlu-{subject}-{_SHOWN}-{number:05d}": (subject, row)
            for subject, rows in self._rows(_SHOWN).items()
            for number, row in enumerate(rows)
        }

    def items(self, align):
        """See :meth:`Task.items`."""
        self._heads = {}
        self._recorded = None
        items = super().items(align)
        if self._recorded is not None and self.shots:
            parts = [part for head in self._heads.values() for part in head]
            used = sum(is_heard(part) for part in parts)
            count = self.shots * len(self._heads)
            self.notes.append(f"{used} of {count} examples are heard, the rest is text")
        return items

    def written(self, question):
        """See :meth:`TextTask.written`."""
        _, (text, *_) = question
        return text

    def item(self, name, question, spoken):
        """See :meth:`TextTask.item`."""
        subject, (_, answers, answer) = question
        if subject not in self._heads:
            self._heads[subject] = self._head(subject)
        return Item(
            name,
            (*self._heads[subject], spoken, _options(answers)),
            tuple(f" {letter}" for letter in _LETTERS),
            answer,
        )

    def _head(self, subject):
        """What comes before each question of a subject."""
        topic = subject.replace("_", " ")
        head = [
            f"The following are multiple choice questions (with answers) about "
            f"{topic}.\n\n"
        ]
        for name, row in self._examples(subject).items():
            text, others, right = row
            wav = self._example_wav(name)
            heard = text if wav is None else self.spoken((subject, row), wav)
            head += [heard, f"{_options(others)} {_LETTERS[right]}\n\n"]
        return head

    def _example_wav(self, name):
        """The recording of an example's question, if it is to be heard."""
        if not self._are_heard():
            return None
        if self._recorded is None:
            self._recorded = self.recordings(self.shown())
        return self._recorded[name]["wav"] if name in self._recorded else None

    def _examples(self, subject):
        """The examples of a subject by id."""
        if not self.shots:
            return {}
        rows = self._rows(_SHOWN).get(subject, [])
        if len(rows) < self.shots:
            raise ValueError(
                f"shots: '{self.data}' has {len(rows)} examples of {subject}, not "
                f"{self.shots}"
            )
        return {
            f"mmlu-{subject}-{_SHOWN}-{number:05d}": row
            for number, row in enumerate(rows[: self.shots])
        }

    def _rows(self, split):
        """Question, answers and the right one's place, by subject."""
        if split not in self._read:
            self._read[split] = self._read_split(split)
        return self._read[split]

    def _read_split(self, split):
        read = self._read_folder if self.data.is_dir() else self._read_hub
        rows = {
            subject: found
            for subject, found in read(split).items()
            if any(fnmatch.fnmatch(subject, pattern) for pattern in self.subjects)
        }
        if not rows:
            raise ValueError(
                f"subjects: nothing in '{self.data}', {split}, is one of "
                f"{', '.join(self.subjects)}"
            )
        return rows

    def _read_folder(self, split):
        paths = sorted((self.data / split).glob(f"*_{split}.csv"))
        if not paths:
            raise ValueError(
                f"data: there is no '{self.data / split}' with *_{split}.csv files"
            )
        return {path.stem.removesuffix(f"_{split}"): _read_csv(path) for path in paths}

    def _read_hub(self, split):
        name = str(self.data)
        try:
            import datasets
        except ImportError as error:
            raise ValueError(
                f"data: there is no folder '{name}', and no package 'datasets' to "
                f"fetch a data set of that name: pip install datasets"
            ) from error
        try:
            table = datasets.load_dataset(name, "all", split=split)
        except Exception as error:
            raise ValueError(
                f"data: '{name}' is neither a folder nor a data set that the Hugging "
                f"Face hub gives: {error}"
            ) from error
        found = defaultdict(list)
        for row in table:
            question = row["question"], list(row["choices"]), int(row["answer"])
            found[row["subject"]].append(question)
        return dict(found)


def _read_csv(path):
    rows = []
    table = csv.reader(io.StringIO(read_text(path), newline=""))
    for number, row in enumerate(table, start=1):
        if len(row) != 6 or row[5].strip() not in _LETTERS:
            raise ValueError(
                f"{path}, row {number}: {len(row)} cells where a question, four "
                f"answers and a letter should be"
            )
        rows.append((row[0].strip(), row[1:5], _LETTERS.index(row[5].strip())))
    return rows


def _options(answers):
    lines = [f"{x}. {text}" for x, text in zip(_LETTERS, answers, strict=True)]
    return "\n" + "\n".join(lines) + "\nAnswer:"
