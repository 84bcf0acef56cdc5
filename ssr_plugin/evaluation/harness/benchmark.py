"""What every task is: a set of items, how they are answered, and figures of it."""

import abc
import pathlib


class Task(abc.ABC):
    """Yields items from a set's own files. A subclass is registered by name.

    Most are a :class:`ssr_plugin.evaluation.harness.choice_benchmark.ChoiceTask`, or a
    :class:`ssr_plugin.evaluation.harness.measured_benchmark.MeasuredTask`.

    Attributes
    ----------
    name : str
        The name it is registered by.
    reads_corpus : bool
        Whether its items come from a prepared corpus; it then takes ``dataset``,
        ``splits`` and ``seed``.
    about : str
        What is heard, what is scored and where it comes from, in a sentence or two,
        for the report.
    notes : list of str
        What else a reader must know, such as how many items are left out; known once
        the items were read.
    """

    name: str
    reads_corpus = False
    about: str
    notes = ()

    def find_data(self, data):
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
                f"task_options, {self.name}, data)"
            )
        return pathlib.Path(data)

    def settings(self):
        """What changes answers and is in no item, JSON-able."""
        return {}

    @abc.abstractmethod
    def items(self, align):
        """The items, always the same and in the same order.

        Arguments
        ---------
        align : callable
            List of AlignmentItem to a mapping from id to Alignment, in which those that
            cannot be aligned are missing.

        Returns
        -------
        list of Item or Prompt
        """

    @abc.abstractmethod
    def columns(self, lm, items):
        """Which columns a model can give.

        Arguments
        ---------
        lm : ssr_plugin.inference.speech_lm.SpeechLM
        items : list of Item or Prompt

        Returns
        -------
        columns : list of str
        notes : list of str
            Why others are missing.
        """

    @abc.abstractmethod
    def answer(self, lm, items, column, heard, problems):
        """Answers some items in a column, together.

        Arguments
        ---------
        lm : ssr_plugin.inference.speech_lm.SpeechLM
        items : list of Item or Prompt
            One or more.
        column : str
        heard : dict
            Of :func:`ssr_plugin.evaluation.harness.audio_inputs.hear_parts`.
        problems : ssr_plugin.problems.Problems
            Where items are noted that cannot be answered.

        Yields
        ------
        item : Item or Prompt
            The others.
        found : dict
            JSON-able, for its record.
        """

    @abc.abstractmethod
    def figures(self, records, columns, seed):
        """The figures of what was answered.

        Arguments
        ---------
        records : list of dict
            Of ``answer_items``; at least one.
        columns : list of str
        seed : int
            Of the bootstrap.

        Returns
        -------
        dict
            By title, in a word or two: of ``summarise`` or ``summarise_measure``
            (:mod:`ssr_plugin.evaluation.harness.summary`), with "how", a sentence that
            tells how to read them.
        """

    def examples(self, items, records, count):
        """Some items and how they were answered, for the report.

        Arguments
        ---------
        items : list of Item or Prompt
        records : list of dict
        count : int
            How many of each kind.

        Returns
        -------
        list
            Blocks of :mod:`ssr_plugin.evaluation.report.document`.
        """
        return []
