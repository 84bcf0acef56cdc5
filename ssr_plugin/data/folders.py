"""Which folder of a corpus is meant, where it has one for each language."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from ssr_plugin.languages import parse_language


def choose_folder(
    option: str,
    chosen: str | None,
    folders: Mapping[str, pathlib.Path],
    data_folder: pathlib.Path,
    layout: str,
) -> pathlib.Path:
    """The folder that a user names, or the only one that there is.

    Arguments
    ---------
    option : str
        What the choice is called: "locale".
    chosen : str or None
        The user's.
    folders : dict
        Folder by name.
    data_folder : pathlib.Path
        Where they were looked for.
    layout : str
        What must be there, for the message.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        If there is none, or not the user's.
    ValueError
        If there are several, and the user names none.

    Example
    -------
    >>> folder = pathlib.Path("cv")
    >>> choose_folder("locale", None, {"de": folder / "de"}, folder, "clips").name
    'de'
    """
    if not folders:
        raise FileNotFoundError(f"data_folder: there is no {layout} in '{data_folder}'")
    names = ", ".join(sorted(folders))
    if chosen is not None:
        if chosen not in folders:
            raise FileNotFoundError(
                f"{option}: there is no '{chosen}' in '{data_folder}'; there are: "
                f"{names}"
            )
        return folders[chosen]
    if len(folders) > 1:
        raise ValueError(
            f"{option}: '{data_folder}' has several ({names}): name one, or give its "
            f"folder as data_folder"
        )
    return next(iter(folders.values()))


def language_of(name: str) -> str | None:
    """The language that a corpus names a folder by; None if it is none.

    Arguments
    ---------
    name : str
        Of the folder.

    Returns
    -------
    str or None
        BCP-47 code.

    Example
    -------
    >>> language_of("sv-SE"), language_of("my_corpus")
    ('sv-SE', None)
    """
    try:
        return None if "_" in name else parse_language(name)
    except ValueError:
        return None


def resolve_path(path: str, folder: pathlib.Path) -> str:
    """A path in a list: from the current folder, as its tool has it, or the list's.

    Arguments
    ---------
    path : str
        Absolute or relative.
    folder : pathlib.Path
        Of the list.

    Returns
    -------
    str

    Example
    -------
    >>> resolve_path("wavs/a.wav", pathlib.Path("data"))
    'data/wavs/a.wav'
    """
    given = pathlib.Path(path)
    if given.is_absolute() or given.exists():
        return path
    return str(folder / path)
