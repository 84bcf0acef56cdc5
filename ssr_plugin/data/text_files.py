"""Text without speech: files, or data sets of the Hugging Face hub."""

import itertools
import pathlib

# If one of the first lines of a file is blank, blank lines separate its documents.
_HEAD_LINES = 1000


def read_documents(source, key="text_source"):
    """Reads text, document by document, and no further than is asked for.

    Arguments
    ---------
    source : str, list of str, or dict
        A text file, or several. If one of the first 1000 lines is blank, blank lines
        separate its documents; else each line is one. What is no file is taken for a
        data set: a hub id or folder that ``load_dataset`` of the package ``datasets``
        takes, or a dict of its arguments ("path", "name", "split", ...) and "column",
        which has the text. By default that is "text" of the split "train".
    key : str
        The option that gave it, for messages.

    Yields
    ------
    str
        Without white space around it; never empty.

    Raises
    ------
    ValueError
        If there is no such text, or it is empty or no UTF-8.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.txt"
    >>> _ = path.write_text("one\\n\\ntwo\\nand more\\n")
    >>> list(read_documents(path))
    ['one', 'two\\nand more']
    """
    if isinstance(source, dict):
        documents = _read_dataset(key, **source)
    elif isinstance(source, list | tuple):
        documents = itertools.chain.from_iterable(_read_file(key, x) for x in source)
    elif pathlib.Path(source).is_file():
        documents = _read_file(key, source)
    else:
        documents = _read_dataset(key, str(source))
    empty = True
    for document in documents:
        document = document.strip()
        if document:
            empty = False
            yield document
    if empty:
        raise ValueError(f"{key}: there is no text in '{source}'")


def _read_file(key, path):
    """Documents of a text file."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            head = list(itertools.islice(file, _HEAD_LINES))
            lines = itertools.chain(head, file)
            if not any(not line.strip() for line in head[:-1]):
                yield from lines
                return
            for blank, group in itertools.groupby(lines, lambda x: not x.strip()):
                if not blank:
                    yield "".join(group)
    except OSError as error:
        raise ValueError(f"{key}: cannot read the text file {path}: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{key}: {path} is not UTF-8 text: convert it") from error


def _read_dataset(key, path, column="text", split="train", **options):
    """Documents of a data set that the package ``datasets`` reads."""
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"{key}: there is no text file '{path}'. To read it as a data set of the "
            f"Hugging Face hub: pip install ssr-plugin[datasets]"
        ) from None
    try:
        rows = datasets.load_dataset(path, split=split, streaming=True, **options)
        for row in rows:
            if column not in row:
                raise ValueError(
                    f"it has no column '{column}' (there are: {', '.join(row)}): name "
                    f"one as column"
                )
            yield str(row[column] or "")
    except Exception as error:
        # Its loaders raise errors of all kinds.
        raise ValueError(
            f"{key}: '{path}' is no text file, and as a data set it cannot be read: "
            f"{error}"
        ) from error
