"""What names a pretrained model: a hub id, maybe of one revision, or a folder.

``openai/whisper-base``, ``openai/whisper-base@e37978b`` (a commit, tag or branch), or a
folder in the Hugging Face layout.
"""

import pathlib


def address(source):
    """A source as the ``from_pretrained`` of transformers takes it.

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
