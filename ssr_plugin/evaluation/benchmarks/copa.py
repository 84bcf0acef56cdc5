"""COPA: which of two alternatives is the cause, or the effect, of what is heard."""

from ssr_plugin.evaluation.harness.text_benchmark import TextBenchmark

_CONNECTIVES = {"cause": " because", "effect": " so"}
# SuperGLUE calls the development set val, others dev.
_ALIASES = {"dev": ("dev", "val", "validation")}


class COPA(TextBenchmark):
    """Choice of Plausible Alternatives (Roemmele et al., 2011), SuperGLUE's layout.

    The layout: ``<split>.jsonl``, each line with ``premise``, ``choice1``, ``choice2``,
    ``question`` ("cause" or "effect"), ``label`` and ``idx`` or ``id``.

    Arguments
    ---------
    data : path-like
    split : str
    speech, max_items, metric
        Of :class:`TextBenchmark`.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "val.jsonl").write_text(
    ...     '{"premise": "The sun rose.", "choice1": "It was day.", "choice2": "No.",'
    ...     ' "question": "effect", "label": 0, "idx": 7}'
    ... )
    >>> (item,) = COPA(folder).items(align=None)
    >>> item.id, item.context[0].written, item.context[1], item.choices[0]
    ('copa-dev-7', 'The sun rose', ' so', ' it was day.')
    """

    name = "copa"
    about = (
        'The premise is heard; "because" or "so" and the alternative are text, put '
        'together as the LM Evaluation Harness does, whose word is "therefore" (COPA, '
        "Roemmele et al. 2011)."
    )

    def __init__(self, data, split="dev", speech=None, max_items=None, metric=None):
        super().__init__(data, speech, max_items, metric)
        self.split = split

    def docs(self):
        """See :meth:`ChoiceBenchmark.docs`."""
        names = [f"{name}.jsonl" for name in _ALIASES.get(self.split, (self.split,))]
        paths = [self.data / name for name in names if (self.data / name).is_file()]
        if not paths:
            raise ValueError(f"data: no {' or '.join(names)} in '{self.data}'")

        def name_of(doc):
            return f"copa-{self.split}-{doc['idx'] if 'idx' in doc else doc['id']}"

        return self.read_json_lines(paths[0], name_of)

    def text_to_speak(self, doc):
        """See :meth:`TextBenchmark.text_to_speak`."""
        return doc["premise"].strip().removesuffix(".")

    def doc_to_text(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_text`."""
        return doc["spoken"], _CONNECTIVES[doc["question"]]

    def doc_to_choice(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_choice`."""
        choices = (doc["choice1"], doc["choice2"])
        return [" " + choice[:1].lower() + choice[1:] for choice in choices]

    def doc_to_target(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_target`."""
        return int(doc["label"])
