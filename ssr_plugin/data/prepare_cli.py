"""The command line of a recipe's ``prepare.py``: preparing without training."""

import argparse
import logging

from ruamel.yaml import YAML

from ssr_plugin.data.prepare import prepare, read_manifest
from ssr_plugin.problems import errors_in_one_line


def prepare_command(dataset_class, argv=None):
    """Prepares a data set and prints the size of each manifest.

    Arguments
    ---------
    dataset_class : type
        A subclass of :class:`ssr_plugin.data.datasets.DataSet`.
    argv : list of str, optional
        Arguments; by default those of the process.

    Raises
    ------
    SystemExit
        With the message of the error, where the data or the arguments are bad.
    """
    parser = argparse.ArgumentParser(
        description=f"Writes the manifests of {dataset_class.__name__}.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("data_folder", help="where the data set lies")
    parser.add_argument("save_folder", help="where the manifests go")
    for kind, default in (
        ("train", ["train*"]),
        ("valid", ["valid*", "dev*"]),
        ("test", ["test*"]),
    ):
        parser.add_argument(
            f"--{kind}_splits", nargs="*", default=default, help="names or globs"
        )
    parser.add_argument("--seed", type=int, default=1234, help="picks who is held out")
    parser.add_argument(
        "--valid_share",
        type=float,
        default=0.05,
        help="share of the hours held out where there is no validation split",
    )
    parser.add_argument(
        "--valid_fold",
        metavar="K/N",
        help="hold out the k-th of n groups of speakers in place of that share",
    )
    parser.add_argument(
        "--max_skipped_share",
        type=float,
        default=0.01,
        help="share of bad utterances beyond which the run stops",
    )
    parser.add_argument("--num_workers", type=int, help="threads that read headers")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the data set; may be repeated",
    )
    options = vars(parser.parse_args(argv))

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with errors_in_one_line():
        own = read_options(options.pop("option"), "--option")
        if own:
            from ssr_plugin.build import check_options

            check_options("data set", dataset_class.__name__, dataset_class, own)
        dataset = dataset_class(options.pop("data_folder"), **own)
        manifests = prepare(dataset, **options)
    for path in (manifests.train, manifests.valid, *manifests.tests.values()):
        rows = read_manifest(path).values()
        hours = sum(row["duration"] for row in rows) / 3600
        print(f"{path}: {len(rows)} utterances, {hours:.2f} h")
    print(f"skipped: {sum(map(len, manifests.skipped.values()))}")


def read_options(words, name):
    """Options of a data set, as a command line gives them.

    Arguments
    ---------
    words : list of str
        "key=value" each, the value as in a YAML.
    name : str
        What the user knows them by, for messages.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If one is of another form.

    Example
    -------
    >>> read_options(["min_up_votes=2", "columns={text: said}"], "--option")
    {'min_up_votes': 2, 'columns': {'text': 'said'}}
    """
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{name} '{word}' is not of the form KEY=VALUE")
        options[key] = YAML(typ="safe").load(value)
    return options
