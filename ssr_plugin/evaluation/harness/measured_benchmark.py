"""Tasks without choices: something is measured of each item."""

from ssr_plugin.evaluation.harness.benchmark import Task
from ssr_plugin.evaluation.harness.conditions import choose_columns
from ssr_plugin.evaluation.harness.summary import summarise_measure

# Without what is heard, or as it is written, there is nothing to measure.
_LEFT_OUT = ("none", "written")


class MeasuredTask(Task):
    """A set of items, each with a share in one figure or more.

    What :meth:`Task.answer` finds has "measured": by name of a measure, what the item
    adds above and below its line. A column may lack some measures.

    Attributes
    ----------
    measures : tuple of ssr_plugin.evaluation.harness.measures.Measure
    """

    measures: tuple

    def columns(self, lm, items):
        """See :meth:`Task.columns`."""
        columns, notes = choose_columns(lm, items)
        return [column for column in columns if column not in _LEFT_OUT], notes

    def figures(self, records, columns, seed):
        """See :meth:`Task.figures`."""
        found = {}
        for measure in self.measures:
            figures = summarise_measure(records, columns, measure, seed)
            if figures["columns"]:
                own = measure.name == self.name
                title = self.name if own else f"{self.name} {measure.name}"
                found[title] = {**figures, "how": measure.says}
        return found
