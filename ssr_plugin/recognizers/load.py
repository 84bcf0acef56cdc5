"""The recogniser that a model's configuration asks for."""

import os
from typing import Any

from transformers import AutoModelForCTC

from ssr_plugin import hub
from ssr_plugin.recognizers.base import Recognizer
from ssr_plugin.recognizers.ctc import CTCRecognizer
from ssr_plugin.recognizers.whisper import WhisperRecognizer


def load_recognizer(
    source: str | os.PathLike[str],
    language: str | None = None,
    num_beams: int = 1,
) -> Recognizer:
    """A recogniser of any architecture that is known here.

    Arguments
    ---------
    source : str
        Hub id or folder: a whole Whisper model, or one with a CTC head (wav2vec 2.0,
        HuBERT, WavLM, ...).
    language : str or None
        Of :class:`ssr_plugin.recognizers.whisper.WhisperRecognizer`; CTC models know
        their own.
    num_beams : int
        Likewise.

    Returns
    -------
    Recognizer

    Raises
    ------
    ValueError
        If the model is none of those, or cannot be loaded.

    Example
    -------
    >>> load_recognizer(getfixture("tiny_encoder_folder"))
    Traceback (most recent call last):
        ...
    ValueError: ... is no recogniser that is known here: take a Whisper model, or one
    with a CTC head
    """
    config: Any = hub.load_config(str(source))
    if config.model_type == "whisper":
        return WhisperRecognizer(str(source), language, num_beams)
    heads = [str(name) for name in config.architectures or ()]
    if type(config) in AutoModelForCTC._model_mapping and any(
        name.endswith("ForCTC") for name in heads
    ):
        return CTCRecognizer(str(source))
    raise ValueError(
        f"'{source}' ({config.model_type}: {', '.join(heads) or 'no head'}) is no "
        f"recogniser that is known here: take a Whisper model, or one with a CTC head"
    )
