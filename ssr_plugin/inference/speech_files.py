"""Recordings that were read once, kept as vectors for any number of prompts."""

import json
import os
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ssr_plugin.files import atomic_path
from ssr_plugin.inference.speech import Speech
from ssr_plugin.json_files import parse_json

if TYPE_CHECKING:
    from ssr_plugin.inference.speech_lm import SpeechLM

# What safetensors reads of a header at most, less room for what it says of tensors.
_MOST_METADATA = 80_000_000

# What is known of a recording besides its vectors.
_FORM = {
    "tokens": [int],
    "starts": [float],
    "ends": [float],
    "text": str,
    "segmentation": str,
    "hypothesis": str | None,
    "seconds": float,
}


def save_speech(
    path: str | os.PathLike[str], speeches: dict[str, Speech], lm: "SpeechLM"
) -> None:
    """Writes recordings as they are in the LLM's embedding space.

    The file is safetensors: of each recording a tensor [N, H]; in the metadata, under
    "speech", JSON with the rest that is known of each.

    Arguments
    ---------
    path : path-like
        Written whole or not at all.
    speeches : dict
        Name -> Speech.
    lm : SpeechLM
        What read them.

    Raises
    ------
    ValueError
        If they are too many for one file.

    Example
    -------
    >>> import torch
    >>> from ssr_plugin import SpeechLM
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> speech = lm.embed((torch.rand(16000), 16000))
    >>> path = getfixture("tmp_path") / "all.safetensors"
    >>> save_speech(path, {"one": speech}, lm)
    >>> load_speech(path)["one"].starts == speech.starts
    True
    """
    left_out = ("vectors", "segments")
    rest = {
        name: {k: v for k, v in vars(speech).items() if k not in left_out}
        for name, speech in speeches.items()
    }
    metadata = {"speech": json.dumps(rest), "llm": lm.llm.source}
    if len(metadata["speech"]) > _MOST_METADATA:
        raise ValueError(
            f"{len(speeches)} recordings are too much for one file of safetensors: "
            f"write several"
        )
    tensors = {k: v.vectors.detach().cpu().contiguous() for k, v in speeches.items()}
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata)


def load_speech(path: str | os.PathLike[str]) -> dict[str, Speech]:
    """What :func:`save_speech` wrote.

    Arguments
    ---------
    path : path-like

    Returns
    -------
    dict
        Name -> Speech, in the order of writing.

    Raises
    ------
    ValueError
        If it is no such file, or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            rest = parse_json((file.metadata() or {})["speech"], {str: _FORM})
            return {
                name: Speech(vectors=file.get_tensor(name), **fields)
                for name, fields in rest.items()
            }
    except (KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        raise ValueError(
            f"{path} holds no recordings, or is damaged: {error}"
        ) from error
