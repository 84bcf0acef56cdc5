"""The commands and the Python of a page of the documentation, as its readers run them.

What a page tells to run stands in fenced blocks: commands in those without a language,
or of ``bash`` or ``console`` (there behind ``$``), Python in those of ``python``. Left
out is what a reader must first put something of their own into. By the convention that
``docs/index.md`` tells, that is what names

- ``/data/...``, ``talk.wav``, ``call.wav``, ``talks/``, ``my_...`` or ``me/...``;
- in a command, a word in capitals, such as ``MODEL`` or ``DATA_FOLDER``;
- a model or data set of the hub, ``owner/name``, where no folder of the project and
  none that commands write to is called ``owner``;
- a server on this machine, ``localhost``.
"""

import json
import pathlib
import re
import shlex
import textwrap

PROJECT = pathlib.Path(__file__).parents[1]
README = PROJECT / "README.md"

# Folders that commands write to.
_WRITTEN = {"results", "speech"}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_YOURS = re.compile(
    r"/data/|\b(talk|call)\.wav\b|\btalks/|\bmy_\w|\bme/\w|\blocalhost\b"
)
_PLACEHOLDER = re.compile(r"(?<![\w$-])[A-Z][A-Z_]{2,}(?![\w-])")
_HUB_ID = re.compile(r"(?<![\w./-])([\w-]+)/[\w-][\w.-]*(?:@\w+)?(?![\w./-])")


def blocks(page):
    """The fenced blocks of a page.

    Arguments
    ---------
    page : path-like or str
        A Markdown file, or its text.

    Returns
    -------
    list of (str, str)
        Language, which may be "", and text of each.
    """
    text = page.read_text(encoding="utf-8") if isinstance(page, pathlib.Path) else page
    return [(kind, textwrap.dedent(body)) for _, kind, body in _FENCE.findall(text)]


def is_yours(text):
    """Whether a command or a block of Python names something that its reader has."""
    owners = set(_HUB_ID.findall(text))
    known = _WRITTEN | {path.name for path in PROJECT.iterdir() if path.is_dir()}
    return bool(_YOURS.search(text) or owners - known)


def all_commands(page=README):
    """All commands of a page, one line each, also those that are not for all readers.

    Arguments
    ---------
    page : path-like or str
        A Markdown file, or its text.

    Returns
    -------
    list of str
    """
    commands = []
    for kind, body in blocks(page):
        if kind not in ("", "bash", "console"):
            continue
        lines = re.sub(r"\s*\\\n\s*", " ", body).splitlines()
        if any(line.startswith("$ ") for line in lines):
            # The other lines are what is printed.
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        commands += [x for x in lines if x.strip() and not x.startswith("#")]
    return commands


def readme_commands(page=README):
    """The commands of a page that run as they are, in order.

    ``pip install``, which the tests leave to the environment they are run in, is taken
    off, and so is ``pytest``.

    Arguments
    ---------
    page : path-like or str
        A Markdown file, or its text.

    Returns
    -------
    list of str
        For a shell in the project's top folder.
    """
    commands = []
    for command in all_commands(page):
        steps = [
            step
            for step in command.split(" && ")
            if not step.startswith(("pip install", "pytest"))
        ]
        if steps and not (is_yours(command) or _PLACEHOLDER.search(command)):
            commands.append(" && ".join(steps))
    return commands


def readme_python(page=README):
    """The blocks of Python of a page that run as they are, in order.

    Those of one page follow each other: a later one uses what an earlier one made.
    Blocks that are files, which begin with ``# name.py``, are not among them.

    Arguments
    ---------
    page : path-like or str
        A Markdown file, or its text.

    Returns
    -------
    list of str
    """
    return [
        body
        for kind, body in blocks(page)
        if kind == "python" and not re.match(r"# \S+\.\w+\n", body)
        if not is_yours(body)
    ]


def calls(page=README):
    """The programs of the project that the commands of a page call, as words.

    Those that need something of the reader's are among them. A loop's variable is 1.

    Arguments
    ---------
    page : path-like or str
        A Markdown file, or its text.

    Returns
    -------
    list of list of str
        Each begins with ``ssr``, with the path of a script of the project, or with the
        name of one of its modules.
    """
    found = []
    for command in all_commands(page):
        for piece in re.split(r"\s(?:&&|\||>)\s", command.replace("$k", "1")):
            words = shlex.split(piece)
            if words and words[0] == "torchrun":
                # Its own options have one value each.
                while len(words) > 1 and words[1].startswith("--"):
                    del words[1:3]
            if words and words[0] in ("python", "torchrun"):
                words = words[2:] if words[1:2] == ["-m"] else words[1:]
                words[:1] = ["ssr"] if words[:1] == ["ssr_plugin"] else words[:1]
            if words and re.match(
                r"ssr$|ssr_plugin\.|(recipes|benchmarks|examples|docs)/", words[0]
            ):
                found.append(words)
    return found


def notebook_code(path):
    """The code of a notebook, as a script.

    A line ``!command`` becomes a call of the shell, which must succeed.

    Arguments
    ---------
    path : path-like

    Returns
    -------
    str
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join(
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"
    )
    return re.sub(
        r"^( *)!(.*)$",
        lambda match: (
            f"{match[1]}__import__('subprocess').run({match[2]!r}, "
            f"shell=True, check=True)"
        ),
        code,
        flags=re.MULTILINE,
    )
