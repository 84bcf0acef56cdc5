"""COPA: which of two alternatives is the cause, or the effect, of what is heard."""

import json

from ssr_plugin.data.datasets import read_text
from ssr_plugin.evaluation.harness.items import Item
from ssr_plugin.evaluation.harness.text_benchmark import TextTask

_JOINTS = {"cause": " because", "effect": " so"}
# SuperGLUE calls the development set val, others dev.
_ALIASES = {"dev": ("dev", "val", "validation")}


class COPA(TextTask):
    """Choice of Plausible Alternatives (Roemmele et al., 2011), SuperGLUE's layout.

    The layout: ``<split>.jsonl``, each line with ``premise``, ``choice1``, ``choice2``,
    ``question`` ("cause" or "effect"), ``label`` and ``idx`` or ``id``.

    Arguments
    ---------
    data : path-like
    split : str
    speech, max_items, rule
        Of :class:`TextTask`.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> row = {"premise": "The sun rose.", "choice1": "It was day.", "choice2": "No.",
    ...     "question": "effect", "label": 0, "idx": 7}
    >>> _ = (folder / "val.jsonl").write_text(json.dumps(row))
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

    def __init__(self, data, split="dev", speech=None, max_items=None, rule=None):
        super().__init__(data, speech, max_items, rule)
        self.split = split

    def questions(self):
        """See :meth:`TextTask.questions`."""
        names = [f"{name}.jsonl" for name in _ALIASES.get(self.split, (self.split,))]
        paths = [self.data / name for name in names if (self.data / name).is_file()]
        if not paths:
            raise ValueError(f"data: no {' or '.join(names)} in '{self.data}'")
        questions = {}
        lines = read_text(paths[0]).splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                place = row["idx"] if "idx" in row else row["id"]
                question = {
                    "premise": row["premise"].strip().removesuffix("."),
                    "joint": _JOINTS[row["question"]],
                    "choices": (row["choice1"], row["choice2"]),
                    "answer": int(row["label"]),
                }
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{paths[0]}, line {number} is no question of COPA: "
                    f"{type(error).__name__}: {error}"
                ) from error
            questions[f"copa-{self.split}-{place}"] = question
        return questions

    def written(self, question):
        """See :meth:`TextTask.written`."""
        return question["premise"]

    def item(self, name, question, spoken):
        """See :meth:`TextTask.item`."""
        choices = (" " + c[:1].lower() + c[1:] for c in question["choices"])
        return Item(
            name, (spoken, question["joint"]), tuple(choices), question["answer"]
        )
