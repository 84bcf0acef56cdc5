"""Files that are written whole or not at all, and digests as names of results."""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import tempfile
import time

from ssr_plugin.media_fragments import MediaFragment

# A partial file that nobody has written to for so long belongs to nobody, s.
_LEFT_AFTER = 3600.0


@contextlib.contextmanager
def atomic_path(path):
    """Gives a temporary path beside ``path`` and moves it there when the block ends.

    A block that raises, or a process that is killed, leaves ``path`` as it was. The
    file has the machine's usual permissions. The disk is not waited for (fsync): that
    takes up to a tenth of a second a file, and only a power failure may lose what was
    just written; a file that is damaged then is named when it is read.

    Arguments
    ---------
    path : path-like
        Where the file goes.

    Example
    -------
    >>> tmp = getfixture("tmp_path")
    >>> with atomic_path(tmp / "a.txt") as path:
    ...     _ = path.write_text("whole")
    >>> [p.name for p in tmp.iterdir()]
    ['a.txt']
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent.absolute())
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # Some libraries write files that nobody else may read.
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        os.chmod(partial, mode)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@functools.lru_cache
def _remove_leftovers(folder):
    """Deletes what killed processes left of files that they were writing."""
    for partial in folder.glob(".*.partial"):
        # Another process may be gone, or may have just been replaced by a file.
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > _LEFT_AFTER:
                partial.unlink()


def check_writable(key, folder):
    """Makes a folder if it is not there, and checks that files can be written in it.

    Arguments
    ---------
    key : str
        The user's name for it.
    folder : path-like

    Raises
    ------
    ValueError
        If nothing can be written there.

    Example
    -------
    >>> _ = (getfixture("tmp_path") / "file").write_text("")
    >>> check_writable("output_folder", getfixture("tmp_path") / "file" / "run")
    Traceback (most recent call last):
        ...
    ValueError: output_folder: cannot write in '...run': Not a directory; name another
    """
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{key}: cannot write in '{folder}': {error.strerror}; name another"
        ) from error


def printable(text):
    """A text that any UTF-8 file or terminal takes.

    The bytes of a file name that is not UTF-8 are lone surrogates in Python, which
    cannot be written; in JSON the result stands for the same name.

    Example
    -------
    >>> print(printable("caf" + chr(0xDCE9)))
    caf\\udce9
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def digest(*values):
    """A short name for JSON-able values: equal values, equal name (16 hex digits).

    Example
    -------
    >>> digest("a", {"x": 1, "y": 2}) == digest("a", {"y": 2, "x": 1})
    True
    """
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_identity(path):
    """Path, size and time of change of a file: if it changes, one of these differs.

    Arguments
    ---------
    path : path-like
        Of a file, or of a part of one (:mod:`ssr_plugin.media_fragments`).

    Returns
    -------
    tuple
        (absolute path, bytes, modification time in ns)

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    path = pathlib.Path(path).absolute()
    stat = os.stat(MediaFragment.parse(path).path)
    return (str(path), stat.st_size, stat.st_mtime_ns)
