"""What every task is: a set of items, and the rule by which they are scored."""

import abc


class Task(abc.ABC):
    """Yields items from a set's own files. A subclass is registered by name.

    Attributes
    ----------
    name : str
        The name it is registered by.
    per_token : bool
        Whether a choice's log-likelihood is divided by the number of its tokens.
    ways : tuple of (int or None)
        Among how many choices the right one is to be found, each way reported apart;
        None is all. Fewer are as if drawn at random: the mean over all draws.
    reads_corpus : bool
        Whether its items come from a prepared corpus; it then takes ``dataset``,
        ``splits`` and ``seed``.
    about : str
        What is heard, what is scored and where the rule comes from, in a sentence or
        two, for the report.
    notes : list of str
        What else a reader must know, such as how many items are left out; known once
        the items were read.
    """

    name: str
    per_token = False
    ways = (None,)
    reads_corpus = False
    about: str
    notes = ()

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

    def rule(self):
        """How a choice is scored, for the report.

        Returns
        -------
        str
        """
        total = "mean" if self.per_token else "sum"
        return (
            f"the choice with the highest {total} of its tokens' log-likelihoods; of n "
            f"that tie each counts 1/n"
        )
