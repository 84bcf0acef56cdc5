"""The command ``ssr``: transcribe, generate, align, embed, train and more in a shell.

Each subcommand is the module of its name: see :mod:`ssr_plugin.cli.parser`.
"""

import os
import sys
from collections.abc import Sequence

from ssr_plugin.cli.parser import make_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Arguments
    ---------
    argv : list of str or None
        Arguments; by default those of the process.

    Returns
    -------
    int
        Exit status: 1 if some recordings had to be left out, which the log names.

    Raises
    ------
    SystemExit
        With only the message, if the user's input is wrong.

    Example
    -------
    >>> main(["transcribe", "a.wav", "--model", "/no/such/folder"])
    Traceback (most recent call last):
        ...
    SystemExit: error: there is no folder '/no/such/folder'
    """
    parser = make_parser()
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        hint = ": the YAML comes first" if "words" in options else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    # Imported late: help does not need it.
    import logging

    from ssr_plugin.problems import TooManyProblems, explain_full_disk

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        problems = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader closed the pipe (head); nothing can be flushed at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except (OSError, ValueError, ImportError, TooManyProblems) as error:
        raise SystemExit(f"error: {explain_full_disk(error) or error}") from error
    except Exception as error:
        explanation = explain_full_disk(error)
        if explanation is None:
            raise
        raise SystemExit(f"error: {explanation}") from error
    if problems:
        print(f"error: {len(problems)} left out", file=sys.stderr)
    return 1 if problems else 0
