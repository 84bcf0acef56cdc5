"""``ssr train`` and every recipe's ``train.py``: a YAML, a data set, a stage."""

import sys
from collections.abc import Sequence
from typing import Any

from ssr_plugin.data.datasets import DataSet
from ssr_plugin.hparams import parse_command_line
from ssr_plugin.problems import errors_in_one_line
from ssr_plugin.training.stopping import stoppable


def main(
    dataset_class: type[DataSet] | None = None,
    argv: Sequence[str] | None = None,
    program: str = "train.py",
) -> dict[str, Any]:
    """Prepares the data and runs the stage that the YAML describes.

    Arguments
    ---------
    dataset_class : type or None
        A subclass of :class:`ssr_plugin.data.datasets.DataSet`. None takes the one
        that the registry has under the name in the YAML's key ``dataset``.
    argv : list of str or None
        The YAML and overrides of its keys, by default those of the command line.
    program : str
        The command before them, for messages.

    Returns
    -------
    dict
        What the stage returns: its metrics.

    Raises
    ------
    SystemExit
        With only the message, if the user's input is wrong.
    """
    with errors_in_one_line(), stoppable():
        job = parse_command_line(sys.argv[1:] if argv is None else argv, program)
        job.require("stage")
        make_dataset = job.dataset_maker(dataset_class)
        # Not before: a wrong word is answered at once, without what takes seconds.
        from ssr_plugin.training.run_job import run_job

        return run_job(job, make_dataset)
