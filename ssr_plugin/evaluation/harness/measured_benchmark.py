"""Benchmarks without choices: something is measured of each item."""

from collections.abc import Sequence
from typing import Any

from ssr_plugin.evaluation.harness.benchmark import Benchmark
from ssr_plugin.evaluation.harness.condition import Condition
from ssr_plugin.evaluation.harness.metric import Metric
from ssr_plugin.evaluation.harness.summary import summarise_metric


class MeasuredBenchmark(Benchmark):
    """A set of items, each with a share in one metric or more.

    What :meth:`Benchmark.answer` gives has "metrics": by name of a metric, what the
    item adds to its numerator and denominator. A condition may lack some metrics.

    Attributes
    ----------
    metric_list : tuple of ssr_plugin.evaluation.harness.metric.Metric
    """

    metric_list: tuple[Metric, ...]

    def takes(self, condition: Condition) -> bool:
        """See :meth:`Benchmark.takes`: of nothing, nothing can be measured."""
        return condition.name != condition.unconditional

    def metrics(
        self,
        records: Sequence[dict[str, Any]],
        conditions: Sequence[Condition],
        seed: int,
    ) -> dict[str, dict[str, Any]]:
        """See :meth:`Benchmark.metrics`."""
        summaries = {}
        for metric in self.metric_list:
            summary = summarise_metric(records, conditions, metric, seed)
            if summary["conditions"]:
                same = metric.name == self.name
                title = self.name if same else f"{self.name} {metric.name}"
                summaries[title] = summary
        return summaries
