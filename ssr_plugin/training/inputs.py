"""Checks that a stage's inputs are there, before any model is loaded."""

from ssr_plugin import build
from ssr_plugin.data.frame_rounding import check_cache_dtype
from ssr_plugin.data.text_files import read_documents
from ssr_plugin.files import check_writable
from ssr_plugin.hub import load_config
from ssr_plugin.languages import AUTO
from ssr_plugin.nnet.dtypes import parse_dtype
from ssr_plugin.nnet.precision import resolve_precision
from ssr_plugin.problems import prefix_errors
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.base import FrameSegmenter
from ssr_plugin.training.batch_size import check_batch_seconds
from ssr_plugin.training.fsdp import check_parallel
from ssr_plugin.training.loop import loader_workers
from ssr_plugin.training.stage1_model import find_stage1
from ssr_plugin.training.text_data import SELF


def check_inputs(settings):
    """Looks for the models, files and folders that a stage's YAML names.

    The data set is not looked for: it is made and prepared before models are loaded.

    Arguments
    ---------
    settings : dict
        The YAML's plain keys.

    Raises
    ------
    ValueError or OSError
        If something is not there, or nothing can be written; the message names the key.

    Example
    -------
    >>> check_inputs({"output_folder": getfixture("tmp_path"), "llm_source": "/no/llm"})
    Traceback (most recent call last):
        ...
    ValueError: llm_source: '/no/llm' is neither a folder on this machine nor ...
    """
    for key in ("output_folder", "cache_folder"):
        if key in settings:
            check_writable(key, settings[key])
    if "precision" in settings:
        resolve_precision(settings["precision"])
    if "batch_seconds" in settings:
        check_batch_seconds(settings["batch_seconds"])
    if "cache_dtype" in settings:
        check_cache_dtype(settings["cache_dtype"])
    if "parallel" in settings:
        check_parallel(settings["parallel"], settings["precision"])
    if settings.get("quantization") is not None:
        check_quantized_tuning(settings)
    if "num_workers" in settings:
        loader_workers(settings["num_workers"])
    for key in ("encoder_dtype", "llm_dtype"):
        # Only the encoder takes auto.
        if settings.get(key, "auto") != "auto":
            with prefix_errors(key):
                parse_dtype(settings[key])
    for key in ("encoder_source", "llm_source"):
        if key in settings:
            with prefix_errors(key):
                load_config(settings[key])
    if "stage1" in settings:
        find_stage1(settings["stage1"])
    if "connector" in settings:
        name = settings["segmenter"]
        if not build.is_trainable(name):
            build.is_trained_folder(name)
        elif not get_registry().segmenters.makes(name, FrameSegmenter):
            raise ValueError(
                f"segmenter: '{name}' needs a transcript, and cannot cut audio alone: "
                f"train it with hparams/segmenter.yaml, as an aligner"
            )
    elif "segmenter" in settings:
        # Here it is the one to be trained.
        get_registry().segmenters.get(settings["segmenter"])
    # That of a language is trained later, unless it is named by now.
    if settings.get("aligner", AUTO) != AUTO:
        with prefix_errors(f"aligner_options: {settings['aligner']}"):
            build.aligner(settings["aligner"], settings["aligner_options"])
    _check_text(settings)


def check_quantized_tuning(settings):
    """Refuses to tune a quantised LLM in ways that need its weights.

    Arguments
    ---------
    settings : dict
        Plain keys of ``hparams/finetune.yaml``; ``quantization`` is not None.

    Raises
    ------
    ValueError
    """
    if settings["quantization"] != "4bit":
        # In 8 bits, bitsandbytes rounds what layers read, too, and adapters get other
        # gradients: on a CPU they were off by half of their norm.
        raise ValueError(
            f"quantization: '{settings['quantization']}' is none to tune on: it may be "
            f"4bit, or null"
        )
    if settings["tuning"] == "full":
        raise ValueError(
            "quantization: weights of a few bits cannot be tuned: set tuning: lora, "
            "whose adapters are not quantised"
        )
    if settings["parallel"] == "fsdp":
        raise ValueError(
            "quantization: a quantised LLM is not cut into parts: set parallel: ddp, "
            "or leave it out"
        )


def _check_text(settings):
    """Checks that each text that is read has a document."""
    heldout = settings.get("text_heldout")
    if heldout is not None:
        next(read_documents(heldout, "text_heldout"))
    source = settings.get("text_source", SELF)
    if source != SELF and (settings["text_ratio"] > 0 or heldout is None):
        next(read_documents(source))
