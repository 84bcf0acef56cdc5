"""Tasks in which an LLM chooses what follows."""

from ssr_plugin.evaluation.harness.benchmark import Task
from ssr_plugin.evaluation.harness.choice_rules import RULES
from ssr_plugin.evaluation.harness.conditions import choose_columns
from ssr_plugin.evaluation.harness.item_scoring import score_items
from ssr_plugin.evaluation.harness.summary import summarise
from ssr_plugin.evaluation.report.examples import show_won_and_lost


class ChoiceTask(Task):
    """A set of items with choices, of which one is right.

    Arguments
    ---------
    rule : str or None
        Another rule of ``choice_rules.RULES`` than the task's own.

    Attributes
    ----------
    ways : tuple of (int or None)
        Among how many choices the right one is to be found, each way reported apart;
        None is all. Fewer are as if drawn at random: the mean over all draws.
    """

    rule = "sum"
    ways: tuple[int | None, ...] = (None,)

    def __init__(self, rule=None):
        self.rule = self.rule if rule is None else rule
        if self.rule not in RULES:
            raise ValueError(f"rule: '{rule}' is none of {', '.join(RULES)}")

    def columns(self, lm, items):
        """See :meth:`Task.columns`."""
        return choose_columns(lm, items)

    def answer(self, lm, items, column, heard, problems):
        """See :meth:`Task.answer`."""
        return score_items(lm, items, column, heard, problems)

    def figures(self, records, columns, seed):
        """See :meth:`Task.figures`."""
        found = {}
        for ways in self.ways:
            title = self.name if ways is None else f"{self.name} {ways}-way"
            found[title] = {
                **summarise(records, columns, self.rule, ways, seed),
                "ways": ways,
                "rule": self.rule,
                "how": f"A choice has the highest {self.rule}: {RULES[self.rule]}; of "
                f"n that tie each counts 1/n.",
            }
        return found

    def examples(self, items, records, count):
        """See :meth:`Task.examples`."""
        return show_won_and_lost(self.name, items, records, self.rule, count)
