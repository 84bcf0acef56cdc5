"""Aligns a manifest from the command line, so that shards can run side by side.

    python -m ssr_plugin.alignment.align_manifest train.csv --aligner pocketsphinx \\
        --cache_folder cache/alignments --shard 1/4

Any other ``--key value`` is an option of the aligner. A later call, or a training run,
with the same cache folder finds what is done.
"""

import argparse
import inspect
import logging

import yaml

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.number_aligner import with_number_words
from ssr_plugin.build import check_required
from ssr_plugin.data.manifest import read_manifest
from ssr_plugin.problems import TooManyProblems
from ssr_plugin.registry import get_registry


def make_aligner(name, options):
    """The aligner of that name, with options as a command line gives them.

    Arguments
    ---------
    name : str
        As registered.
    options : list of str
        "--key", "value", ...; values are read as YAML reads them.

    Returns
    -------
    Aligner

    Raises
    ------
    ValueError
        If the aligner has no such option; the message lists those it has.

    Example
    -------
    >>> make_aligner("pocketsphinx", []).name
    'pocketsphinx'
    >>> make_aligner("pocketsphinx", ["--speed", "9"])
    Traceback (most recent call last):
        ...
    ValueError: aligner 'pocketsphinx' has no option 'speed'; it has none
    """
    make = get_registry().aligners.get(name)
    parameters = list(inspect.signature(make).parameters)
    values = {}
    for key, value in zip(options[::2], options[1::2] + [None], strict=False):
        if not key.startswith("--") or value is None:
            raise ValueError(f"'{key}' is not of the form --key value")
        if key[2:] not in parameters:
            raise ValueError(
                f"aligner '{name}' has no option '{key[2:]}'; "
                f"it has {', '.join(parameters) or 'none'}"
            )
        values[key[2:]] = yaml.safe_load(value)
    check_required("aligner", name, make, values)
    return make(**values)


def main(argv=None):
    """The command; see the head of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m ssr_plugin.alignment.align_manifest",
        description="Aligns the utterances of a manifest (CSV: ID, wav, wrd, ...). "
        "Any other --key value is an option of the aligner.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("manifest", nargs="+", help="CSV, as a recipe prepares it")
    parser.add_argument("--aligner", default="pocketsphinx", help="a registered name")
    parser.add_argument("--cache_folder", required=True, help="where alignments go")
    parser.add_argument("--shard", default="1/1", help="k/n: only the k-th of n shares")
    parser.add_argument("--num_workers", type=int, help="processes; default all cores")
    parser.add_argument(
        "--max_skipped_share",
        type=float,
        default=0.01,
        help="share of failed utterances beyond which it ends with an error",
    )
    parser.add_argument(
        "--language", help="what is spoken, as in the training run; default English"
    )
    parser.add_argument(
        "--retry_failed", action="store_true", help="try again what failed before"
    )
    options, aligner_options = parser.parse_known_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        aligner = make_aligner(options.aligner, aligner_options)
        aligner = with_number_words(aligner, options.language)
        items = [
            AlignmentItem(id, row["wav"], row["wrd"])
            for path in options.manifest
            for id, row in read_manifest(path).items()
        ]
        alignments, problems = align(
            items,
            aligner,
            options.cache_folder,
            shard=options.shard,
            num_workers=options.num_workers,
            max_skipped_share=options.max_skipped_share,
            retry_failed=options.retry_failed,
        )
    except (OSError, ValueError, ImportError, TooManyProblems) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"aligned: {len(alignments)}, skipped: {len(problems)}")


if __name__ == "__main__":
    main()
