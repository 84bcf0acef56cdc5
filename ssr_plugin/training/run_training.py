"""The main job that every recipe's ``train.py`` runs: a YAML, a data set, a stage."""

import difflib
import logging
import pathlib
import re
import sys

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ssr_plugin.data.prepare import prepare
from ssr_plugin.problems import TooManyProblems
from ssr_plugin.registry import get_registry

logger = logging.getLogger(__name__)


def main(dataset_class=None, argv=None):
    """Prepares the data and runs the stage that the YAML describes.

    Arguments
    ---------
    dataset_class : type or None
        A subclass of :class:`ssr_plugin.data.datasets.DataSet`. None takes the one
        that the registry has under the name in the YAML's key ``dataset``.
    argv : list of str or None
        The YAML and overrides of its keys, by default those of the command line.

    Returns
    -------
    dict
        What the stage returns: its metrics.

    Raises
    ------
    SystemExit
        With the message alone, where the user's input is at fault.
    """
    hparams_file, run_opts, overrides = sb.parse_arguments(argv or sys.argv[1:])
    sb.utils.distributed.ddp_init_group(run_opts)
    try:
        hparams = load_hparams(hparams_file, overrides)
        sb.create_experiment_directory(
            experiment_directory=hparams["output_folder"],
            hyperparams_to_save=hparams_file,
            overrides=overrides,
        )
        if dataset_class is None:
            dataset_class = get_registry().datasets.get(hparams["dataset"])
        manifests = prepare_on_main(dataset_class(hparams["data_folder"]), hparams)
        return hparams["stage"](hparams, run_opts, manifests)
    except (OSError, ValueError, MemoryError, TooManyProblems) as error:
        logger.debug("The run stopped", exc_info=True)
        raise SystemExit(f"error: {error}") from error


def load_hparams(hparams_file, overrides):
    """Reads a YAML, with overrides of its keys.

    Arguments
    ---------
    hparams_file : path-like
    overrides : str
        YAML, as ``speechbrain.parse_arguments`` gives it.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the YAML has no such key; the message names a similar one.
    """
    try:
        text = pathlib.Path(hparams_file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no YAML '{hparams_file}'") from None
    try:
        given = YAML(typ="safe").load(overrides) or {}
    except YAMLError as error:
        raise ValueError(
            f"the options are no YAML: {' '.join(str(error).split())}"
        ) from error
    known = re.findall(r"^([a-z]\w*):", text, re.MULTILINE)
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean --{close[0]}?" if close else ""
            raise ValueError(f"--{key}: {hparams_file} has no such key{hint}")
    return load_hyperpyyaml(text, given)


def prepare_on_main(dataset, hparams):
    """Prepares in the first process while the others wait; the same for all.

    Arguments
    ---------
    dataset : ssr_plugin.data.datasets.DataSet
    hparams : dict

    Returns
    -------
    ssr_plugin.data.prepare.Manifests
    """

    def run():
        return prepare(
            dataset,
            pathlib.Path(hparams["output_folder"]) / "manifests",
            train_splits=hparams["train_splits"],
            valid_splits=hparams["valid_splits"],
            test_splits=hparams["test_splits"],
            seed=hparams["seed"],
            valid_share=hparams["valid_share"],
            max_skipped_share=hparams["max_skipped_share"],
        )

    # The second call finds what the first process wrote, and is quick.
    sb.utils.distributed.run_on_main(run)
    return run()
