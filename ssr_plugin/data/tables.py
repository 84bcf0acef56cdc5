"""Lists of utterances in text files, read line by line: a bad line stops nothing."""

from __future__ import annotations

import gzip
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """A line of a text file.

    Arguments
    ---------
    number : int
        From 1.
    text : str
        Without the line break; empty if it is not UTF-8.
    problem : str or None
        What is wrong with it.
    """

    number: int
    text: str
    problem: str | None = None


class TableRow(NamedTuple):
    """A row of a table.

    Arguments
    ---------
    number : int
        Of its line, from 1; that of the header is 1.
    cells : dict
        By column; empty if the row is bad.
    problem : str or None
        What is wrong with it.
    """

    number: int
    cells: dict[str, str]
    problem: str | None = None


def read_lines(path: str | os.PathLike[str]) -> Iterator[Line]:
    """The lines of a text file that are not blank, one at a time.

    Arguments
    ---------
    path : path-like
        UTF-8, with or without a byte order mark; ``.gz`` is unpacked.

    Yields
    ------
    Line

    Raises
    ------
    ValueError
        If it ends inside, or is no gzip file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.txt"
    >>> _ = path.write_bytes(b"one\\n\\nth\\xe9\\nthree")
    >>> [(line.number, line.text) for line in read_lines(path)]
    [(1, 'one'), (3, ''), (4, 'three')]
    """
    path = pathlib.Path(path)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    yield Line(number, "", f"it is not UTF-8 text ({error.reason})")
                    continue
                text = text.rstrip("\r\n")
                if text.strip():
                    yield Line(number, text)
    except (EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): fetch it again") from error


def read_table(
    path: str | os.PathLike[str],
    required: Sequence[str],
    delimiter: str = "\t",
) -> Iterator[TableRow]:
    """The rows of a table with a header, in which quotation marks are plain text.

    Arguments
    ---------
    path : path-like
        As in :func:`read_lines`.
    required : list of str
        Columns that must be there.
    delimiter : str
        Between two cells.

    Yields
    ------
    TableRow

    Raises
    ------
    ValueError
        If a column is missing; it names the file, and the columns that there are.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.tsv"
    >>> _ = path.write_text('path\\tsentence\\na.mp3\\t"Hi"\\nb.mp3\\n')
    >>> rows = list(read_table(path, ["path", "sentence"]))
    >>> rows[0].cells["sentence"], rows[1].problem
    ('"Hi"', 'it has 1 cells, and the header has 2')
    """
    names: list[str] | None = None
    for line in read_lines(path):
        cells = line.text.split(delimiter)
        if names is None:
            names = [name.strip() for name in cells]
            lacking = [name for name in required if name not in names]
            if lacking:
                raise ValueError(
                    f"{path} has no column {', '.join(lacking)}; there are: "
                    f"{', '.join(names)}"
                )
        elif line.problem:
            yield TableRow(line.number, {}, line.problem)
        elif len(cells) != len(names):
            problem = f"it has {len(cells)} cells, and the header has {len(names)}"
            yield TableRow(line.number, {}, problem)
        else:
            yield TableRow(line.number, dict(zip(names, cells, strict=True)))
    if names is None:
        raise ValueError(f"{path} is empty")
