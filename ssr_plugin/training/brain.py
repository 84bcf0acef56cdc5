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
import logging
import math

import speechbrain as sb
import torch
import yaml
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import if_main_process
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from ssr_plugin.files import digest
from ssr_plugin.languages import first_language
from ssr_plugin.nnet.layers import finite_attention
from ssr_plugin.nnet.precision import resolve_precision
from ssr_plugin.training import stopping
from ssr_plugin.training.augment import Strengths, change_frames
from ssr_plugin.training.out_of_memory import explain_out_of_memory
from ssr_plugin.training.planning import TrainingCollate
from ssr_plugin.training.process_batches import batches_done, process_of
from ssr_plugin.training.schedule import set_learning_rate, warmup_cosine
from ssr_plugin.training.step_graphs import StepGraphs
from ssr_plugin.training.step_results import StepResults

logger = logging.getLogger(__name__)


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


@register_checkpoint_hooks
class StageBrain(sb.Brain, abc.ABC):
    """A SpeechBrain Brain that trains only what takes a gradient and restarts exactly.

    A step asks a GPU nothing: losses stay there and are read every ``read_every``
    batches. A step whose loss or gradient is not finite is left out on the device:
    weights and the optimizer's state stay as they were. If more steps in a row than
    SpeechBrain's option ``nonfinite_patience`` are left out, the training stops.

    It reads from ``hparams``: ``lr``, ``weight_decay``, ``warmup``, ``precision``,
    ``number_of_epochs``, ``epoch_counter``, ``history``, ``seed`` and, where it is
    there, ``language``. A subclass gives
    ``compute_forward`` and ``compute_objectives`` (in training and validation),
    :meth:`read`, :meth:`valid_scorer` and :meth:`valid_stats`. Its ``best`` names the
    metric that is highest ("max_key") or lowest ("min_key") in the best checkpoint.

    Attributes
    ----------
    audio_seconds, train_seconds : float
        Audio that this process has trained on, and the time that it took, s: of the
        steps alone on a CPU; on a GPU, from reading to reading.
    read_every : int
        How many batches are trained on before their losses are read.
    nonfinite_steps : int
        Steps of this epoch that were left out, as far as they are read.
    language : str
        BCP-47 code of what is spoken; English where ``hparams`` do not say.
    """

    best = {"min_key": "loss"}

    def __init__(self, *, hparams, run_opts=None, **kwargs):
        device = (run_opts or {}).get("device")
        precision = resolve_precision(hparams["precision"], device)
        hparams = {**hparams, "precision": precision}
        super().__init__(hparams=hparams, run_opts=run_opts, **kwargs)
        self.audio_seconds = self.train_seconds = 0.0
        # A CPU has nothing to go on with while it is asked.
        self.read_every = 1 if torch.device(self.device).type == "cpu" else 50
        self.nonfinite_steps = 0
        self.language = first_language(hparams.get("language"))
        # Utterances of each of the last steps, if they were not finite.
        self._nonfinite_row = []
        self._results = StepResults(norms_decide=not self.scaler.is_enabled())

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
        mix, masked = batch.tensors["mix"], batch.tensors["masked"]
        frame_noise = self.collate.strengths.frame_noise
        return change_frames(features, mix, masked, frame_noise)

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
        self.optimizer = torch.optim.AdamW(
            self.parameter_groups(trained),
            lr=self.hparams.lr,
            weight_decay=self.hparams.weight_decay,
            betas=(0.9, 0.98),
            fused=True,
            # A step that a GPU records must find all it needs there.
            capturable=torch.device(self.device).type == "cuda",
        )
        self.optimizers_dict = {"optimizer": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def parameter_groups(self, parameters):
        """What the optimizer is given of the parameters that take a gradient."""
        return parameters

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

    # --- A step ----------------------------------------------------------------------

    def fit_batch(self, batch):
        """Trains on a batch, and asks the device nothing but every ``read_every``.

        Returns
        -------
        torch.Tensor
            The loss, detached, where it was made.
        """
        self._results.start()
        should_step = self.step % self.grad_accumulation_factor == 0
        # The LLM's attention, too, is trained; the backward pass may run it again.
        with explain_out_of_memory(vars(self.hparams)), finite_attention():
            self.on_fit_batch_start(batch, should_step)
            if self._graphs is not None and batch.cached:
                loss, norm = self._graphs.run(batch)
            else:
                loss, norm = self._take_step(batch, should_step)
        if should_step:
            self.optimizer_step += 1
        self._results.add(self.step, batch.ids, sum(batch.seconds), loss, norm)
        if self.step % self.read_every == 0:
            self.read_results()
        return loss

    def _take_step(self, batch, should_step=True):
        """Forward, backward, and the optimizer if it is its turn.

        Returns
        -------
        loss : torch.Tensor
            A scalar, detached.
        norm : torch.Tensor or None
            Of the gradient, where the optimizer stepped.
        """
        norm = None
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(outputs, batch, sb.Stage.TRAIN)
            scaled = self.scaler.scale(loss)
            if self.grad_accumulation_factor != 1:
                scaled = scaled / self.grad_accumulation_factor
            # 1 - 0 * loss: 1, or NaN if the loss is not finite. Some such losses have a
            # finite gradient; with this none has, in any process of DDP.
            scaled.backward(torch.rsub(scaled.detach(), 1, alpha=0))
        if should_step:
            norm = self.optimizers_step()
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        return loss.detach(), norm

    @functools.cached_property
    def _graphs(self):
        """Recorded steps, where a GPU may replay them."""
        recordable = (
            torch.device(self.device).type == "cuda"
            and vars(self.hparams).get("cuda_graphs", False)
            and self.grad_accumulation_factor == 1
            and not self.scaler.is_enabled()
            and not torch.distributed.is_initialized()
            and self.step_is_planned
        )
        return StepGraphs(self._take_step, self.device) if recordable else None

    #: Whether all that a step does follows from the shapes of its batch alone.
    step_is_planned = False

    def optimizers_step(self):
        """Steps with clipped gradients; not at all if their norm is not finite.

        As clipping, too, would ask the device, both are left to AdamW's fused kernel:
        it divides gradients by ``grad_scale``, and with ``found_inf`` it changes
        neither weights nor its state.

        Returns
        -------
        torch.Tensor
            The norm of the gradient before clipping, a scalar.
        """
        optimizer = self.optimizer
        self.scaler.unscale_(optimizer)
        norm = self.gradient_norm(
            [
                parameter.grad
                for group in optimizer.param_groups
                for parameter in group["params"]
                if parameter.grad is not None
            ]
        ).float()
        optimizer.grad_scale = (norm / self.max_grad_norm).clamp(min=1)
        if self.scaler.is_enabled():
            # It sets found_inf by itself, and takes both away.
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.found_inf = torch.nan_to_num(norm * 0, nan=1.0)
            optimizer.step()
            del optimizer.grad_scale, optimizer.found_inf
        optimizer.zero_grad(set_to_none=True)
        return norm

    def gradient_norm(self, gradients):
        """Of all gradients together, before the optimizer takes them: a scalar."""
        return torch.nn.utils.get_total_norm(gradients)

    def read_results(self):
        """Reads the losses of the steps since the last reading; tells what is wrong.

        Raises
        ------
        ValueError
            If too many steps in a row were not finite.
        """
        results = self._results.read()
        self.audio_seconds += results.audio_seconds
        self.train_seconds += results.wall_seconds
        for index, loss in results.losses:
            # SpeechBrain's average, over what is finite.
            if math.isfinite(loss):
                self.avg_train_loss -= self.avg_train_loss / index
                self.avg_train_loss += loss / index
        for step in results.steps:
            if step.finite:
                self._nonfinite_row = []
                continue
            self.nonfinite_steps += 1
            self._nonfinite_row.append(step.ids)
            if if_main_process():
                logger.warning(
                    "Step %d of epoch %d was left out: its %s is not finite. "
                    "Utterances: %s",
                    step.index,
                    self.hparams.epoch_counter.current,
                    "gradient" if step.loss_finite else "loss",
                    ", ".join(step.ids),
                )
        if len(self._nonfinite_row) > self.nonfinite_patience:
            self._stop()

    def _remedy(self):
        """What to do about a training that is not finite any more."""
        checkpoint = self.checkpointer and self.checkpointer.find_checkpoint()
        if checkpoint:
            effect = f"it goes on from the last good checkpoint, {checkpoint.path}"
        else:
            effect = "it begins anew, as there is no checkpoint yet"
        remedy = f"Lower lr (it is {self.hparams.lr})"
        if self.hparams.precision != "fp32":
            remedy += " or set precision: fp32"
        return f"{remedy}, and give the command again: {effect}"

    def _check_finite(self, epoch, metrics):
        """Ends a training whose weights give no numbers any more; keeps no checkpoint.

        Their steps may all have been finite.
        """
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"training stopped after epoch {epoch}: in the validation, {name} "
                    f"is {value}. {self._remedy()}"
                )

    def _stop(self):
        """Ends a training whose last steps were not finite."""
        names = [name for ids in self._nonfinite_row for name in ids]
        shown = ", ".join(names[:10])
        if len(names) > 10:
            shown += f" and {len(names) - 10} more, which the log names"
        raise ValueError(
            f"training stopped at step {self.step} of epoch "
            f"{self.hparams.epoch_counter.current}: its last "
            f"{len(self._nonfinite_row)} steps were not finite, and none of them was "
            f"taken. {self._remedy()}. Utterances of these steps: {shown}"
        )

    def update_average(self, loss, avg_loss):
        """As SpeechBrain's; in training, the average of what has been read.

        In a validation SpeechBrain leaves out what is not finite, and gives 0 where all
        of it is; here the average is not finite then.
        """
        if self.modules.training:
            return self.avg_train_loss
        if not math.isfinite(float(loss)):
            return float(loss)
        return super().update_average(loss, avg_loss)

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
            # Of several processes, all would have to stop at the same step.
            alone = not torch.distributed.is_initialized()
            stopping.wait_for_checkpoints(alone and self.checkpointer is not None)
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
        set_learning_rate(self.optimizer, rate)
        # The seed depends on the batch alone: a restarted run draws the same random
        # numbers as an unbroken one, by any number of processes.
        rank, world_size = process_of()
        number = (self.step - 1) * world_size + rank + 1
        seed = int(digest(self.hparams.seed, epoch, number, None), 16)
        if torch.device(self.device).type == "cpu":
            # torch.manual_seed notes the seed, and who gave it, for each kind of device
            # that has not started: a list that grows with every step.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        # A checkpoint does not hold gradients that are not applied yet.
        due = super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)
        due = due or stopping.is_requested()
        if not due or self.step % self.grad_accumulation_factor:
            return False
        self.read_results()
        # The last good checkpoint is kept until steps are finite again.
        if self._nonfinite_row and stopping.is_requested():
            stopping.end()
        return not self._nonfinite_row

    def _save_intra_epoch_ckpt(self):
        super()._save_intra_epoch_ckpt()
        if stopping.is_requested():
            stopping.end()

    @mark_as_saver
    def _save(self, path):
        super()._save(path)
        more = {
            "nonfinite_steps": self.nonfinite_steps,
            "nonfinite_row": self._nonfinite_row,
            "processes": process_of()[1],
        }
        with open(path, "a", encoding="utf-8") as file:
            yaml.dump(more, file)

    @mark_as_loader
    def _recover(self, path, end_of_epoch):
        super()._recover(path, end_of_epoch)
        with open(path, encoding="utf-8") as file:
            saved = yaml.safe_load(file)
        self.nonfinite_steps = saved.get("nonfinite_steps", 0)
        self._nonfinite_row = saved.get("nonfinite_row", [])
        _, here = process_of()
        self.step = batches_done(
            self.step, saved.get("processes", here), here, self.grad_accumulation_factor
        )

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Keeps the epoch's metrics, and the latest and the best checkpoint."""
        if stage == sb.Stage.TRAIN:
            stopping.wait_for_checkpoints(False)
            self.read_results()
            self._results.drop_open()
            self.train_loss = self.avg_train_loss
        if stage == sb.Stage.VALID:
            stats = self.valid_stats()
            ((kind, key),) = self.best.items()
            metrics = {"loss": stage_loss, **stats}
            self._check_finite(epoch, {"loss": stage_loss, key: metrics[key]})
            rate = float(self.optimizer.param_groups[0]["lr"])
            history = self.hparams.history
            history.add(
                epoch,
                lr=rate,
                train_loss=self.train_loss,
                loss=stage_loss,
                **stats,
                nonfinite_steps=self.nonfinite_steps or None,
            )
            self.nonfinite_steps = 0
            self.checkpointer.save_and_keep_only(
                meta={"epoch": epoch, key: metrics[key]}, **{f"{kind}s": [key]}
            )
