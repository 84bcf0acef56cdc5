"""Files that come with the package: the YAMLs, the recipes and the bundled sample."""

import pathlib

#: What lies in :func:`folder`; a path in a YAML may begin with one of them.
FOLDERS = ("hparams", "recipes")
# Where setup.py puts them in a wheel.
_SHARE = "share"


def folder() -> pathlib.Path:
    """The folder that holds ``hparams/`` and ``recipes/``.

    In a checkout, installed with ``pip install -e`` or not, it is the top of the
    repository. In an installed wheel it is inside the package.

    Returns
    -------
    pathlib.Path
        Absolute. Read only: an installed package may belong to another user.

    Example
    -------
    >>> (folder() / "hparams" / "distill.yaml").is_file()
    True
    >>> (folder() / "recipes" / "sample" / "llm" / "config.json").is_file()
    True
    """
    package = pathlib.Path(__file__).resolve().parent
    share = package / _SHARE
    return share if share.is_dir() else package.parent
