"""SpeechLMs as models of the harness lmms-eval (extra ``[lmms_eval]``).

lmms-eval finds :func:`manifest` by the entry point of the group ``lmms_eval.models``.
It loads all of them whenever it starts, so this module imports nothing that is large.
"""

from typing import Any


def manifest() -> Any:
    """What lmms-eval registers: the model ``ssr``.

    Returns
    -------
    lmms_eval.models.registry_v2.ModelManifest
    """
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("ssr", simple_class_path=f"{__name__}.model.SSR")
