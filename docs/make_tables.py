"""The tables of figures of README.md and RESULTS.md, of docs/figures/tables.json.

python docs/make_tables.py          writes the tables into the pages
python docs/make_tables.py --read   takes into the JSON what was changed in the pages

A cell is a text with places, ``{kept} ({low} to {high}; WER {wer})``, and a number for
each. So a figure is kept once for its table, by name, and pictures and tests read it.
"""

import json
import pathlib
import re
import sys

PROJECT = pathlib.Path(__file__).parents[1]
TABLES = PROJECT / "docs" / "figures" / "tables.json"
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\d)")
#: What stands before a number in a cell, and what it then is; else the column's.
_NAMES = (
    (re.compile(r"WER $"), "wer"),
    (re.compile(r"\($"), "low"),
    (re.compile(r" to $"), "high"),
    (re.compile(r"; $"), "wer"),
)


def show_table(table):
    """A table as Markdown.

    Arguments
    ---------
    table : dict
        ``header``: texts; ``rows``: cells, each a text, or a dict with a ``text`` that
        has places, and a number for each.

    Returns
    -------
    str

    Example
    -------
    >>> cell = {"text": "**{kept}** (WER {wer})", "kept": 70, "wer": 28.0}
    >>> print(show_table({"header": ["speech", "kept"], "rows": [["sample", cell]]}))
    | speech | kept |
    |---|---|
    | sample | **70** (WER 28.0) |
    """
    lines = [table["header"], ["---"] * len(table["header"]), *table["rows"]]
    return "\n".join(_line([_show(cell) for cell in line]) for line in lines)


def _line(cells):
    if set(cells) == {"---"}:
        return "|" + "---|" * len(cells)
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def _show(cell):
    if isinstance(cell, str):
        return cell
    return cell["text"].format(**{k: json.dumps(v) for k, v in cell.items()})


def read_table(page, header, names):
    """The table of a page that has a header.

    Arguments
    ---------
    page : str
        Markdown.
    header : list of str
    names : list of str
        Of each column, what a number in it is if nothing else is said, or what its
        first and its later ones are ("wer kept"); "" for a column of texts.

    Returns
    -------
    list of list
        Its rows, as :func:`show_table` takes them.

    Example
    -------
    >>> page = "| a | b |\\n|---|---|\\n| x 2 | **1.0** (WER 3) |\\n"
    >>> read_table(page, ["a", "b"], ["", "kept"])
    [['x 2', {'text': '**{kept}** (WER {wer})', 'kept': 1.0, 'wer': 3}]]
    """
    lines = _find(page, header)
    if lines is None:
        raise ValueError(f"no page has a table with the header {_line(header)}")
    rows = []
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows.append([_read(*pair) for pair in zip(cells, names, strict=True)])
    return rows


def _read(cell, name):
    if not name:
        return cell
    found, numbers, last = "", {}, 0
    first, *later = name.split()
    for match in _NUMBER.finditer(cell):
        before = cell[: match.start()]
        name = first if first not in numbers or not later else later[0]
        kind = next((x for pattern, x in _NAMES if pattern.search(before)), name)
        if kind in numbers:
            kind = f"{kind}_{sum(x.startswith(kind) for x in numbers) + 1}"
        numbers[kind] = json.loads(match[0])
        found += cell[last : match.start()] + f"{{{kind}}}"
        last = match.end()
    return {"text": found + cell[last:], **numbers} if numbers else cell


def _find(page, header):
    """The lines of the table with that header, or None."""
    head = f"{_line(list(header))}\n"
    start = page.find(head)
    if start < 0:
        return None
    lines = page[start:].splitlines()
    stop = next((i for i, x in enumerate(lines) if not x.startswith("|")), len(lines))
    return lines[:stop]


def write_tables(page, tables):
    """A page with its tables as they are now.

    Arguments
    ---------
    page : str
        Markdown.
    tables : list of dict

    Returns
    -------
    str
    """
    for table in tables:
        lines = _find(page, table["header"])
        if lines is None:
            raise ValueError(f"no table with the header {_line(table['header'])}")
        page = page.replace("\n".join(lines), show_table(table))
    return page


def main(*options):
    kept = json.loads(TABLES.read_text(encoding="utf-8"))
    for name, tables in kept.items():
        path = PROJECT / name
        page = path.read_text(encoding="utf-8")
        if "--read" in options:
            for table in tables.values():
                table["rows"] = read_table(page, table["header"], table["names"])
        else:
            path.write_text(write_tables(page, tables.values()), encoding="utf-8")
    if "--read" in options:
        TABLES.write_text(_dump(kept), encoding="utf-8")


def _dump(kept):
    """JSON with a line for each cell that has numbers."""
    text = json.dumps(kept, indent=1, ensure_ascii=False)
    inner = re.compile(r"\{\s+(\"text\": [^{}]*?(?:\{[^{}]*\}[^{}]*?)*)\s+\}(?=,?\n)")
    return inner.sub(lambda m: "{" + re.sub(r"\n\s+", " ", m[1]) + "}", text) + "\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
