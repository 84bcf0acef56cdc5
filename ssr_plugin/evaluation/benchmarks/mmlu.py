"""MMLU: questions of 57 subjects, each with four answers."""

import fnmatch
from collections import defaultdict

from ssr_plugin.evaluation.harness.items import Content, has_audio
from ssr_plugin.evaluation.harness.set_files import read_csv_rows, read_hub_rows
from ssr_plugin.evaluation.harness.text_benchmark import TextBenchmark

_LETTERS = "ABCD"
# The split that examples are from.
_EXAMPLES = "dev"


class MMLU(TextBenchmark):
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
    speech, max_items, metric
        Of :class:`TextBenchmark`.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "test").mkdir()
    >>> _ = (folder / "test" / "law_test.csv").write_text("Who?,he,she,it,they,C\\n")
    >>> (item,) = MMLU(folder).items(align=None)
    >>> item.id, item.choices[item.target]
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
        metric=None,
    ):
        super().__init__(data, speech, max_items, metric)
        if not 0 <= shots <= 5:
            raise ValueError(f"shots: {shots} is not between 0 and 5")
        self.shots = shots
        self.spoken_shots = spoken_shots
        self.subjects = list(subjects)
        self.split = split
        self._read, self._heads = {}, {}
        self._recorded = None

    @property
    def about(self):
        """See :class:`Benchmark`."""
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

    def docs(self):
        """See :meth:`ChoiceBenchmark.docs`."""
        return {
            f"mmlu-{doc['subject']}-{doc['number']:05d}": doc
            for docs in self._docs_of(self.split).values()
            for doc in docs
        }

    def fewshot_docs(self):
        """See :meth:`TextBenchmark.fewshot_docs`."""
        if self.data.is_dir() and not (self.data / _EXAMPLES).is_dir():
            return {}
        return {
            _example_name(doc): doc
            for docs in self._docs_of(_EXAMPLES).values()
            for doc in docs
        }

    def items(self, align):
        """See :meth:`Benchmark.items`."""
        items = super().items(align)
        if self._recorded is not None and self.shots:
            heads = self._heads.values()
            used = sum(has_audio(content) for head in heads for content in head)
            count = self.shots * len(self._heads)
            note = f"{used} of {count} examples are heard, the rest is text"
            self.notes = [*self.notes, note]
        return items

    def text_to_speak(self, doc):
        """See :meth:`TextBenchmark.text_to_speak`."""
        return doc["question"]

    def doc_to_text(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_text`."""
        return *self._head(doc["subject"]), doc["spoken"], _options(doc["choices"])

    def doc_to_choice(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_choice`."""
        return [f" {letter}" for letter in _LETTERS]

    def doc_to_target(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_target`."""
        return doc["answer"]

    def _head(self, subject):
        """What comes before each question of a subject."""
        if subject not in self._heads:
            head: list[Content] = [
                f"The following are multiple choice questions (with answers) about "
                f"{subject.replace('_', ' ')}.\n\n"
            ]
            for doc in self._examples(subject):
                wav = self._example_wav(_example_name(doc))
                head += [
                    doc["question"] if wav is None else self.spoken(doc, wav),
                    f"{_options(doc['choices'])} {_LETTERS[doc['answer']]}\n\n",
                ]
            self._heads[subject] = head
        return self._heads[subject]

    def _example_wav(self, name):
        """The recording of an example's question, if it is to be heard."""
        if not self._are_heard():
            return None
        if self._recorded is None:
            self._recorded = self.recordings(self.fewshot_docs())
        return self._recorded[name]["wav"] if name in self._recorded else None

    def _examples(self, subject):
        """The examples of a subject that come before its questions."""
        if not self.shots:
            return []
        docs = self._docs_of(_EXAMPLES).get(subject, [])
        if len(docs) < self.shots:
            raise ValueError(
                f"shots: '{self.data}' has {len(docs)} examples of {subject}, not "
                f"{self.shots}"
            )
        return docs[: self.shots]

    def _docs_of(self, split):
        """The documents of a split by subject, read once."""
        if split not in self._read:
            self._read[split] = self._read_split(split)
        return self._read[split]

    def _read_split(self, split):
        read = self._read_folder if self.data.is_dir() else self._read_hub
        docs = {
            subject: [
                {"subject": subject, "number": number, **doc}
                for number, doc in enumerate(own)
            ]
            for subject, own in read(split).items()
            if any(fnmatch.fnmatch(subject, pattern) for pattern in self.subjects)
        }
        if not docs:
            raise ValueError(
                f"subjects: nothing in '{self.data}', {split}, is one of "
                f"{', '.join(self.subjects)}"
            )
        return docs

    def _read_folder(self, split):
        paths = sorted((self.data / split).glob(f"*_{split}.csv"))
        if not paths:
            raise ValueError(
                f"data: there is no '{self.data / split}' with *_{split}.csv files"
            )
        return {path.stem.removesuffix(f"_{split}"): _read_csv(path) for path in paths}

    def _read_hub(self, split):
        docs = defaultdict(list)
        for row in read_hub_rows(str(self.data), "all", split):
            docs[row["subject"]].append(
                {
                    "question": row["question"],
                    "choices": list(row["choices"]),
                    "answer": int(row["answer"]),
                }
            )
        return dict(docs)


def _example_name(doc):
    return f"mmlu-{doc['subject']}-{_EXAMPLES}-{doc['number']:05d}"


def _read_csv(path):
    docs = []
    for number, row in read_csv_rows(path):
        if len(row) != 6 or row[5].strip() not in _LETTERS:
            raise ValueError(
                f"{path}, row {number}: {len(row)} cells where a question, four "
                f"answers and a letter should be"
            )
        docs.append(
            {
                "question": row[0].strip(),
                "choices": row[1:5],
                "answer": _LETTERS.index(row[5].strip()),
            }
        )
    return docs


def _options(choices):
    lines = [f"{x}. {text}" for x, text in zip(_LETTERS, choices, strict=True)]
    return "\n" + "\n".join(lines) + "\nAnswer:"
