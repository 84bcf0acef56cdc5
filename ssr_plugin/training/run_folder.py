"""One run in one folder: settings and data are those of its checkpoint.

A run that stopped goes on when the same command is given again. With other settings it
would go on, too, or end at once, and what it leaves would be told to be made with
settings and data that it never saw.
"""

import json
import pathlib

from speechbrain.utils.checkpoints import CKPT_PREFIX
from speechbrain.utils.distributed import if_main_process

from ssr_plugin.data.manifest import read_manifest
from ssr_plugin.files import atomic_path, digest
from ssr_plugin.hparams import plain_keys
from ssr_plugin.hparams_checks import renamed
from ssr_plugin.json_files import read_json

SETTINGS = "hyperparams.yaml"
_DATA = "data.json"
# What changes nothing that is trained, and models and data, which are known by content.
_FREE = {
    *("number_of_epochs", "num_workers", "loggers", "ckpt_interval_minutes"),
    *("cache_folder", "cache_features", "cuda_graphs", "output_folder"),
    *("num_shown", "score_with_llm", "lm_fusion_steps", "lm_fusion_weight"),
    *("inverse_temperature", "segmenter_yaml", "segmenter_training"),
    "aligner_training",
    *("encoder_source", "llm_source", "segmenter", "stage1"),
    *("data_folder", "dataset", "train_splits", "valid_splits", "test_splits"),
    *("valid_share", "valid_fold", "max_skipped_share", "extra_train"),
}
# What a run that stopped may be told to change: for its memory, or to diverge no more.
_FREE_BEFORE_THE_END = {
    *("lr", "precision", "max_grad_norm", "gradient_checkpointing", "llm_dtype"),
    *("batch_seconds", "grad_accumulation_factor"),
}


def check_settings(folder, settings):
    """Refuses settings that are not those of the checkpoint in a run's folder.

    Arguments
    ---------
    folder : path-like
        A run's, or an empty one.
    settings : dict
        A YAML's plain keys.

    Raises
    ------
    ValueError
        If one differs that may not; it is named, with both values.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / SETTINGS).write_text("seed: 1\\nnum_workers: 2\\n")
    >>> check_settings(folder, {"seed": 2})
    >>> (folder / "checkpoints" / "CKPT+1").mkdir(parents=True)
    >>> check_settings(folder, {"seed": 1, "num_workers": 0})
    >>> check_settings(folder, {"seed": 2})
    Traceback (most recent call last):
        ...
    ValueError: output_folder: the run in '...' has other settings: seed is 1 there, and
    2 here. Give this run an output_folder of its own, or go on with its settings ...
    """
    folder = pathlib.Path(folder)
    path = folder / SETTINGS
    if not (has_checkpoint(folder) and path.is_file()):
        return
    try:
        saved = renamed(plain_keys(path.read_text(encoding="utf-8")))
    # ruamel has errors of many classes.
    except Exception as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    epochs_done = _epochs_done(folder)
    free = set(_FREE)
    if "segmenter_yaml" not in settings:
        # It is not a model that is used, but what is trained.
        free.discard("segmenter")
    if epochs_done < saved.get("number_of_epochs", 0):
        free |= _FREE_BEFORE_THE_END
    # A segmenter that is trained first is a folder there, and a name here; its own run
    # compares its options.
    names = {
        key: {"forced", saved.get(key), settings.get(key)}
        for key in ("aligner", "connector", "segmenter", "tuning")
    }
    trained = saved.get("segmenter") != settings.get("segmenter")
    if trained and "segmenter_yaml" in settings:
        names["segmenter"] = {"forced"}
    there, here = _used(saved, names), _used(settings, names)
    # Keys that only one version of this package has are none of the user's.
    others = [
        f"{key} is {json.dumps(there[key], default=str)} there, and "
        f"{json.dumps(value, default=str)} here"
        for key, value in here.items()
        if key not in free and key in there and there[key] != value
    ]
    epochs = settings.get("number_of_epochs", epochs_done)
    if epochs < epochs_done:
        others.append(f"{epochs_done} epochs are done there, and {epochs} wanted here")
    if others:
        raise ValueError(
            f"output_folder: the run in '{folder}' has other settings: "
            f"{'; '.join(others)}. Give this run an output_folder of its own, or go on "
            f"with its settings ({path}): only number_of_epochs (more), loggers, "
            f"num_workers, caches and keys of the report may change, and before the "
            f"end lr, precision and batch_seconds"
        )


def has_checkpoint(folder):
    """Whether a run's folder holds a checkpoint."""
    folders = (pathlib.Path(folder) / "checkpoints").glob(f"{CKPT_PREFIX}*")
    return any(path.is_dir() for path in folders)


def _epochs_done(folder):
    """Epochs of a run that ended; 0 of one that has not."""
    try:
        metrics = read_json(folder / "metrics.json", {"train": {"epochs": int}})
        return metrics["train"]["epochs"]
    except ValueError:
        return 0


def _used(settings, names):
    """Settings without the options of components that are not in use."""
    used = {}
    for key, value in settings.items():
        kind = key.removesuffix("_options")
        if kind in names and kind != key and isinstance(value, dict):
            value = {name: x for name, x in value.items() if name in names[kind]}
        used[key] = value
    return used


def known_data(folder):
    """What a run's checkpoint was trained on; asked before data are prepared anew.

    Arguments
    ---------
    folder : path-like

    Returns
    -------
    dict or None
        A digest for each manifest; None if there is no checkpoint.
    """
    folder = pathlib.Path(folder)
    if not has_checkpoint(folder):
        return None
    try:
        return read_json(folder / "checkpoints" / _DATA, {str: str})
    except ValueError:
        pass
    manifests = folder / "manifests"
    try:
        return _digests(manifests / "train.csv", manifests / "valid.csv")
    except (OSError, ValueError):
        return None


def check_data(folder, manifests, known):
    """Refuses other data than those of the checkpoint; notes those of a first run.

    Arguments
    ---------
    folder : path-like
        A run's.
    manifests : ssr_plugin.data.prepare.Manifests
    known : dict or None
        Of :func:`known_data`.

    Raises
    ------
    ValueError
        If utterances, transcripts or speakers differ; where the files lie is all one.
    """
    found = _digests(manifests.train, manifests.valid)
    differing = [name for name in found if known and known.get(name) != found[name]]
    if differing:
        raise ValueError(
            f"output_folder: the run in '{folder}' was trained on other data "
            f"({' and '.join(differing)}): give this run an output_folder of its own, "
            f"or go on with the data of the other"
        )
    if if_main_process():
        with atomic_path(pathlib.Path(folder) / "checkpoints" / _DATA) as partial:
            partial.write_text(json.dumps(known or found))


def _digests(train, valid):
    rows = {"train": read_manifest(train), "valid": read_manifest(valid)}
    return {
        split: digest([(name, x["spk_id"], x["wrd"]) for name, x in utterances.items()])
        for split, utterances in rows.items()
    }
