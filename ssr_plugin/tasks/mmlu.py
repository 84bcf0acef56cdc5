"""MMLU: questions of 57 subjects, each with four answers."""

import csv
import fnmatch
import io
from collections import defaultdict

from ssr_plugin.data.datasets import read_text
from ssr_plugin.tasks.items import Item
from ssr_plugin.tasks.text_task import TextTask

_LETTERS = "ABCD"


class MMLU(TextTask):
    """Massive Multitask Language Understanding (Hendrycks et al., arXiv 2009.03300).

    The layout: ``<split>/<subject>_<split>.csv`` without a header (question, four
    answers, the right one's letter), examples in ``dev``; or ``cais/mmlu`` of the
    Hugging Face hub, by ``datasets``.

    Arguments
    ---------
    data : path-like
        Folder, or name of a data set of the hub.
    shots : int
        Examples of the subject before each question, 0 to 5; they are text.
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
        self.subjects = list(subjects)
        self.split = split
        self._read = {}

    @property
    def about(self):
        """See :class:`Task`."""
        return (
            f"The question is heard; {self.shots} examples before it, the four answers "
            f"and the letter to choose are text, in the prompt of the original (MMLU, "
            f"arXiv 2009.03300)."
        )

    def questions(self):
        """See :meth:`TextTask.questions`."""
        return {
            f"mmlu-{subject}-{number:05d}": (subject, row)
            for subject, rows in self._rows(self.split).items()
            for number, row in enumerate(rows)
        }

    def written(self, question):
        """See :meth:`TextTask.written`."""
        _, (text, *_) = question
        return text

    def item(self, name, question, spoken):
        """See :meth:`TextTask.item`."""
        subject, (_, answers, answer) = question
        topic = subject.replace("_", " ")
        head = (
            f"The following are multiple choice questions (with answers) about "
            f"{topic}.\n\n"
        )
        for text, others, right in self._examples(subject):
            head += f"{text}{_options(others)} {_LETTERS[right]}\n\n"
        return Item(
            name,
            (head, spoken, _options(answers)),
            tuple(f" {letter}" for letter in _LETTERS),
            answer,
        )

    def _examples(self, subject):
        if not self.shots:
            return []
        examples = self._rows("dev").get(subject, [])
        if len(examples) < self.shots:
            raise ValueError(
                f"shots: '{self.data}' has {len(examples)} examples of {subject}, not "
                f"{self.shots}"
            )
        return examples[: self.shots]

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
