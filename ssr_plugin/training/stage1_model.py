"""The model of stage 1, and its LLM made ready to be tuned in stage 2."""

import hashlib
import logging
import pathlib

import torch

from ssr_plugin.data.manifest import read_manifest
from ssr_plugin.inference.pretrained import TUNED, find_folder, read_settings
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.llm.compact_weights import let_gradients_through
from ssr_plugin.llm.tuning import TunedLLM
from ssr_plugin.training.checkpoints import SameModels

logger = logging.getLogger(__name__)


def find_stage1(source):
    """The folder of the model of stage 1; checks that there is one.

    Arguments
    ---------
    source : str
        Folder of a run of ``hparams/distill.yaml``, or hub id.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If there is none, or its LLM is tuned already.

    Example
    -------
    >>> find_stage1(getfixture("tmp_path") / "distill")
    Traceback (most recent call last):
        ...
    ValueError: stage1: there is no folder '...distill'. It is made by the same command
    with hparams/distill.yaml in place of hparams/finetune.yaml; give its output_folder
    here
    """
    folder = pathlib.Path(source)
    try:
        # If the parent folder exists, it is a path and not a hub id.
        if not folder.is_dir() and len(folder.parts) > 1 and folder.parent.is_dir():
            raise ValueError(f"there is no folder '{folder}'")
        folder = find_folder(source)
        read_settings(folder)
        if (folder / TUNED).is_dir():
            raise ValueError(f"the LLM of '{source}' is tuned already")
    except ValueError as error:
        raise ValueError(
            f"stage1: {error}. It is made by the same command with "
            f"hparams/distill.yaml in place of hparams/finetune.yaml; give its "
            f"output_folder here"
        ) from error
    return folder


def load_stage1(source, device=None, **options):
    """The model of stage 1.

    Arguments
    ---------
    source : str
        As in :func:`find_stage1`.
    device : str or None
    **options
        Of :meth:`SpeechLM.from_pretrained`.

    Returns
    -------
    ssr_plugin.inference.speech_lm.SpeechLM

    Raises
    ------
    ValueError
        If there is none, or it cannot be loaded.
    """
    find_stage1(source)
    try:
        return SpeechLM.from_pretrained(source, device=device, **options)
    except ValueError as error:
        raise ValueError(f"stage1: {error}") from error


def compare_data(source, manifests):
    """Warns if the connector learnt from other data, or from this run's test data.

    It knows this only if ``source`` is the folder of a run.

    Arguments
    ---------
    source : str
        As in :func:`load_stage1`.
    manifests : ssr_plugin.data.prepare.Manifests
        Of this run.
    """
    manifest = pathlib.Path(source) / "manifests" / "train.csv"
    if not manifest.is_file():
        return
    learnt_wavs = {row["wav"] for row in read_manifest(manifest).values()}
    paths = {"train": manifests.train, "valid": manifests.valid, **manifests.tests}
    for split, path in paths.items():
        wavs = {row["wav"] for row in read_manifest(path).values()}
        num_learnt = len(wavs & learnt_wavs)
        if split == "train" and not num_learnt:
            logger.warning(
                "stage1: the connector in '%s' learnt from other data than this run's",
                source,
            )
        elif split != "train" and num_learnt:
            logger.warning(
                "stage1: the connector in '%s' learnt from %d of the %d utterances of "
                "%s: its results there are too good",
                source,
                num_learnt,
                len(wavs),
                split,
            )


def tune(llm, hparams):
    """Makes an LLM ready to be tuned as ``hparams`` say.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    hparams : dict
        ``tuning``, ``tuning_options``, ``gradient_checkpointing``, ``quantization``,
        ``seed``.

    Returns
    -------
    ssr_plugin.llm.tuning.TunedLLM

    Raises
    ------
    ValueError
        If it cannot be tuned so.
    """
    kind = hparams["tuning"]
    options = (hparams["tuning_options"] or {}).get(kind) or {}
    # The first weights depend on the seed alone.
    torch.manual_seed(hparams["seed"])
    try:
        tuned = TunedLLM(llm, kind, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"tuning: {kind}, tuning_options: {error}") from error
    if hparams["quantization"] is not None:
        let_gradients_through(tuned.model)
    if hparams["gradient_checkpointing"]:
        model = tuned.model
        # Its name from transformers 5.24 on, and before.
        enable = getattr(model, "activation_checkpointing_enable", None)
        enable = enable or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    return tuned


def same_models(lm):
    """Keeps in checkpoints which frozen models they were made with.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
        Of stage 1.

    Returns
    -------
    ssr_plugin.training.checkpoints.SameModels
    """
    same = SameModels(encoder=lm.encoder.source, llm=lm.llm.source)
    same.marks["connector"] = _weights_mark(lm.connector)
    same.marks["segmenter"] = _weights_mark(lm.segmenters)
    return same


def _weights_mark(module):
    """A digest of a module's weights."""
    hashed = hashlib.blake2b(digest_size=8)
    for name, weight in sorted(module.state_dict().items()):
        hashed.update(name.encode())
        hashed.update(weight.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return hashed.hexdigest()
