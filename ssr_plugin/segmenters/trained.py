"""A trained segmenter on disk: JSON and safetensors, nothing that runs."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ssr_plugin.files import atomic_path, digest
from ssr_plugin.hub import check_regular, check_sizes, matches
from ssr_plugin.json_files import read_json
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.base import TrainableSegmenter

if TYPE_CHECKING:
    from ssr_plugin.encoders.encoder import SpeechEncoder
    from ssr_plugin.llm.text_llm import TextLLM

SETTINGS, WEIGHTS = "segmenter.json", "segmenter.safetensors"
# What comes of a folder's files that are damaged or not of one segmenter.
_MISFITS = (KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError)


# What a segmenter's settings say.
_FORM = {
    "segmenter": str,
    "options": dict,
    "encoder": {"weights": str, "layer": int},
    "llm": {"weights": str},
}


def save_segmenter(
    folder: str | os.PathLike[str],
    segmenter: TrainableSegmenter,
    name: str,
    options: dict[str, Any],
    encoder: SpeechEncoder,
    llm: TextLLM,
    **notes: Any,
) -> None:
    """Writes a trained segmenter: safetensors and JSON, nothing that runs.

    Arguments
    ---------
    folder : path-like
    segmenter : TrainableSegmenter
    name : str
        As registered.
    options : dict
        It was made with, besides sizes.
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    llm : ssr_plugin.llm.text_llm.TextLLM
    **notes
        JSON-able, kept beside the rest.
    """
    folder = pathlib.Path(folder)
    weights = {k: v.contiguous().cpu() for k, v in segmenter.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as path:
        save_file(weights, path)
    settings = {
        "segmenter": name,
        "options": {**options, **segmenter.symbols()},
        "encoder": {"source": encoder.source, **encoder.identity()},
        "llm": {"source": llm.source, "weights": llm.fingerprint},
        **notes,
    }
    with atomic_path(folder / SETTINGS) as path:
        path.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def read_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What :func:`save_segmenter` noted.

    Raises
    ------
    ValueError
        If the folder holds no trained segmenter.
    """
    path = pathlib.Path(folder) / SETTINGS
    try:
        settings: dict[str, Any] = read_json(path, _FORM)
        return settings
    except ValueError as error:
        raise ValueError(
            f"'{folder}' holds no trained segmenter ({SETTINGS}): train one with "
            f"hparams/segmenter.yaml and give its output_folder ({error})"
        ) from error


def segmenter_mark(name: str | os.PathLike[str]) -> str:
    """What tells a segmenter from others: its name, or what a trained one consists of.

    Arguments
    ---------
    name : str
        Of a segmenter, or the folder of a trained one.

    Returns
    -------
    str

    Example
    -------
    >>> segmenter_mark("forced")
    'forced'
    """
    folder = pathlib.Path(name)
    if not (folder / SETTINGS).is_file():
        return str(name)
    files = [(folder / file).read_bytes() for file in (SETTINGS, WEIGHTS)]
    mark: str = digest([hashlib.blake2b(file).hexdigest() for file in files])
    return mark


def load_segmenter(
    folder: str | os.PathLike[str], encoder: SpeechEncoder, llm: TextLLM
) -> TrainableSegmenter:
    """Reads a trained segmenter, frozen.

    Arguments
    ---------
    folder : path-like
        Written by :func:`save_segmenter`.
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    llm : ssr_plugin.llm.text_llm.TextLLM

    Returns
    -------
    TrainableSegmenter

    Raises
    ------
    ValueError
        If the folder holds none, or one that was trained on another encoder's frames or
        for another LLM's tokens, or weights that do not fit its settings.
    """
    folder = pathlib.Path(folder)
    check_regular(folder)
    settings = read_settings(folder)
    for kind, model in (("encoder", encoder), ("llm", llm)):
        weights = settings[kind]["weights"]
        if weights != model.fingerprint and not matches(weights, model.source):
            raise ValueError(
                f"the segmenter in '{folder}' was trained with another {kind} "
                f"({settings[kind].get('source')}): use that one, or train a segmenter "
                f"for this one with hparams/segmenter.yaml"
            )
    if settings["encoder"]["layer"] != encoder.backbone.layer:
        raise ValueError(
            f"the segmenter in '{folder}' reads layer {settings['encoder']['layer']} "
            f"of the encoder: set encoder_layer to it"
        )
    try:
        segmenters, name = get_registry().segmenters, settings["segmenter"]
        if not segmenters.makes(name, TrainableSegmenter):
            raise ValueError(f"'{name}' is not trained")
        check_sizes(settings["options"], folder / WEIGHTS)
        segmenter = segmenters.get(name)(
            input_size=encoder.width,
            llm=llm,
            frame_rate=encoder.frame_rate,
            **settings["options"],
        )
        assert isinstance(segmenter, TrainableSegmenter)
        segmenter.load_state_dict(load_file(folder / WEIGHTS))
    except _MISFITS as error:
        raise ValueError(
            f"{SETTINGS} and {WEIGHTS} in '{folder}' do not belong together, or are "
            f"damaged: train a segmenter again with hparams/segmenter.yaml "
            f"({type(error).__name__}: {error})"
        ) from error
    return segmenter.requires_grad_(False).eval()
