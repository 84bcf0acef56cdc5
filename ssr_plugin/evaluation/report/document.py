"""A small document: headings, text, tables, pictures, sound; as Markdown or HTML.

Texts of items come from anywhere. In both forms they are shown as they are: nothing in
them is taken for a tag, a cell's end or a link.
"""

import base64
import dataclasses
import os
import pathlib
import re
import urllib.parse
from importlib import resources

import jinja2

from ssr_plugin.data.audio import AudioError
from ssr_plugin.evaluation.report.clips import MOST_SECONDS, make_clip
from ssr_plugin.files import atomic_path
from ssr_plugin.metrics.colours import condition_colour

#: Bytes of sound that a page holds; what comes later is named, and not embedded.
MOST_SOUND = 10_000_000


class ConditionName(str):
    """A condition in a table; a page shows its colour beside it.

    Example
    -------
    >>> ConditionName("forced").colour
    '#10557a'
    """

    @property
    def colour(self):
        """Of :func:`ssr_plugin.metrics.colours.condition_colour`."""
        return condition_colour(str(self))


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 6."""

    kind = "heading"
    text: str
    level: int = 2


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Running text."""

    kind = "paragraph"
    text: str


@dataclasses.dataclass(frozen=True)
class Code:
    """Lines that stand as they are."""

    kind = "code"
    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A head and rows of as many cells."""

    kind = "table"
    head: list
    rows: list


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file, and what it shows."""

    kind = "picture"
    path: pathlib.Path
    text: str


@dataclasses.dataclass(frozen=True)
class Sound:
    """A recording, or its first ``seconds``, and what it is."""

    kind = "sound"
    path: str
    text: str
    seconds: float | None = None


def write_document(blocks, folder, name, title):
    """Writes a document as ``<name>.md`` and ``<name>.html``, whole or not at all.

    Arguments
    ---------
    blocks : list
        Of the classes above.
    folder : path-like
    name : str
    title : str
        Of the page.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> write_document([Paragraph("It works.")], folder, "report", "Report")
    >>> (folder / "report.md").read_text()
    'It works.\\n'
    """
    for suffix, text in (
        ("md", to_markdown(blocks, folder)),
        ("html", to_html(blocks, title)),
    ):
        with atomic_path(pathlib.Path(folder) / f"{name}.{suffix}") as partial:
            partial.write_text(text, encoding="utf-8")


def to_markdown(blocks, folder):
    """A document as Markdown.

    Arguments
    ---------
    blocks : list
        Of the classes above.
    folder : path-like
        Where it will lie; pictures are linked from there.

    Returns
    -------
    str

    Example
    -------
    >>> print(to_markdown([Heading("Figures"), Table(["a", "b"], [[1, "x|y"]])], "."))
    ## Figures
    <BLANKLINE>
    | a | b |
    |---|---|
    | 1 | x\\|y |
    <BLANKLINE>
    """
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {escape_markdown(block.text)}")
        elif isinstance(block, Code):
            # A fence longer than any in the text, which so cannot end it.
            runs = re.findall("`+", block.text)
            fence = "`" * max(3, 1 + max(map(len, runs), default=0))
            parts.append(f"{fence}\n{block.text}\n{fence}")
        elif isinstance(block, Table):
            rows = [block.head, *block.rows]
            lines = [" | ".join(map(escape_markdown, row)) for row in rows]
            lines = [f"| {line} |" for line in lines]
            lines.insert(1, "|" + "---|" * len(block.head))
            parts.append("\n".join(lines))
        elif isinstance(block, Picture):
            place = pathlib.Path(os.path.relpath(block.path, folder)).as_posix()
            place = urllib.parse.quote(place)
            parts.append(f"![{escape_markdown(block.text)}]({place})")
        elif isinstance(block, Sound):
            parts.append(escape_markdown(f"{block.text}: {block.path}"))
        else:
            parts.append(_escape_start(escape_markdown(block.text)))
    return "\n\n".join(parts) + "\n"


def escape_markdown(value):
    """A text on one line, in which nothing has a meaning to Markdown or HTML.

    Arguments
    ---------
    value : object
        Its ``str`` is taken.

    Returns
    -------
    str

    Example
    -------
    >>> print(escape_markdown("<b>boundary_f1</b>\\n *2 | 3*"))
    &lt;b&gt;boundary_f1&lt;/b&gt; \\*2 \\| 3\\*
    """
    text = " ".join(str(value).split())
    # An underscore inside a word is one; that of "_this_" is not.
    text = re.sub(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _escape_start(text):
    """So that a paragraph is not taken for a list, a heading or a line."""
    text = re.sub(r"^(\d+)([.)])", r"\1\\\2", text)
    return re.sub(r"^[-+#=]", r"\\\g<0>", text)


def to_html(blocks, title, most_sound=MOST_SOUND):
    """A document as one HTML page that needs no other file and no network.

    Pictures and recordings are embedded, recordings as MP3 of 16 kHz, at most 30 s of
    each. No script runs in the page.

    Arguments
    ---------
    blocks : list
        Of the classes above.
    title : str
    most_sound : int
        Bytes of recordings that are embedded; later ones are only named.

    Returns
    -------
    str

    Example
    -------
    >>> page = to_html([Paragraph("1 < 2")], "Figures")
    >>> "<p>1 &lt; 2</p>" in page
    True
    """
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.tests["condition"] = lambda value: isinstance(value, ConditionName)
    # Beside this file, wherever the package lies.
    source = resources.files(__package__) / "page.html.jinja"
    template = environment.from_string(source.read_text(encoding="utf-8"))
    embedded, left = [], most_sound
    for block in blocks:
        own = {}
        if isinstance(block, Picture):
            own = {"source": _embed(pathlib.Path(block.path).read_bytes(), "image/png")}
        elif isinstance(block, Sound):
            own = _embed_sound(block, left)
            left -= own.get("size", 0)
        embedded.append((block, own))
    return template.render(title=title, blocks=embedded)


def _embed(data, kind):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _embed_sound(block, most):
    """Where a recording is, how large, and what is to be said of it."""
    try:
        data, kind, cut = make_clip(block.path, block.seconds)
    except AudioError as error:
        return {"note": str(error)}
    if len(data) > most:
        return {"note": f"not in this page, which would grow too large: {block.path}"}
    note = f"the first {MOST_SECONDS} s" if cut else ""
    return {"source": _embed(data, kind), "size": len(data), "note": note}
