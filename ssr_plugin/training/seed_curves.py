"""Learning curves of several runs that differ in their seed, with a band.

python -m ssr_plugin.training.seed_curves OUTPUT.png results/seed-1 results/seed-2 ...
"""

import argparse
import pathlib

from ssr_plugin.json_files import read_json
from ssr_plugin.metrics.pictures import draw_seed_curves
from ssr_plugin.problems import errors_in_one_line

_HISTORY = "checkpoints/*/history.ckpt"


def read_epochs(folder):
    """The figures of each epoch of a run.

    Arguments
    ---------
    folder : path-like
        A run's ``output_folder``.

    Returns
    -------
    list of dict
        As :attr:`ssr_plugin.training.history.History.epochs`.

    Raises
    ------
    FileNotFoundError
        If it holds no checkpoint.

    Example
    -------
    >>> read_epochs("/no/run")
    Traceback (most recent call last):
        ...
    FileNotFoundError: '/no/run' holds no run with a checkpoint: give output folders of
    hparams/distill.yaml, finetune.yaml or segmenter.yaml
    """
    histories = [
        read_json(path, [dict]) for path in pathlib.Path(folder).glob(_HISTORY)
    ]
    if not histories:
        raise FileNotFoundError(
            f"'{folder}' holds no run with a checkpoint: give output folders of "
            f"hparams/distill.yaml, finetune.yaml or segmenter.yaml"
        )
    # The best and the last are kept: the last knows all epochs.
    return max(histories, key=len)


def main(argv=None):
    """Draws the curves of the runs that a command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m ssr_plugin.training.seed_curves", description=__doc__
    )
    parser.add_argument("output", help="the picture: .png, .svg or .pdf")
    parser.add_argument("folders", nargs="+", help="output folders of the runs")
    options = parser.parse_args(argv)
    with errors_in_one_line():
        runs = [read_epochs(folder) for folder in options.folders]
        draw_seed_curves(options.output, runs)


if __name__ == "__main__":
    main()
