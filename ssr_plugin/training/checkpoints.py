"""Checkpoints that a killed process cannot leave half written."""

import json
import logging
import os
import pathlib
import shutil
import textwrap

import torch
import yaml
from speechbrain.utils.checkpoints import (
    CKPT_PREFIX,
    METAFNAME,
    Checkpoint,
    Checkpointer,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from ssr_plugin import hub
from ssr_plugin.json_files import read_json
from ssr_plugin.segmenters.trained import segmenter_mark


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer, whose folders appear whole or not at all.

    The original first writes the file that marks a folder as a checkpoint, and then the
    parameters. A process killed in between leaves a checkpoint that the next run cannot
    load. Here the folder gets its name when everything is in it.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> import torch
    >>> layer = torch.nn.Linear(1, 1)
    >>> checkpointer = AtomicCheckpointer(folder, {"layer": layer})
    >>> _ = checkpointer.save_checkpoint()
    >>> len(checkpointer.list_checkpoints())
    1
    """

    partial_prefix = "partial-"

    def _list_checkpoint_dirs(self):
        """As the original's, but says which checkpoint is damaged."""
        folders = super()._list_checkpoint_dirs()
        for folder in folders:
            try:
                meta = yaml.safe_load((folder / METAFNAME).read_text(encoding="utf-8"))
                float(meta["unixtime"])
            except (KeyError, OSError, TypeError, ValueError, yaml.YAMLError) as error:
                raise ValueError(
                    f"the checkpoint in {folder} is damaged ({METAFNAME}): delete the "
                    f"folder, and the run goes on from the one before it"
                ) from error
        return folders

    def _new_checkpoint_dirpath(self):
        path = super()._new_checkpoint_dirpath()
        return path.with_name(self.partial_prefix + path.name)

    def _custom_checkpoint_dirpath(self, name):
        path = super()._custom_checkpoint_dirpath(name)
        return path.with_name(self.partial_prefix + path.name)

    def save_checkpoint(
        self, meta=None, end_of_epoch=True, name=None, verbosity=logging.INFO
    ):
        """As the original's, but atomic; also deletes what killed runs left."""
        if if_main_process():
            checkpoint_folders = self._list_checkpoint_dirs()
            for path in self.checkpoints_dir.glob(f"*{CKPT_PREFIX}+*"):
                if path not in checkpoint_folders:
                    shutil.rmtree(path)
        saved = super().save_checkpoint(meta or {}, end_of_epoch, name, logging.DEBUG)
        if if_main_process():
            saved = self._name(saved)
            logging.getLogger(__name__).log(
                verbosity, "Saved a checkpoint in %s", saved.path
            )
        # Each process lists the checkpoints to decide which to delete: all must see
        # the new one.
        ddp_barrier()
        return saved

    def _name(self, saved):
        """Gives a complete checkpoint its final name."""
        path = saved.path.with_name(saved.path.name.removeprefix(self.partial_prefix))
        os.replace(saved.path, path)
        files = {key: path / file.name for key, file in saved.paramfiles.items()}
        return Checkpoint(path, saved.meta, files)

    def load_checkpoint(self, checkpoint):
        """As the original's, but says what is wrong if the checkpoint does not fit.

        Raises
        ------
        ValueError
            If the checkpoint is of a run with other settings, or damaged.
        """
        try:
            super().load_checkpoint(checkpoint)
            for recoverable in self.recoverables.values():
                if isinstance(recoverable, torch.optim.Optimizer):
                    _check_sizes(recoverable)
        # A damaged file may give any error: of torch, pickle, YAML or Python.
        except Exception as error:
            raise ValueError(
                f"the checkpoint in {checkpoint.path} does not fit: it was made with "
                f"other settings (connector, encoder_source, llm_source, ...), or is "
                f"damaged. Give this run an output_folder of its own, go on with the "
                f"settings of the other, or delete the checkpoint. "
                f"({textwrap.shorten(str(error), 300)})"
            ) from error


def _check_sizes(optimizer):
    """Raises if moments are not of their parameters' sizes: fused kernels do not look.

    A module may take weights of an earlier version in another size.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.dim() and value.shape != parameter.shape:
                raise ValueError(
                    f"{name} of the optimizer is {list(value.shape)}, its parameter "
                    f"{list(parameter.shape)}"
                )


@register_checkpoint_hooks
class SameModels:
    """Keeps in a checkpoint which frozen models it was trained with.

    A checkpoint does not hold these models. Without this, another encoder of the same
    width would load without an error, and every reading would be wrong.

    Arguments
    ---------
    segmenter : str
        Name, or folder of a trained one.
    **sources : str
        Name -> hub id or folder. A model is the same under any path.

    Example
    -------
    >>> encoder, llm = getfixture("tiny_encoder_folder"), getfixture("tiny_llm_folder")
    >>> file = getfixture("tmp_path") / "models"
    >>> SameModels(encoder=encoder, llm=llm).save(file)
    >>> SameModels(encoder=llm, llm=llm).load(file, end_of_epoch=True)
    Traceback (most recent call last):
        ...
    ValueError: it was made with another encoder
    """

    def __init__(self, segmenter="forced", **sources):
        self.sources = {name: str(source) for name, source in sources.items()}
        self.marks = {
            name: (hub.whole_fingerprint if name == "llm" else hub.fingerprint)(source)
            for name, source in self.sources.items()
        }
        self.marks["segmenter"] = segmenter_mark(segmenter)

    @mark_as_saver
    def save(self, path):
        """Writes the models' fingerprints."""
        pathlib.Path(path).write_text(json.dumps(self.marks))

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Compares the models' fingerprints.

        Raises
        ------
        ValueError
            If one differs.
        """
        del end_of_epoch
        saved_marks = read_json(path, {str: str})
        for name, mark in self.marks.items():
            saved = saved_marks.get(name)
            if saved == mark:
                continue
            # A checkpoint of an earlier version has another kind of mark.
            if name not in self.sources or not hub.matches(saved, self.sources[name]):
                raise ValueError(f"it was made with another {name}")
