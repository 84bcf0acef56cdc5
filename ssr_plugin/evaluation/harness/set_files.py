"""Files and tables of published sets, read with errors that name the mend."""

import csv
import io
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from ssr_plugin.data.datasets import read_text


def read_csv_rows(path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file without a header.

    Arguments
    ---------
    path : pathlib.Path

    Yields
    ------
    number : int
        Of the row, from 1.
    cells : list of str

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.csv"
    >>> _ = path.write_text('who?,"he, or she"\\n')
    >>> list(read_csv_rows(path))
    [(1, ['who?', 'he, or she'])]
    """
    yield from enumerate(csv.reader(io.StringIO(read_text(path), newline="")), start=1)


def read_csv_dicts(
    path: pathlib.Path, columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header.

    Arguments
    ---------
    path : pathlib.Path
    columns : list of str
        Those that it must have.

    Yields
    ------
    number : int
        Of the line where the row ends, from 1.
    row : dict
        Cells by column.

    Raises
    ------
    ValueError
        If there is no such file, or a column is missing.

    Example
    -------
    >>> path = getfixture("tmp_path") / "gold.csv"
    >>> _ = path.write_text("id,word\\n7,cat\\n")
    >>> list(read_csv_dicts(path, ["word"]))
    [(2, {'id': '7', 'word': 'cat'})]
    """
    if not path.is_file():
        raise ValueError(f"data: there is no {path}")
    table = csv.DictReader(io.StringIO(read_text(path), newline=""))
    lacking = sorted(set(columns) - set(table.fieldnames or []))
    if lacking:
        raise ValueError(f"{path} has no column {', '.join(lacking)}")
    for row in table:
        yield table.line_num, row


def read_hub_rows(name: str, config: str, split: str) -> Sequence[dict[str, Any]]:
    """The rows of a data set of the Hugging Face hub, by the package ``datasets``.

    Arguments
    ---------
    name, config, split : str
        Of ``datasets.load_dataset``.

    Returns
    -------
    sequence of dict

    Raises
    ------
    ValueError
        If the package is not installed, or gives no such data set.
    """
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"data: there is no folder '{name}', and no package 'datasets' to fetch a "
            f"data set of that name: pip install ssr-plugin[datasets]"
        ) from error
    try:
        rows: Sequence[dict[str, Any]] = datasets.load_dataset(
            name, config, split=split
        )
        return rows
    except Exception as error:
        # What its loaders raise is of all kinds.
        raise ValueError(
            f"data: '{name}' is neither a folder nor a data set that the Hugging Face "
            f"hub gives: {error}"
        ) from error
