"""What every benchmark is: a set of items, how they are answered, and its metrics."""

import abc
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.record import Alignment
from ssr_plugin.evaluation.harness.audio_inputs import SpeechInputs
from ssr_plugin.evaluation.harness.condition import Condition
from ssr_plugin.evaluation.harness.conditions import choose_conditions
from ssr_plugin.evaluation.harness.items import Item
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.problems import Problems

#: Aligns utterances: those that cannot be aligned are missing in what it gives, by id.
Align = Callable[[list[AlignmentItem]], Mapping[str, Alignment]]


class Benchmark(abc.ABC):
    """Makes items of a set's own files. A subclass is registered by name.

    Most are a :class:`ssr_plugin.evaluation.harness.choice_benchmark.ChoiceBenchmark`,
    or a :class:`ssr_plugin.evaluation.harness.measured_benchmark.MeasuredBenchmark`.

    Attributes
    ----------
    name : str
        The name it is registered by.
    reads_corpus : bool
        Whether its items come from a prepared corpus; it then takes ``dataset``,
        ``splits`` and ``seed``.
    needs_model : bool
        Whether a model answers. Where no benchmark in use needs one, none is loaded.
    timed : bool
        Whether it is measured how long it takes to hear recordings
        (:meth:`ssr_plugin.evaluation.harness.audio_inputs.SpeechInputs.seconds_of`).
        Each is then encoded anew for each way in which it is heard.
    about : str
        What is heard, what is scored and where it comes from, in a sentence or two,
        for the report.
    notes : list of str
        What else a reader must know, such as how many items are left out; known once
        the items were read.
    """

    name: str
    reads_corpus: bool = False
    needs_model: bool = True
    timed: bool = False
    notes: Sequence[str] = ()

    @property
    def about(self) -> str:
        """See above; most subclasses give a plain string in its place."""
        raise NotImplementedError

    def find_data(self, data: str | pathlib.Path | None) -> pathlib.Path:
        """The folder that a user names, or an error that says how to name it.

        Arguments
        ---------
        data : path-like or None

        Returns
        -------
        pathlib.Path

        Raises
        ------
        ValueError
            If none is named.
        """
        if data is None:
            raise ValueError(
                f"data: name the folder of {self.name} (in evaluate.yaml: "
                f"benchmark_options, {self.name}, data)"
            )
        return pathlib.Path(data)

    def settings(self) -> dict[str, Any]:
        """What changes answers and is in no item, JSON-able."""
        return {}

    @abc.abstractmethod
    def items(self, align: Align) -> list[Item]:
        """The items, always the same and in the same order.

        Arguments
        ---------
        align : callable
            List of AlignmentItem to a mapping from id to Alignment, in which those that
            cannot be aligned are missing.

        Returns
        -------
        list of Item
        """

    def takes(self, condition: Condition) -> bool:
        """Whether a condition makes sense here."""
        return True

    def conditions(
        self, wanted: Iterable[Condition], lm: SpeechLM | None, items: Sequence[Item]
    ) -> tuple[list[Condition], list[str]]:
        """The conditions that are reported.

        Arguments
        ---------
        wanted : list of Condition
            Those that the user asks for.
        lm : ssr_plugin.inference.speech_lm.SpeechLM or None
            None where the benchmark needs no model.
        items : list of Item

        Returns
        -------
        conditions : list of Condition
            Those of them that it takes, and the model can be asked in.
        notes : list of str
            Why others are missing.
        """
        if lm is None:
            raise ValueError(f"{self.name} needs a model")
        return choose_conditions([x for x in wanted if self.takes(x)], lm, items)

    def partners(
        self,
        conditions: Sequence[Condition],
        lm: SpeechLM | None,
        items: Sequence[Item],
    ) -> list[Condition]:
        """Conditions that the reported ones are measured by, answered and not reported.

        Arguments
        ---------
        conditions : list of Condition
            Of :meth:`conditions`.
        lm, items
            As there.

        Returns
        -------
        list of Condition
        """
        return []

    @abc.abstractmethod
    def answer(
        self,
        lm: SpeechLM,
        items: Sequence[Item],
        condition: Condition,
        inputs: SpeechInputs,
        problems: Problems,
    ) -> Iterator[tuple[Item, dict[str, Any]]]:
        """Answers some items in a condition, together.

        Arguments
        ---------
        lm : ssr_plugin.inference.speech_lm.SpeechLM
        items : list of Item
            One or more.
        condition : Condition
        inputs : ssr_plugin.evaluation.harness.audio_inputs.SpeechInputs
            What is heard of them.
        problems : ssr_plugin.problems.Problems
            Where items are noted that cannot be answered.

        Yields
        ------
        item : Item
            The others.
        answer : dict
            JSON-able, for its record.
        """

    @abc.abstractmethod
    def metrics(
        self,
        records: Sequence[dict[str, Any]],
        conditions: Sequence[Condition],
        seed: int,
    ) -> dict[str, dict[str, Any]]:
        """The metrics of what was answered.

        Arguments
        ---------
        records : list of dict
            Of ``answer_items``; at least one.
        conditions : list of Condition
            Those that are reported.
        seed : int
            Of the bootstrap.

        Returns
        -------
        dict
            By title, in a word or two: of ``summarise_choices`` or ``summarise_metric``
            (:mod:`ssr_plugin.evaluation.harness.summary`).
        """

    def examples(
        self, items: Sequence[Item], records: Sequence[dict[str, Any]], count: int
    ) -> list[Any]:
        """Some items and how they were answered, for the report.

        Arguments
        ---------
        items : list of Item
        records : list of dict
        count : int
            How many of each kind.

        Returns
        -------
        list
            Blocks of :mod:`ssr_plugin.evaluation.report.document`.
        """
        return []
