"""A small document: headings, paragraphs, tables and pictures, as Markdown or HTML."""

import base64
import dataclasses
import html
import os
import pathlib

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto;
       padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; font-size: 14px; }
th, td { border-bottom: 1px solid #ddd; padding: .3em .7em; text-align: left;
         vertical-align: top; }
th { border-bottom: 2px solid #888; }
pre { background: #f4f4f4; padding: .7em; overflow-x: auto; white-space: pre-wrap; }
img { max-width: 100%; }
"""


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 6."""

    text: str
    level: int = 2


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclasses.dataclass(frozen=True)
class Code:
    """Lines that stand as they are."""

    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A head and rows of as many cells."""

    head: list
    rows: list


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file, and what it shows."""

    path: pathlib.Path
    text: str


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
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Code):
            parts.append(f"```\n{block.text}\n```")
        elif isinstance(block, Table):
            rows = [block.head, *block.rows]
            lines = [" | ".join(_cell(cell) for cell in row) for row in rows]
            lines = [f"| {line} |" for line in lines]
            lines.insert(1, "|" + "---|" * len(block.head))
            parts.append("\n".join(lines))
        elif isinstance(block, Picture):
            place = pathlib.Path(os.path.relpath(block.path, folder)).as_posix()
            parts.append(f"![{block.text}]({place})")
        else:
            parts.append(block.text)
    return "\n\n".join(parts) + "\n"


def _cell(value):
    return " ".join(str(value).replace("|", "\\|").split())


def to_html(blocks, title):
    """A document as one HTML page that needs no other file and no network.

    Arguments
    ---------
    blocks : list
        Of the classes above.
    title : str

    Returns
    -------
    str

    Example
    -------
    >>> page = to_html([Paragraph("1 < 2")], "Figures")
    >>> "<p>1 &lt; 2</p>" in page
    True
    """
    body = "\n".join(map(_block_to_html, blocks))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _block_to_html(block):
    if isinstance(block, Table):
        head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in block.head)
        rows = [
            "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row)
            for row in block.rows
        ]
        lines = "\n".join(f"<tr>{row}</tr>" for row in [head, *rows])
        return f"<table>\n{lines}\n</table>"
    if isinstance(block, Picture):
        data = base64.b64encode(pathlib.Path(block.path).read_bytes()).decode()
        text = html.escape(block.text)
        return f'<img src="data:image/png;base64,{data}" alt="{text}">'
    text = html.escape(block.text)
    if isinstance(block, Heading):
        return f"<h{block.level}>{text}</h{block.level}>"
    return f"<pre>{text}</pre>" if isinstance(block, Code) else f"<p>{text}</p>"
