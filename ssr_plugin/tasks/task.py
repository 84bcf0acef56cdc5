"""What every task is: a set of items, and the rule by which they are scored."""

import abc
import pathlib

from ssr_plugin.tasks.choosing import RULES


class Task(abc.ABC):
    """Yields items from a set's own files. A subclass is registered by name.

    Arguments
    ---------
    rule : str or None
        Another rule of ``ssr_plugin.tasks.choosing.RULES`` than the task's own.

    Attributes
    ----------
    name : str
        The name it is registered by.
    ways : tuple of (int or None)
        Among how many choices the right one is to be found, each way reported apart;
        None is all. Fewer are as if drawn at random: the mean over all draws.
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
    rule = "sum"
    ways = (None,)
    reads_corpus = False
    about: str
    notes = ()

    def __init__(self, rule=None):
        self.rule = self.rule if rule is None else rule
        if self.rule not in RULES:
            raise ValueError(f"rule: '{rule}' is none of {', '.join(RULES)}")

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
        list of Item
        """
