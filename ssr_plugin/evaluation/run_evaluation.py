"""``ssr evaluate`` and every recipe's ``evaluate.py``: a YAML and a data set."""

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from ssr_plugin.data.datasets import DataSet
from ssr_plugin.hparams import parse_command_line
from ssr_plugin.problems import errors_in_one_line


def main(
    dataset_class: type[DataSet] | None = None,
    argv: Sequence[str] | None = None,
    program: str = "evaluate.py",
) -> dict[str, Any]:
    """Evaluates a model on benchmarks and writes a report.

    Arguments
    ---------
    dataset_class : type or None
        A subclass of :class:`ssr_plugin.data.datasets.DataSet`, for those of a corpus.
        None takes the one that the registry has under the YAML's key ``dataset``.
    argv : list of str or None
        The YAML and overrides of its keys, by default those of the command line.
    program : str
        What stands before them, for messages and the report.

    Returns
    -------
    dict
        What is in ``metrics.json``; empty in all processes but the first.

    Raises
    ------
    SystemExit
        With the message alone, where the user's input is at fault.
    """
    if int(os.environ.get("RANK", 0)) > 0:
        # Under torchrun the first process does it all: it is not much.
        return {}
    argv = sys.argv[1:] if argv is None else argv
    with errors_in_one_line():
        job = parse_command_line(argv, program)
        job.require("model", "benchmark_options")
        make_dataset = job.dataset_maker(dataset_class)
        command = shlex.join([*program.split(), *map(str, argv)])
        # Not before: a wrong word is answered at once, without what takes seconds.
        from ssr_plugin.evaluation.evaluate_job import evaluate_job

        return evaluate_job(job, make_dataset, command)
