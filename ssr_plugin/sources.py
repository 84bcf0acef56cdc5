"""Sources of pretrained models: a hub id, with or without a revision, or a folder.

``openai/whisper-base``, ``openai/whisper-base@e37978b`` (a commit, tag or branch), or a
folder in the Hugging Face layout.
"""

import pathlib
import re

import huggingface_hub
from huggingface_hub import errors

# Errors that say that the hub has no such model or file, or cannot be reached.
NOT_FOUND_ERRORS = (
    errors.EntryNotFoundError,
    errors.HfHubHTTPError,
    errors.HFValidationError,
    OSError,
)


def address(source):
    """A source as arguments of transformers' ``from_pretrained``.

    Arguments
    ---------
    source : str
        Hub id, ``id@revision``, or folder.

    Returns
    -------
    dict
        Keyword arguments.

    Example
    -------
    >>> address("openai/whisper-base@e37978b")
    {'pretrained_model_name_or_path': 'openai/whisper-base', 'revision': 'e37978b'}
    """
    name, _, revision = str(source).partition("@")
    if pathlib.Path(source).is_dir() or not revision:
        return {"pretrained_model_name_or_path": str(source)}
    return {"pretrained_model_name_or_path": name, "revision": revision}


def pin(source):
    """The source with the current commit of its hub id; a folder stays as it is.

    Arguments
    ---------
    source : str
        Of a model that is in the hub's local cache, or can be fetched.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is none.

    Example
    -------
    >>> folder = getfixture("tiny_llm_folder")
    >>> pin(folder) == str(folder)
    True
    """
    if pathlib.Path(source).is_dir():
        return str(source)
    location = address(source)
    name = location["pretrained_model_name_or_path"]
    try:
        path = huggingface_hub.hf_hub_download(
            name, "config.json", revision=location.get("revision")
        )
    except NOT_FOUND_ERRORS as error:
        raise ValueError(
            f"'{source}' is neither a folder on this machine nor a model that the "
            f"Hugging Face hub or its local cache gives: {error}"
        ) from error
    # The cache keeps files by commit: snapshots/<commit>/config.json.
    commit = pathlib.Path(path).parent.name
    return f"{name}@{commit}" if re.fullmatch("[0-9a-f]{40}", commit) else str(source)
