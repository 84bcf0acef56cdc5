"""``--help`` of a YAML: its keys, their defaults, and its own comments."""

import json
import re
import shutil
import textwrap

from ruamel.yaml import YAML
from ruamel.yaml.comments import TaggedScalar

_SECTION = re.compile(r"#\s*-{3,}\s+(.*?)\s*-*\s*$")
# A comment behind a value; the value may have a # in quotes.
_COMMENT_BESIDE = re.compile(r"""(?:[^'"#]|"[^"]*"|'[^']*'|(?<=\S)#)*?\s#\s?(.*)""")
_KEY_WIDTH = 34


def describe(text, listed):
    """The keys of a YAML with their defaults and comments.

    Arguments
    ---------
    text : str
        The YAML. A comment is behind a value and the lines below it, or above a key; a
        line ``# --- Data ---`` begins a section.
    listed : dict
        Its plain keys.

    Returns
    -------
    head : str
        The comment that the file begins with.
    sections : list of (str, list of (str, str, str))
        For each its title, and (key, default, comment) of each of its keys; those
        inside another key are dotted.

    Example
    -------
    >>> text = '''# For a try.
    ...
    ... seed: 1  # of all draws
    ... # --- Model ---
    ... options:
    ...     width: !ref <seed>
    ... '''
    >>> describe(text, {"seed": 1, "options": {"width": 1}})
    ('For a try.', [('', [('seed', '1', 'of all draws')]),
    ('Model', [('options', '', ''), ('options.width', '<seed>', '')])])
    """
    lines = text.splitlines()
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line[1:].removeprefix(" "))
    # Without an empty line after it, it is the comment of the first key.
    if len(head) < len(lines) and lines[len(head)].strip():
        head = []
    titles = {
        i: match[1] for i, line in enumerate(lines) if (match := _SECTION.match(line))
    }
    entries = list(_entries(YAML().load(text), listed))
    sections, comments = [("", [])], {}
    for (line, key, default), (end, *_) in zip(
        entries, [*entries[1:], (len(lines),)], strict=True
    ):
        title = next((titles[i] for i in range(line, -1, -1) if i in titles), "")
        if title != sections[-1][0]:
            sections.append((title, []))
        comment = _comment_over(lines, line, len(head)) + _comment_beside(
            lines, line, end
        )
        # A comment holds for options of the same name of other components, too.
        option = (key.partition(".")[0], key.rpartition(".")[2])
        comment = " ".join(comment) or (comments.get(option, "") if default else "")
        comments[option] = comment
        sections[-1][1].append((key, default, comment))
    return "\n".join(head), [section for section in sections if section[1]]


def _entries(tree, listed, prefix=""):
    """(line, dotted key, default as it is written) of each listed key."""
    for key, value in tree.items():
        if key not in listed:
            continue
        line, _ = tree.lc.key(key)
        if isinstance(value, dict):
            yield line, f"{prefix}{key}", ""
            inner = listed[key] if isinstance(listed[key], dict) else {}
            yield from _entries(value, inner, f"{prefix}{key}.")
        else:
            yield line, f"{prefix}{key}", _default(value)


def _default(value):
    """A value as a user writes it; a reference stays as it is."""
    if isinstance(value, TaggedScalar):
        return str(value.value)
    if value is None or isinstance(value, bool):
        return {None: "null"}.get(value, str(value))
    if isinstance(value, str):
        return value if value.isprintable() and value else json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_default, value))}]"
    return str(value)


def _comment_beside(lines, line, end):
    """The comment behind a value, and its lines below."""
    comment = []
    match = _COMMENT_BESIDE.match(lines[line])
    if match:
        comment.append(match[1].strip())
    for i in range(line + 1, end):
        text = lines[i].strip()
        # A comment indented like the key belongs to the next key.
        if not text.startswith("#") or _indent(lines[i]) <= _indent(lines[line]):
            break
        comment.append(text.lstrip("# "))
    return comment


def _comment_over(lines, line, start):
    """The comment above a key, indented like the key."""
    comment = []
    for i in range(line - 1, start - 1, -1):
        text = lines[i].strip()
        if not text.startswith("#") or _SECTION.match(text):
            break
        if _indent(lines[i]) != _indent(lines[line]):
            break
        comment.insert(0, text.lstrip("# "))
    return comment


def _indent(line):
    return len(line) - len(line.lstrip())


def show_yaml(program, name, text, listed):
    """Prints a YAML's keys.

    Arguments
    ---------
    program, name : str
        The command, and the YAML as the user named it.
    text, listed
        As in :func:`describe`.
    """
    head, sections = describe(text, listed)
    print(f"usage: {program} {name} [--key value ...]\n")
    print(head)
    for title, entries in sections:
        print(f"\n{title}:" if title else "")
        for key, default, comment in entries:
            if "." in key and not default and not comment:
                # A component's name alone: its options follow, and have the name.
                continue
            _show(f"  --{key} {default}".rstrip(), comment)
    print(f"\n{_MORE}")


def show_usage(program, yamls):
    """Prints how to name a YAML.

    Arguments
    ---------
    program : str
    yamls : list of str
        Those that are shipped.
    """
    print(f"usage: {program} YAML [--key value ...]\n")
    print(f"  {program} hparams/{yamls[0]} --help    what its keys are\n")
    print(f"YAMLs of the package: {', '.join(yamls)}\n")
    print(_MORE)


_MORE = """\
Lists and options are written as in YAML: --test_splits "[dev, test]",
--connector_options "{ssr: {num_layers: 4}}" or --connector_options.ssr.num_layers 4.
SpeechBrain's own options may be given, too, such as --device cuda:1, --debug (a few
batches, to see that it runs) and --test_only."""


def _show(key_text, comment):
    """Prints a key and its comment beside it, or below if the key is long."""
    width = max(shutil.get_terminal_size((88, 24)).columns, 60)
    lines = textwrap.wrap(comment, width - _KEY_WIDTH, break_on_hyphens=False) or [""]
    if len(key_text) > _KEY_WIDTH - 2:
        print(key_text)
        key_text = ""
        if lines == [""]:
            return
    for line in lines:
        print(f"{key_text:<{_KEY_WIDTH}}{line}".rstrip())
        key_text = ""
