"""A speech LM on disk and on the hub: JSON and safetensors, nothing that runs.

A folder holds what was trained, and names what was not:

| file | what |
|---|---|
| ``speech_lm.json`` | encoder and LLM by name and fingerprint; how to make the rest |
| ``connector.safetensors`` | the connector |
| ``segmenter/`` | the segmenter for audio alone, if it was trained |
| ``tuned/`` | what stage 2 made of the LLM: a PEFT adapter or a whole LLM |
| ``metrics.json``, ``README.md`` | what was measured; the model card |
"""

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import huggingface_hub
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ssr_plugin import build, hub
from ssr_plugin.connectors.base import Connector
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.files import atomic_path
from ssr_plugin.inference.model_card import write_card
from ssr_plugin.json_files import read_json
from ssr_plugin.llm.compact_weights import is_gguf
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.base import (
    HearingSegmenter,
    Segmenter,
    TrainableSegmenter,
    TranscriptSegmenter,
)
from ssr_plugin.segmenters.trained import load_segmenter, save_segmenter
from ssr_plugin.segmenters.trained import read_settings as read_segmenter
from ssr_plugin.sources import address, pin
from ssr_plugin.version import __version__

if TYPE_CHECKING:
    from ssr_plugin.llm.tuning import TunedLLM

SETTINGS, WEIGHTS = "speech_lm.json", "connector.safetensors"
SEGMENTER, TUNED, METRICS = "segmenter", "tuned", "metrics.json"
FORMAT = 1
# All that is fetched from the hub: no file of a kind that could run.
_FETCHED = ["*.json", "*.safetensors", "README.md", "tuned/tokenizer.model"]
# What a settings file must say, and of which kind.
_WANTED = {
    ("format",): int,
    ("encoder", "source"): str,
    ("encoder", "weights"): str,
    ("encoder", "layer"): int,
    ("encoder", "window"): str,
    ("llm", "source"): str,
    ("llm", "weights"): str,
    ("connector", "name"): str,
    ("connector", "options"): dict,
    ("forced",): dict,
    ("segmenter",): dict | None,
    ("lm_fusion", "steps"): int,
    ("lm_fusion", "weight"): float | int,
    ("lm_fusion", "inverse_temperature"): float | int,
}
# More passes of LM fusion than this change nothing, and take for ever.
_MOST_STEPS = 100
# What each model is called in messages.
_WORDS = {
    "encoder": "encoder",
    "llm": "llm",
    "recognizer": "recogniser",
    "aligner": "aligner",
}
# Options of a recogniser by which it chooses among its hypotheses.
_OF_CHOICE = ("num_beams", "llm_weight")
# Keys that are found out from the model itself when it is saved.
_OF_MODELS = ("format", "version", "encoder", "llm")


@dataclasses.dataclass
class ModelComponents:
    """What a speech LM is made of; fields as arguments of :class:`SpeechLM`."""

    encoder: SpeechEncoder
    llm: TextLLM
    connector: Connector
    segmenters: Mapping[str, Segmenter | None]
    settings: dict[str, Any]
    tuned: "TunedLLM | None"


class SavedModel(Protocol):
    """What is saved: a :class:`SpeechLM`, which this module loads and does not know."""

    settings: dict[str, Any]
    metrics: dict[str, Any] | None
    llm: TextLLM
    tuned: "TunedLLM | None"

    @property
    def encoder(self) -> SpeechEncoder:
        """Of any name and settings."""

    @property
    def connector(self) -> torch.nn.Module:
        """Its weights are saved."""

    @property
    def segmenters(self) -> torch.nn.ModuleDict:
        """Of which "predicted" is saved, if it was trained."""


def save_speech_lm(
    folder: str | os.PathLike[str],
    lm: SavedModel,
    metrics: dict[str, Any] | None = None,
    encoder_source: str | None = None,
    llm_source: str | None = None,
    name: str | None = None,
    recognizer_source: str | None = None,
) -> None:
    """Writes a model, each file whole or not at all.

    Arguments
    ---------
    folder : path-like
    lm : SpeechLM
    metrics : dict or None
        Of the run that made it, by default those it was loaded with; kept beside it and
        told in the model card.
    encoder_source, llm_source : str or None
        Name them so in what is written: a hub id in place of this machine's folder.
    name : str or None
        The model's in its card; that of the folder by default.
    recognizer_source : str or None
        As ``encoder_source``, of the segmenter ``asr`` with a recogniser of its own.
    """
    folder = pathlib.Path(folder)
    metrics = lm.metrics if metrics is None else metrics
    settings = {
        **lm.settings,
        "format": FORMAT,
        "version": __version__,
        "encoder": {
            "source": encoder_source or _name(lm.encoder.source),
            "weights": lm.encoder.fingerprint,
            "layer": lm.encoder.backbone.layer,
            "window": lm.encoder.window,
        },
        "llm": {
            "source": llm_source or _name(lm.llm.source),
            "weights": lm.llm.fingerprint,
        },
    }
    weights = {k: v.contiguous().cpu() for k, v in lm.connector.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as path:
        save_file(weights, path)
    named = lm.settings["segmenter"]
    if named is not None and _is_trained(named):
        segmenter = lm.segmenters["predicted"]
        assert isinstance(segmenter, TrainableSegmenter)
        save_segmenter(
            folder / SEGMENTER,
            segmenter,
            named["name"],
            named["options"],
            lm.encoder,
            lm.llm,
        )
        # What it was made with is in its own folder.
        settings["segmenter"] = {**named, "options": {}}
    elif named is not None:
        predicted = lm.segmenters["predicted"]
        if isinstance(predicted, HearingSegmenter):
            settings["segmenter"] = _pinned(named, predicted, recognizer_source)
    if lm.tuned is not None:
        lm.tuned.save(folder / TUNED)
    if metrics is not None:
        with atomic_path(folder / METRICS) as path:
            path.write_text(json.dumps(metrics, indent=2), encoding="utf-8")
    tuned = lm.tuned is not None
    write_card(folder / "README.md", settings, metrics, tuned, name)
    # Last, since it is what makes the folder a model.
    with atomic_path(folder / SETTINGS) as path:
        path.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def push_speech_lm(
    repo_id: str,
    lm: SavedModel,
    private: bool | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    **options: Any,
) -> huggingface_hub.CommitInfo:
    """Publishes a model on the Hugging Face hub.

    Arguments
    ---------
    repo_id : str
    lm : SpeechLM
    private, token, commit_message
        Of ``huggingface_hub``.
    **options
        Of :func:`save_speech_lm`.

    Returns
    -------
    huggingface_hub.CommitInfo

    Raises
    ------
    ValueError
        If encoder, LLM or recogniser is named by a folder of this machine.
    """
    named = lm.settings["segmenter"]
    own = {} if named is None or _is_trained(named) else named["options"]
    sources = {
        "encoder": lm.encoder.source,
        "llm": lm.llm.source,
        "recognizer": own.get("source"),
    }
    for kind, own_source in sources.items():
        source = options.get(f"{kind}_source") or own_source
        if source is not None and _is_local(source):
            raise ValueError(
                f"the {_WORDS[kind]} is '{source}', a folder of this machine that "
                f"nobody else has: give {kind}_source, its id on the hub"
            )
    if _is_local(str(own.get("times", ""))):
        raise ValueError(
            f"the segmenter '{named['name']}' takes its times from '{own['times']}', a "
            f"folder of this machine that nobody else has: load the model with "
            f"segmenter='{named['name']}' and other times in segmenter_options"
        )
    with tempfile.TemporaryDirectory() as folder:
        save_speech_lm(folder, lm, **{"name": repo_id, **options})
        hub_api = huggingface_hub.HfApi(token=token)
        hub_api.create_repo(repo_id, private=private, exist_ok=True)
        return hub_api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=commit_message or "A speech LM made with ssr_plugin",
        )


def _is_local(source: str) -> bool:
    """Whether a source is a folder of this machine, there or not."""
    path = pathlib.Path(source)
    return bool(source) and (path.exists() or path.is_absolute())


def _pinned(
    named: dict[str, Any], segmenter: HearingSegmenter, source: str | None
) -> dict[str, Any]:
    """A segmenter that listens, with what it hears by: source and marks of weights."""
    options = dict(named["options"])
    if options.get("source") is not None:
        options["source"] = source or _name(options["source"])
    times = options.get("times")
    if times is not None and pathlib.Path(times).is_dir():
        options["times"] = str(pathlib.Path(times).absolute())
    return {**named, "options": options, "weights": _heard_by(segmenter)}


def _heard_by(segmenter: HearingSegmenter) -> dict[str, Any]:
    """What tells the weights of a recogniser, and of a trained aligner, from others.

    Not the version of an aligner's package, which another machine may not have.
    """
    settings = segmenter.recognizer.settings()
    aligner = settings.get("aligner") or {}
    return {
        "recognizer": settings.get("weights"),
        "aligner": aligner.get("segmenter"),
    }


def load_components(
    folder: str | os.PathLike[str],
    dtype: str | torch.dtype = "float32",
    encoder_dtype: str = "auto",
    encoder_source: str | None = None,
    llm_source: str | None = None,
    segmenter: str | None = None,
    segmenter_options: Mapping[str, Any] | None = None,
    quantization: str | None = None,
    device: str | torch.device = "cpu",
) -> ModelComponents:
    """The components of a model.

    Only JSON and safetensors are read, and only classes that are registered here are
    used: nothing that comes with a model is run.

    Arguments
    ---------
    folder : path-like
        As :func:`find_folder` gives it.
    dtype, encoder_dtype, encoder_source, llm_source
        Of :meth:`SpeechLM.from_pretrained`.
    segmenter, segmenter_options, quantization
        Of :meth:`SpeechLM.from_pretrained`.
    device : str or torch.device
        Where an LLM is quantised; all else is loaded on the CPU.

    Returns
    -------
    ModelComponents

    Raises
    ------
    ValueError
        As :meth:`SpeechLM.from_pretrained`.
    """
    folder = pathlib.Path(folder)
    for subfolder in (folder, folder / SEGMENTER, folder / TUNED):
        if subfolder.is_dir():
            hub.check_regular(subfolder)
    settings = read_settings(folder)
    encoder = _backbone(
        "encoder",
        encoder_source or settings["encoder"]["source"],
        folder,
        lambda name: SpeechEncoder(
            name,
            layer=settings["encoder"]["layer"],
            dtype=encoder_dtype,
            window=settings["encoder"]["window"],
        ),
    )
    gguf = None
    if llm_source is not None and is_gguf(llm_source):
        gguf, llm_source = llm_source, None
    if (gguf or quantization) and (folder / TUNED / "config.json").is_file():
        raise ValueError(
            f"the LLM of '{folder}' was tuned as a whole, and is kept there in full: "
            f"neither a quantization nor a GGUF file of the original can be given"
        )
    llm = _backbone(
        "llm",
        llm_source or settings["llm"]["source"],
        folder,
        lambda name: TextLLM(name, dtype, quantization, gguf),
    )
    if quantization is not None:
        # Adapters have it loaded at once: what one device packs, another cannot read.
        llm = llm.to(device)
    for kind, model in (("encoder", encoder), ("llm", llm)):
        weights = settings[kind]["weights"]
        if model.fingerprint != weights and not hub.matches(weights, model.source):
            raise ValueError(
                f"'{folder}' was trained with another {kind} than '{model.source}': "
                f"give {kind}_source, the path or id of {settings[kind]['source']} as "
                f"it was then"
            )
    segmenters: dict[str, Segmenter | None]
    if segmenter is None:
        kept = settings["segmenter"]
        if kept is not None and _is_trained(kept):
            kept["options"] = read_segmenter(folder / SEGMENTER)["options"]
        segmenters = _load_segmenters(folder, settings, encoder, llm)
    else:
        options = {**(segmenter_options or {}), "forced": settings["forced"]}
        kept = settings["segmenter"]
        options = _with_own_options(kept, segmenter, options)
        pair = build.segmenters(segmenter, encoder, llm, options)
        segmenters = {"forced": pair["forced"], "predicted": pair["predicted"]}
        settings["segmenter"] = _named(segmenter, options)
        if not _hears_alike(kept, settings["segmenter"], pair["predicted"]):
            # It was fitted to another's hypotheses.
            settings["gate"] = None
    return ModelComponents(
        encoder=encoder,
        llm=llm,
        connector=_load_connector(folder, settings, encoder, llm),
        segmenters=segmenters,
        settings={k: v for k, v in settings.items() if k not in _OF_MODELS},
        tuned=_load_tuned(folder, llm),
    )


def read_metrics(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What was measured of a model, if it was kept.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    path = pathlib.Path(folder) / METRICS
    if not path.is_file():
        return None
    metrics: dict[str, Any] = read_json(path, {str: dict})
    return metrics


def find_folder(
    source: str | os.PathLike[str],
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
    """The folder of a model, fetched from the hub if need be.

    Raises
    ------
    ValueError
        If it is neither.

    Example
    -------
    >>> folder = getfixture("tiny_speech_lm_folder")
    >>> find_folder(folder) == folder
    True
    """
    folder = pathlib.Path(source)
    if folder.is_dir():
        return folder
    where = address(source)
    name = where["pretrained_model_name_or_path"]
    if folder.is_absolute() or not _is_hub_id(name):
        raise ValueError(f"there is no folder '{source}'")
    try:
        path = huggingface_hub.snapshot_download(
            name,
            revision=revision or where.get("revision"),
            token=token,
            cache_dir=None if cache_dir is None else pathlib.Path(cache_dir),
            allow_patterns=_FETCHED,
        )
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        raise ValueError(
            f"'{source}' is neither a folder on this machine nor a model that the "
            f"Hugging Face hub or its local cache gives: {error}"
        ) from error
    return pathlib.Path(path)


def _is_hub_id(name: str) -> bool:
    try:
        huggingface_hub.utils.validate_repo_id(name)
    except huggingface_hub.errors.HFValidationError:
        return False
    return True


def read_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``speech_lm.json`` says.

    Raises
    ------
    ValueError
        If there is none, or it is damaged, or of a later format.
    """
    path = pathlib.Path(folder) / SETTINGS
    if not path.is_file():
        raise ValueError(
            f"'{folder}' holds no speech LM ({SETTINGS}): make one with "
            f"hparams/distill.yaml and give its output_folder"
        )
    settings: dict[str, Any] = read_json(path, dict)
    for keys, kind in _WANTED.items():
        value: Any = settings
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{path} is damaged: '{'.'.join(keys)}' is {value!r}")
    steps = settings["lm_fusion"]["steps"]
    if not 0 <= steps <= _MOST_STEPS:
        raise ValueError(
            f"{path} is damaged: 'lm_fusion.steps' is {steps}, not 0 to {_MOST_STEPS}"
        )
    if settings["format"] > FORMAT:
        raise ValueError(
            f"{path} is of format {settings['format']}, made by ssr_plugin "
            f"{settings.get('version')}: install a later ssr_plugin than {__version__}"
        )
    return settings


def _backbone(
    kind: str, source: str, folder: pathlib.Path, make: Callable[[str], Any]
) -> Any:
    """Encoder or LLM, or an error that says how to name it where it is."""
    try:
        return make(source)
    except ValueError as error:
        raise ValueError(
            f"the {kind} of '{folder}' cannot be loaded: {error} (if it is elsewhere, "
            f"give {kind}_source)"
        ) from error


def _load_connector(
    folder: pathlib.Path, settings: dict[str, Any], encoder: SpeechEncoder, llm: TextLLM
) -> Connector:
    name, options = settings["connector"]["name"], settings["connector"]["options"]
    try:
        hub.check_sizes(options, folder / WEIGHTS)
        connector = build.connector(name, encoder, llm, {name: options})
        connector.load_state_dict(load_file(pathlib.Path(folder) / WEIGHTS))
    except (OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise ValueError(
            f"{SETTINGS} and {WEIGHTS} in '{folder}' do not belong together, or are "
            f"damaged ({type(error).__name__}: {error})"
        ) from error
    return connector


def _load_segmenters(
    folder: pathlib.Path, settings: dict[str, Any], encoder: SpeechEncoder, llm: TextLLM
) -> dict[str, Segmenter | None]:
    options = {"forced": settings["forced"]}
    forced = build.segmenter("forced", encoder, llm, options)
    segmenters: dict[str, Segmenter | None] = {"forced": forced}
    predicted: Segmenter
    kept = settings["segmenter"]
    if kept is None:
        return segmenters
    if _is_trained(kept):
        predicted = load_segmenter(folder / SEGMENTER, encoder, llm)
    else:
        name = kept["name"]
        predicted = build.segmenter(name, encoder, llm, {name: kept.get("options")})
        # Models of earlier versions do not say.
        if isinstance(predicted, HearingSegmenter) and "weights" in kept:
            _check_heard_by(kept, predicted, folder)
    return {**segmenters, "predicted": predicted}


def _check_heard_by(
    kept: dict[str, Any], segmenter: HearingSegmenter, folder: pathlib.Path
) -> None:
    """Refuses another recogniser, or aligner of its words, than was saved."""
    found = _heard_by(segmenter)
    kinds = {"recognizer": "source", "aligner": "times"}
    saved = kept["weights"] if isinstance(kept["weights"], dict) else {}
    for kind, option in kinds.items():
        if saved.get(kind) != found[kind]:
            name, named = kept["name"], (kept.get("options") or {}).get(option)
            raise ValueError(
                f"'{folder}' was saved with another {_WORDS[kind]} than "
                f"'{named or 'that of the encoder'}' is now: put it back as it was, or "
                f"name one by segmenter='{name}' and "
                f"segmenter_options={{'{name}': {{'{option}': ...}}}}"
            )


def _named(segmenter: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """A segmenter that the user names, as settings name it."""
    if pathlib.Path(segmenter).is_dir():
        kept = read_segmenter(segmenter)
        return {"name": kept["segmenter"], "options": kept["options"]}
    if get_registry().segmenters.makes(segmenter, TranscriptSegmenter):
        return None
    return {"name": segmenter, "options": dict(options.get(segmenter) or {})}


def _with_own_options(
    kept: dict[str, Any] | None, segmenter: str, options: dict[str, Any]
) -> dict[str, Any]:
    """Options where what is not told of a segmenter is as the model's own has it."""
    if kept is None or kept["name"] != segmenter:
        return options
    own, given = dict(kept.get("options") or {}), dict(options.get(segmenter) or {})
    if given.get("language", own.get("language")) != own.get("language"):
        # An aligner is of a language.
        own.pop("times", None)
    return {**options, segmenter: own | given}


def _hears_alike(
    kept: dict[str, Any] | None, named: dict[str, Any] | None, segmenter: Any
) -> bool:
    """Whether two recognisers differ but in how one of their hypotheses is chosen."""
    if kept is None or named is None or not isinstance(segmenter, HearingSegmenter):
        return False
    weights = kept.get("weights")
    if weights is not None and weights != _heard_by(segmenter):
        return False

    def heard(settings: dict[str, Any]) -> dict[str, Any]:
        options = settings.get("options") or {}
        return {key: x for key, x in options.items() if key not in _OF_CHOICE}

    return kept["name"] == named["name"] and heard(kept) == heard(named)


def _is_trained(segmenter: dict[str, Any]) -> bool:
    """Whether a segmenter, as the settings name it, has weights."""
    return get_registry().segmenters.makes(segmenter["name"], TrainableSegmenter)


def _load_tuned(folder: pathlib.Path, llm: TextLLM) -> "TunedLLM | None":
    if not (folder / TUNED).is_dir():
        return None
    # Late, since PEFT takes long to import.
    from ssr_plugin.llm.tuning import TunedLLM

    tuned: TunedLLM = TunedLLM.load(llm, folder / TUNED)
    return tuned


def _name(source: str) -> str:
    """A source as another process, on this machine or another, will find it."""
    folder = pathlib.Path(source)
    return str(folder.absolute()) if folder.is_dir() else pin(source)
