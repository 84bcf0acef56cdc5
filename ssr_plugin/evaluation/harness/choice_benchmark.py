"""Benchmarks in which an LLM chooses what follows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ssr_plugin.data.subsets import draw_names
from ssr_plugin.evaluation.harness.audio_inputs import SpeechInputs
from ssr_plugin.evaluation.harness.benchmark import Align, Benchmark
from ssr_plugin.evaluation.harness.choice_metrics import CHOICE_METRICS
from ssr_plugin.evaluation.harness.condition import Condition
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.item_scoring import score_items
from ssr_plugin.evaluation.harness.items import ChoiceItem, Content, Item
from ssr_plugin.evaluation.harness.summary import summarise_choices
from ssr_plugin.evaluation.report.examples import show_won_and_lost
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.problems import Problems


class ChoiceBenchmark(Benchmark):
    """A set of items with choices, of which one is right.

    A subclass gives the documents of its set (:meth:`docs`), and of each its text,
    choices and target, as a task of the LM Evaluation Harness does.

    Arguments
    ---------
    metric : str or None
        Another one of ``choice_metrics.CHOICE_METRICS`` than the benchmark's own:
        "acc", "acc_norm" or "pmi".
    max_items : int or None
        Only so many, drawn at random but always the same.

    Attributes
    ----------
    num_choices : tuple of (int or None)
        Among how many choices the right one is to be found, each number reported apart;
        None is all. Fewer are as if drawn at random: the mean over all draws.
    """

    metric: str = "acc"
    num_choices: tuple[int | None, ...] = (None,)

    def __init__(self, metric: str | None = None, max_items: int | None = None) -> None:
        self.metric = self.metric if metric is None else metric
        if self.metric not in CHOICE_METRICS:
            raise ValueError(
                f"metric: '{metric}' is none of {', '.join(CHOICE_METRICS)}"
            )
        self.max_items = max_items

    # --- What a subclass declares ----------------------------------------------------

    def docs(self) -> Mapping[str, Any]:
        """The documents of the set.

        Returns
        -------
        dict
            By id whatever the subclass makes of them.
        """
        raise NotImplementedError

    def doc_to_text(self, doc: Any) -> Sequence[Content]:
        """What the LLM reads before it chooses."""
        raise NotImplementedError

    def doc_to_choice(self, doc: Any) -> Sequence[Content]:
        """What it chooses among."""
        raise NotImplementedError

    def doc_to_target(self, doc: Any) -> int:
        """Which choice is right; the first, unless a subclass says otherwise."""
        return 0

    def doc_to_cluster(self, doc: Any) -> str | None:
        """Of :class:`ssr_plugin.evaluation.harness.items.Item`."""
        return None

    # --- What comes of it ------------------------------------------------------------

    def items(self, align: Align) -> list[Item]:
        """See :meth:`Benchmark.items`."""
        self.notes = []
        docs = self.docs()
        return [self.item(name, docs[name]) for name in self.draw(docs)]

    def item(self, name: str, doc: Any) -> ChoiceItem:
        """A document as an item."""
        return ChoiceItem(
            name,
            tuple(self.doc_to_text(doc)),
            tuple(self.doc_to_choice(doc)),
            self.doc_to_target(doc),
            cluster=self.doc_to_cluster(doc),
        )

    def draw(self, names: Iterable[str]) -> list[str]:
        """The ids that are used."""
        drawn: list[str] = draw_names(names, self.max_items)
        return drawn

    def partners(
        self,
        conditions: Sequence[Condition],
        lm: SpeechLM | None,
        items: Sequence[Item],
    ) -> list[Condition]:
        """See :meth:`Benchmark.partners`: those that ``pmi`` takes off."""
        if lm is None:
            raise ValueError(f"{self.name} needs a model")
        names = {x.unconditional for x in conditions} - {x.name for x in conditions}
        reasons = {x: x.why_unavailable(lm, items) for x in make_conditions(names)}
        for condition, reason in reasons.items():
            if reason is not None and self.metric == "pmi":
                raise ValueError(
                    f"metric: pmi takes off what '{condition.name}' gives, and {reason}"
                )
        return [condition for condition, reason in reasons.items() if reason is None]

    def answer(
        self,
        lm: SpeechLM,
        items: Sequence[Item],
        condition: Condition,
        inputs: SpeechInputs,
        problems: Problems,
    ) -> Iterator[tuple[Item, dict[str, Any]]]:
        """See :meth:`Benchmark.answer`."""
        return score_items(lm, items, condition, inputs, problems)

    def metrics(
        self,
        records: Sequence[dict[str, Any]],
        conditions: Sequence[Condition],
        seed: int,
    ) -> dict[str, dict[str, Any]]:
        """See :meth:`Benchmark.metrics`."""
        summaries = {}
        for number in self.num_choices:
            title = self.name if number is None else f"{self.name} {number}-way"
            summaries[title] = summarise_choices(
                records, conditions, self.metric, number, seed
            )
        return summaries

    def examples(
        self, items: Sequence[Item], records: Sequence[dict[str, Any]], count: int
    ) -> list[Any]:
        """See :meth:`Benchmark.examples`."""
        blocks: list[Any] = show_won_and_lost(
            self.name, items, records, self.metric, count
        )
        return blocks
