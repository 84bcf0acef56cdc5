"""Where the metrics of each epoch can be followed: TensorBoard, Weights & Biases.

At its start a logger gets all epochs of the run so far, then one at a time. So a run
that was killed and goes on has every epoch once.
"""

import pathlib
import uuid

from ssr_plugin.files import atomic_path


class TensorBoard:
    """Events for TensorBoard.

    SpeechBrain's ``TensorboardLogger`` counts epochs by itself, and from 1 again in a
    run that goes on.

    Arguments
    ---------
    folder : path-like
        The run's; events go into ``tensorboard`` in it.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / "tensorboard"
        self._writer = None

    def log(self, metrics):
        """Shows the metrics of an epoch."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # What a killed run wrote of this epoch and later ones is dropped.
            self._writer = SummaryWriter(self.folder, purge_step=metrics["epoch"])
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, metrics["epoch"])
        self._writer.flush()


class WandB:
    """Weights & Biases.

    The rest is set by its environment variables: with ``WANDB_MODE=offline`` nothing is
    sent; ``WANDB_PROJECT`` and ``WANDB_ENTITY`` say where the run is shown.
    SpeechBrain's ``WandBLogger`` must be called in all processes, because it waits for
    them, and it hides why W&B refuses.

    Arguments
    ---------
    folder : path-like
        The run's. It gives the run its name, and keeps its id for restarts.

    Raises
    ------
    ValueError
        If the package is not installed, or W&B refuses (nobody has logged in).
    """

    def __init__(self, folder):
        try:
            import wandb
        except ImportError:
            raise ValueError(
                "loggers: wandb is not installed: pip install ssr-plugin[wandb]"
            ) from None
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                name=folder.resolve().name,
                dir=folder,
                id=self._id(folder / "wandb_id.txt"),
                resume="allow",
            )
        except wandb.Error as error:
            raise ValueError(
                f"loggers: wandb: {error} (wandb login; or set WANDB_MODE=offline, or "
                f"leave wandb out of loggers)"
            ) from error

    @staticmethod
    def _id(path):
        if not path.exists():
            with atomic_path(path) as partial:
                partial.write_text(uuid.uuid4().hex[:8])
        return path.read_text()

    def log(self, metrics):
        """Shows the metrics of an epoch; one that W&B has already stays as it is."""
        self._run.log(metrics, step=metrics["epoch"], commit=True)


LOGGERS = {"tensorboard": TensorBoard, "wandb": WandB}


def make_loggers(names, folder):
    """The loggers of those names.

    Arguments
    ---------
    names : list of str
    folder : path-like
        The run's.

    Returns
    -------
    list

    Raises
    ------
    ValueError
        If there is none of a name, or it cannot start.

    Example
    -------
    >>> make_loggers(["paper"], "results/distill")
    Traceback (most recent call last):
        ...
    ValueError: loggers: there is no 'paper'; known: tensorboard, wandb
    """
    for name in names:
        if name not in LOGGERS:
            available = ", ".join(LOGGERS)
            raise ValueError(f"loggers: there is no '{name}'; known: {available}")
    return [LOGGERS[name](folder) for name in names]
