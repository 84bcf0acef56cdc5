"""One command at a time in a folder that it writes to."""

import contextlib
import logging
import os
import pathlib
from collections.abc import Iterator

import filelock

logger = logging.getLogger(__name__)

_LOCK = ".lock"
# A process that was killed holds the lock until its workers have noticed, s.
_PATIENCE = 10.0


@contextlib.contextmanager
def locked(
    folder: str | os.PathLike[str], key: str = "output_folder"
) -> Iterator[None]:
    """Keeps other commands out of a folder; the system ends it with the process.

    Arguments
    ---------
    folder : path-like
        Is there.
    key : str
        The user's name for it.

    Raises
    ------
    ValueError
        If another command is at work in it.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> with locked(folder):
    ...     pass
    """
    lock = filelock.FileLock(pathlib.Path(folder) / _LOCK)
    try:
        lock.acquire(timeout=_PATIENCE)
    except filelock.Timeout as error:
        raise ValueError(
            f"{key}: another run is at work in '{folder}': wait for its end, or give "
            f"this one an {key} of its own"
        ) from error
    except (NotImplementedError, OSError) as error:
        # Some network file systems have no locks.
        logger.warning("'%s' cannot be locked: %s", folder, error)
    try:
        yield
    finally:
        lock.release()
