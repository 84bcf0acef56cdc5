"""The base of all stages' Brains: schedule, exact restarts, scores.

All Brains divide their work in the same way:

- ``compute_forward`` gives what the loss needs of a batch;
- ``compute_objectives`` gives the loss and nothing else;
- ``read`` reads a batch outside training, as a :class:`ReadOptions` says;
- a :class:`Scorer` gathers the metrics of that.
"""

import abc
import dataclasses
import functools
import time

import speechbrain as sb
import torch
from speechbrain.utils.distributed import get_rank, if_main_process
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from ssr_plugin.files import digest
from ssr_plugin.nnet.precision import resolve_precision
from ssr_plugin.training.augment import Strengths, change_frames
from ssr_plugin.training.memory import explain_out_of_memory
from ssr_plugin.training.planning import TrainingCollate
from ssr_plugin.training.schedule import warmup_cosine


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How a batch is read outside training.

    Arguments
    ---------
    predicted : bool
        Whether segments are predicted from the audio alone; else they are forced.
    use_lm : bool
        Whether the LLM may help a segmenter that can use it.
    lm_fusion : bool
        Whether vectors are read with LM fusion, too.
    """

    predicted: bool = False
    use_lm: bool = True
    lm_fusion: bool = False


class Scorer(abc.ABC):
    """Gathers the metrics of one validation or test; each has a new one."""

    @abc.abstractmethod
    def add(self, batch, reading):
        """Adds a batch.

        Arguments
        ---------
        batch : ssr_plugin.training.batches.Batch
        reading
            The result of :meth:`StageBrain.read` for it.
        """

    @abc.abstractmethod
    def summary(self):
        """The metrics over all batches so far: a dict, JSON-able."""


class StageBrain(sb.Brain, abc.ABC):
    """A SpeechBrain Brain that trains only what takes a gradient and restarts exactly.

    It reads from ``hparams``: ``lr``, ``weight_decay``, ``warmup``, ``precision``,
    ``number_of_epochs``, ``epoch_counter``, ``history`` and ``seed``. A subclass gives
    ``compute_forward`` and ``compute_objectives`` (in training and validation),
    :meth:`read`, :meth:`valid_scorer` and :meth:`valid_stats`. Its ``best`` names the
    metric that is highest ("max_key") or lowest ("min_key") in the best checkpoint.

    Attributes
    ----------
    audio_seconds, train_seconds : float
        Audio that this process has trained on, and the time that its steps took, s.
    """

    best = {"min_key": "loss"}

    def __init__(self, *, hparams, run_opts=None, **kwargs):
        device = (run_opts or {}).get("device")
        precision = resolve_precision(hparams["precision"], device)
        hparams = {**hparams, "precision": precision}
        super().__init__(hparams=hparams, run_opts=run_opts, **kwargs)
        self.audio_seconds = self.train_seconds = 0.0

    def unwrapped(self, name):
        """The module of that name, without the wrapper of DDP."""
        module = self.modules[name]
        if isinstance(module, DistributedDataParallel):
            return module.module
        return module

    def frames(self, batch):
        """The encoder's frames of a batch on the device, cached or made now.

        Arguments
        ---------
        batch : ssr_plugin.training.batches.Batch
            Anywhere.

        Returns
        -------
        features : torch.Tensor
            [B, T, D]
        lengths : torch.Tensor
            [B] int
        """
        batch = batch.to(self.device)
        if batch.cached:
            return batch.inputs.float(), batch.lengths
        features, _ = self.modules.encoder(batch.inputs, torch.tensor(batch.counts))
        missing = batch.num_frames - features.shape[1]
        return torch.nn.functional.pad(features, (0, 0, 0, missing)), batch.lengths

    def augment(self, features, batch):
        """The frames [B, T, D] of a training batch on the device, changed."""
        changes = {key: batch.tensors[key] for key in ("other", "share", "masked")}
        noise = self.collate.strengths.noise
        return change_frames(features, batch.lengths, **changes, noise=noise)

    @functools.cached_property
    def collate(self):
        """What makes training batches of examples, in the loader's workers: a
        :class:`ssr_plugin.training.planning.TrainingCollate`."""
        return self.make_collate()

    def make_collate(self):
        """The collate of training batches; a subclass may plan more."""
        strengths = Strengths.of(vars(self.hparams))
        return TrainingCollate(strengths, self.hparams.seed)

    def init_optimizers(self):
        """AdamW over the parameters that take a gradient, and no others."""
        trained = [p for p in self.modules.parameters() if p.requires_grad]
        # One group for SpeechBrain, whose gradient clipping reads the first alone.
        self.optimizer = torch.optim.AdamW(
            trained,
            lr=self.hparams.lr,
            weight_decay=self.hparams.weight_decay,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.optimizers_dict = {"optimizer": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def fit_epochs(self, loader, valid_loader):
        """Trains for the epochs that are left.

        Arguments
        ---------
        loader : torch.utils.data.DataLoader
            A SaveableDataLoader made by ``make_dataloader``.
        valid_loader : torch.utils.data.DataLoader
        """
        self.steps_per_epoch = len(loader)
        self.fit(self.hparams.epoch_counter, loader, valid_loader)
        for name, module in self.modules.items():
            # From here on a process may work alone, such as the one that draws
            # pictures; inside DDP it would wait for the others for ever.
            if isinstance(module, DistributedDataParallel):
                self.modules[name] = module.module

    def fit_batch(self, batch):
        """As SpeechBrain's; also counts the audio and the time of the step."""
        start = time.perf_counter()
        with explain_out_of_memory(vars(self.hparams)):
            loss = super().fit_batch(batch)
        self.train_seconds += time.perf_counter() - start
        self.audio_seconds += sum(batch.seconds)
        return loss

    @abc.abstractmethod
    def read(self, batch, options):
        """Reads a batch outside training.

        Arguments
        ---------
        batch : ssr_plugin.training.batches.Batch
        options : ReadOptions

        Returns
        -------
        object
            What :meth:`Scorer.add` takes.
        """

    @abc.abstractmethod
    def valid_scorer(self):
        """The scorer of a validation; it adds the results of ``compute_forward``."""

    def valid_stats(self):
        """The metrics of a validation that are followed over the epochs."""
        return self.scorer.summary()

    def on_stage_start(self, stage, epoch=None):
        """Makes a new scorer for a validation; tells the loader the epoch."""
        if stage == sb.Stage.TRAIN:
            self.collate.epoch = epoch
        if stage == sb.Stage.VALID:
            self.scorer = self.valid_scorer()

    def evaluate_batch(self, batch, stage):
        """Scores a batch of the validation and gives its loss."""
        with explain_out_of_memory(vars(self.hparams)), self.evaluation_ctx:
            predictions = self.compute_forward(batch, stage)
            loss = self.compute_objectives(predictions, batch, stage)
            self.scorer.add(batch, predictions)
        return loss.detach().cpu()

    def score(self, loader, scorer, options=None):
        """Scores the best checkpoint on a data set.

        Arguments
        ---------
        loader : torch.utils.data.DataLoader
        scorer : Scorer
        options : ReadOptions or None
            Forced segments by default.

        Returns
        -------
        dict
            The scorer's summary.
        """
        options = options or ReadOptions()
        self.on_evaluate_start(**self.best)
        self.modules.eval()
        silent = self.noprogressbar or not if_main_process()
        with torch.no_grad():
            for step, batch in enumerate(
                tqdm(loader, dynamic_ncols=True, disable=silent), start=1
            ):
                with explain_out_of_memory(vars(self.hparams)), self.evaluation_ctx:
                    scorer.add(batch, self.read(batch, options))
                if self.debug and step == self.debug_batches:
                    break
            return scorer.summary()

    def on_fit_batch_start(self, batch, should_step):
        """Sets the learning rate and the random seed of the next step."""
        epochs = self.hparams.number_of_epochs
        epoch = self.hparams.epoch_counter.current - 1
        progress = (epoch + self.step / self.steps_per_epoch) / epochs
        rate = self.hparams.lr * warmup_cosine(min(progress, 1.0), self.hparams.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # The seed depends on the step and the process alone: a restarted run draws the
        # same random numbers as an unbroken one.
        seed_key = (self.hparams.seed, epoch, self.step, get_rank())
        torch.manual_seed(int(digest(*seed_key), 16))

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        # A checkpoint does not hold gradients that are not applied yet.
        due = super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)
        return due and self.step % self.grad_accumulation_factor == 0

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Keeps the epoch's metrics, and the latest and the best checkpoint."""
        if stage == sb.Stage.TRAIN:
            self.train_loss = stage_loss
        if stage == sb.Stage.VALID:
            stats = self.valid_stats()
            rate = self.optimizer.param_groups[0]["lr"]
            history = self.hparams.history
            history.add(
                epoch, lr=rate, train_loss=self.train_loss, loss=stage_loss, **stats
            )
            ((kind, key),) = self.best.items()
            metrics = {"loss": stage_loss, **stats}
            self.checkpointer.save_and_keep_only(
                meta={"epoch": epoch, key: metrics[key]}, **{f"{kind}s": [key]}
            )
