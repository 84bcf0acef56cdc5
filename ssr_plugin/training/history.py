"""The figures of every epoch: on screen, in the log, TensorBoard and checkpoints."""

import json
import logging
import pathlib

from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import if_main_process

logger = logging.getLogger(__name__)


@register_checkpoint_hooks
class History:
    """Keeps one dict of figures for each epoch, across restarts; 0 is before training.

    Arguments
    ---------
    folder : path-like
        Where TensorBoard's events go.

    Example
    -------
    >>> history = History(getfixture("tmp_path"))
    >>> history.add(1, loss=0.5, token_accuracy=40.0)
    >>> history.epochs
    [{'epoch': 1, 'loss': 0.5, 'token_accuracy': 40.0}]
    """

    def __init__(self, folder):
        self.folder = folder
        self.epochs = []
        self._writer = None

    def add(self, epoch, **figures):
        """Notes and shows the figures of an epoch; those that are None are left out."""
        figures = {key: value for key, value in figures.items() if value is not None}
        self.epochs.append({"epoch": epoch, **figures})
        if if_main_process():
            shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
            logger.info("epoch %d: %s", epoch, shown)
            self._write(self.epochs[-1])

    def _write(self, figures):
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # Events of epochs that a killed run wrote and this one repeats are dropped.
            self._writer = SummaryWriter(self.folder, purge_step=figures["epoch"])
        for key, value in figures.items():
            self._writer.add_scalar(key, value, figures["epoch"])
        self._writer.flush()

    @mark_as_saver
    def save(self, path):
        """Writes the epochs so far."""
        pathlib.Path(path).write_text(json.dumps(self.epochs))

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Reads the epochs so far."""
        del end_of_epoch
        self.epochs = json.loads(pathlib.Path(path).read_text())
