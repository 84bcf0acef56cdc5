"""The metrics of every epoch: on screen, in the log, in loggers and checkpoints."""

import json
import logging
import pathlib

from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import if_main_process

from ssr_plugin.json_files import read_json
from ssr_plugin.training.loggers import make_loggers

logger = logging.getLogger(__name__)


@register_checkpoint_hooks
class History:
    """Keeps one dict of metrics for each epoch, across restarts; 0 is before training.

    Arguments
    ---------
    folder : path-like
        The run's.
    loggers : list of str
        Where else they are shown: ``tensorboard``, ``wandb``.

    Raises
    ------
    ValueError
        If there is no logger of a name, or it cannot start.

    Example
    -------
    >>> history = History(getfixture("tmp_path"))
    >>> history.add(1, loss=0.5, token_accuracy=40.0)
    >>> history.epochs
    [{'epoch': 1, 'loss': 0.5, 'token_accuracy': 40.0}]
    """

    def __init__(self, folder, loggers=("tensorboard",)):
        self.epochs = []
        self._loggers = make_loggers(loggers, folder) if if_main_process() else []
        self._num_logged = 0

    def add(self, epoch, **metrics):
        """Keeps and logs the metrics of an epoch; those that are None are left out."""
        metrics = {key: value for key, value in metrics.items() if value is not None}
        self.epochs.append({"epoch": epoch, **metrics})
        if if_main_process():
            line = "  ".join(f"{key} {value:.4g}" for key, value in metrics.items())
            logger.info("epoch %d: %s", epoch, line)
            for metrics in self.epochs[self._num_logged :]:
                for epoch_logger in self._loggers:
                    epoch_logger.log(metrics)
            self._num_logged = len(self.epochs)

    @mark_as_saver
    def save(self, path):
        """Writes the epochs so far."""
        pathlib.Path(path).write_text(json.dumps(self.epochs))

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Reads the epochs so far."""
        del end_of_epoch
        self.epochs = read_json(path, [dict])
        self._num_logged = 0
