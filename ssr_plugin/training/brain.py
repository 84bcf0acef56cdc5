"""What the Brains of all stages share: schedule, frozen parts, exact restarts."""

import time

import speechbrain as sb
import torch
from speechbrain.utils.distributed import get_rank
from torch.nn.parallel import DistributedDataParallel

from ssr_plugin.files import digest
from ssr_plugin.nnet.precision import resolve_precision
from ssr_plugin.training.memory import told_what_to_lower
from ssr_plugin.training.schedule import warmup_cosine


class StageBrain(sb.Brain):
    """A SpeechBrain Brain that trains only what takes a gradient and restarts exactly.

    It reads from ``hparams``: ``lr``, ``weight_decay``, ``warmup``, ``precision``,
    ``number_of_epochs``, ``epoch_counter``, ``history`` and ``seed``. A subclass gives
    ``compute_forward``, ``compute_objectives`` and ``valid_stats``, and says in
    ``best`` of which of their figures the best checkpoint has most ("max_key") or least
    ("min_key").

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

    def part(self, name):
        """A module of that name, out of what DDP wraps it in."""
        module = self.modules[name]
        return getattr(module, "module", module)

    def frames(self, batch):
        """The encoder's frames of a batch on the device, cached or made now.

        Returns
        -------
        features : torch.Tensor
            [B, T, D]
        lengths : torch.Tensor
            [B] int
        """
        inputs, lengths = batch.inputs.to(self.device), batch.lengths.to(self.device)
        if batch.cached:
            return inputs, lengths
        features, lengths = self.modules.encoder(inputs, lengths)
        return features, lengths.to(self.device)

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
            # From here on a process may work alone, as the one that draws does; inside
            # DDP it would wait for the others for ever.
            if isinstance(module, DistributedDataParallel):
                self.modules[name] = module.module

    def fit_batch(self, batch):
        """As SpeechBrain's, and clocks how much audio goes through."""
        start = time.perf_counter()
        with told_what_to_lower(vars(self.hparams)):
            loss = super().fit_batch(batch)
        self.train_seconds += time.perf_counter() - start
        self.audio_seconds += sum(batch.seconds)
        return loss

    def evaluate_batch(self, batch, stage):
        """As SpeechBrain's, and says what to do where the memory is too small."""
        with told_what_to_lower(vars(self.hparams)):
            return super().evaluate_batch(batch, stage)

    def on_fit_batch_start(self, batch, should_step):
        """Sets the learning rate and the random numbers of the step to come."""
        epochs = self.hparams.number_of_epochs
        epoch = self.hparams.epoch_counter.current - 1
        done = (epoch + self.step / self.steps_per_epoch) / epochs
        rate = self.hparams.lr * warmup_cosine(min(done, 1.0), self.hparams.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # They depend on nothing but the step, so that a restarted run draws what the
        # unbroken one did, in each of any number of processes.
        place = (self.hparams.seed, epoch, self.step, get_rank())
        torch.manual_seed(int(digest(*place), 16))

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        # Gradients that are gathered but not yet applied are in no checkpoint.
        wanted = super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)
        return wanted and self.step % self.grad_accumulation_factor == 0

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Notes the epoch's figures, and keeps the latest and the best checkpoint."""
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
            figures = {"loss": stage_loss, **stats}
            self.checkpointer.save_and_keep_only(
                meta={"epoch": epoch, key: figures[key]}, **{f"{kind}s": [key]}
            )
