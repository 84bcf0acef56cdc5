"""The parser of the command ``ssr``: its subcommands, put together.

A subcommand is a module of this package, named in :data:`COMMANDS`. It says what it is
for (``SUMMARY``, a line) and how it is used (``USAGE``). It has
``add_arguments(parser)`` and ``run(options)``, which returns the recordings that were
left out, if any. What is slow to import, such as torch, is imported where it is used:
``ssr --help`` imports every subcommand.
"""

import argparse
import importlib

from ssr_plugin import __version__

#: In the order in which they are shown.
COMMANDS = (
    "transcribe",
    "generate",
    "align",
    "embed",
    "export",
    "speak",
    "convert",
    "new",
    "plan",
    "prepare",
    "train",
    "evaluate",
    "demo",
    "compare",
    "pool",
)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands.

    Returns
    -------
    argparse.ArgumentParser

    Example
    -------
    >>> options = make_parser().parse_args(["transcribe", "a.wav", "--json"])
    >>> options.command, options.files, options.json
    ('transcribe', ['a.wav'], True)
    """
    parser = argparse.ArgumentParser(
        prog="ssr",
        description="Speech read by a text LLM (SSR-Connector).",
        epilog="ssr COMMAND --help tells more, with examples.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"ssr_plugin.cli.{name}")
        summary = module.SUMMARY
        subparser = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.\n{module.USAGE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser
