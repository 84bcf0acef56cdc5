"""Checkpoints that a killed process cannot leave half written."""

import logging
import os
import pathlib
import random
import shutil

import numpy as np
import torch
from speechbrain.utils.checkpoints import (
    CKPT_PREFIX,
    Checkpoint,
    Checkpointer,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import if_main_process


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's Checkpointer, whose folders appear whole or not at all.

    The original writes the file that marks a folder as a checkpoint before the
    parameters, so that a process killed in between leaves a checkpoint that the next
    run fails to load. Here the folder gets its name when everything is in it.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> layer = torch.nn.Linear(1, 1)
    >>> checkpointer = AtomicCheckpointer(folder, {"layer": layer})
    >>> _ = checkpointer.save_checkpoint()
    >>> len(checkpointer.list_checkpoints())
    1
    """

    partial_prefix = "partial-"

    def _new_checkpoint_dirpath(self):
        path = super()._new_checkpoint_dirpath()
        return path.with_name(self.partial_prefix + path.name)

    def _custom_checkpoint_dirpath(self, name):
        path = super()._custom_checkpoint_dirpath(name)
        return path.with_name(self.partial_prefix + path.name)

    def save_checkpoint(
        self, meta=None, end_of_epoch=True, name=None, verbosity=logging.INFO
    ):
        """As the original's, but for the above; sweeps up what killed runs left."""
        if if_main_process():
            whole = self._list_checkpoint_dirs()
            for path in self.checkpoints_dir.glob(f"*{CKPT_PREFIX}+*"):
                if path not in whole:
                    shutil.rmtree(path)
        saved = super().save_checkpoint(meta or {}, end_of_epoch, name, logging.DEBUG)
        if not if_main_process():
            return None
        path = saved.path.with_name(saved.path.name.removeprefix(self.partial_prefix))
        os.replace(saved.path, path)
        logging.getLogger(__name__).log(verbosity, "Saved a checkpoint in %s", path)
        files = {key: path / file.name for key, file in saved.paramfiles.items()}
        return Checkpoint(path, saved.meta, files)


@register_checkpoint_hooks
class RandomState:
    """The state of all random number generators, as a part of a checkpoint.

    Example
    -------
    >>> file = getfixture("tmp_path") / "random"
    >>> state = RandomState()
    >>> state.save(file)
    >>> first = torch.rand(1)
    >>> state.load(file, end_of_epoch=False)
    >>> bool(torch.rand(1) == first)
    True
    """

    @mark_as_saver
    def save(self, path):
        """Writes the states of torch, numpy and random."""
        _, keys, *numpy_rest = np.random.get_state()
        state = {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": torch.tensor(keys.astype(np.int64)),
            "numpy_rest": numpy_rest,
            "random": random.getstate(),
        }
        torch.save(state, pathlib.Path(path))

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Sets the generators to the states in the file."""
        del end_of_epoch
        state = torch.load(path, weights_only=True)
        torch.set_rng_state(state["torch"])
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])
        keys = state["numpy"].numpy().astype(np.uint32)
        np.random.set_state(("MT19937", keys, *state["numpy_rest"]))
        random.setstate(state["random"])
