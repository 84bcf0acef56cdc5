"""A step asks the device nothing, and one that is not finite is left out whole."""

import dataclasses
import logging
import os
import signal

import pytest
import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.epoch_loop import EpochCounter
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ssr_plugin.training.brain import StageBrain
from ssr_plugin.training.checkpoints import AtomicCheckpointer
from ssr_plugin.training.history import History
from ssr_plugin.training.stopping import stoppable

import runs

NAN, INF = float("nan"), float("inf")


@dataclasses.dataclass
class Batch:
    """What a tiny Brain reads of a batch; ``fault`` breaks its step."""

    ids: list
    seconds: list
    inputs: torch.Tensor
    fault: str = ""

    def to(self, device):
        return self


def make_batches(count=6, faults=None):
    """Batches of two utterances each; ``faults`` by index, from 1."""
    generator = torch.Generator().manual_seed(0)
    return [
        Batch(
            [f"utterance{index}a", f"utterance{index}b"],
            [1.0, 0.5],
            torch.randn(4, 3, generator=generator),
            (faults or {}).get(index, ""),
        )
        for index in range(1, count + 1)
    ]


def break_loss(loss, fault):
    """The loss with a fault."""
    if fault == "loss is nan":
        return loss * NAN
    if fault == "loss is inf, gradient finite":
        return loss + INF
    if fault == "gradient is nan":
        return loss + (0 * loss).sqrt() * 0
    if fault == "gradient is inf":
        # The derivative of a root at 0.
        return loss + (loss - loss.detach()).sqrt()
    assert not fault
    return loss


FAULTS = [
    "loss is nan",
    "loss is inf, gradient finite",
    "gradient is nan",
    "gradient is inf",
]


class TinyBrain(StageBrain):
    """A linear layer that learns to give the mean of its inputs."""

    def compute_forward(self, batch, stage):
        return self.modules.layer(batch.inputs.to(self.device)).squeeze(1)

    def compute_objectives(self, predictions, batch, stage):
        error = predictions - batch.inputs.to(self.device).mean(1)
        return break_loss(error.square().mean(), batch.fault)

    def read(self, batch, options):
        raise NotImplementedError

    def valid_scorer(self):
        return None

    def evaluate_batch(self, batch, stage):
        predictions = self.compute_forward(batch, stage)
        return self.compute_objectives(predictions, batch, stage).detach()

    def valid_stats(self):
        return {}


def make_brain(folder, epochs=2, read_every=1, precision="fp32", **run_opts):
    """A Brain with its checkpointer, as a stage makes them."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 1)
    counter, history = EpochCounter(epochs), History(folder, loggers=[])
    recoverables = {"layer": layer, "counter": counter, "history": history}
    brain = TinyBrain(
        modules={"layer": layer},
        hparams={
            "lr": 0.1,
            "weight_decay": 0.1,
            "warmup": 0.0,
            "precision": precision,
            "number_of_epochs": epochs,
            "epoch_counter": counter,
            "history": history,
            "seed": 0,
        },
        run_opts={"device": "cpu", "noprogressbar": True, **run_opts},
        checkpointer=AtomicCheckpointer(folder / "checkpoints", recoverables),
    )
    brain.read_every = read_every
    return brain


def train(brain, batches):
    """Trains to the end; validates on a batch of its own."""
    loader = SaveableDataLoader(batches, batch_size=None)
    brain.checkpointer.add_recoverable("loader", loader)
    brain.fit_epochs(loader, torch.utils.data.DataLoader(make_batches(1), None))
    return brain


def begin(brain, steps_per_epoch=6):
    """As ``fit`` begins; for tests that call ``fit_batch`` themselves."""
    brain.steps_per_epoch = steps_per_epoch
    next(iter(brain.hparams.epoch_counter))
    brain.on_fit_start()
    brain.modules.train()
    return brain


def take_step(brain, batch):
    brain.step += 1
    return brain.fit_batch(batch)


def weights(brain):
    return [p.detach().clone() for p in brain.modules.layer.parameters()]


def optimizer_state(brain):
    state = brain.optimizer.state_dict()["state"]
    return [value.clone() for x in state.values() for value in x.values()]


def same(first, second):
    return all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


# --- A step that is not finite -------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_step_that_is_not_finite_changes_neither_weights_nor_optimizer(
    tmp_path, fault
):
    brain = begin(make_brain(tmp_path))
    good, bad = make_batches(2, {2: fault})
    take_step(brain, good)
    weights_before, state_before = weights(brain), optimizer_state(brain)
    take_step(brain, bad)
    assert same(weights(brain), weights_before)
    assert same(optimizer_state(brain), state_before)
    take_step(brain, good)
    assert not same(weights(brain), weights_before)
    assert all(x.isfinite().all() for x in weights(brain) + optimizer_state(brain))


def test_the_first_step_of_all_may_be_one_that_is_not_finite(tmp_path):
    brain = begin(make_brain(tmp_path))
    before = weights(brain)
    take_step(brain, make_batches(1, {1: "loss is nan"})[0])
    assert same(weights(brain), before)
    assert all((x == 0).all() for x in optimizer_state(brain))


@pytest.mark.parametrize("fault", FAULTS)
def test_one_batch_that_is_not_finite_leaves_out_the_whole_accumulated_step(
    tmp_path, fault
):
    brain = begin(make_brain(tmp_path, grad_accumulation_factor=2))
    before = weights(brain)
    for batch in make_batches(2, {1: fault}):
        take_step(brain, batch)
    assert same(weights(brain), before) and brain.nonfinite_steps == 1
    for batch in make_batches(2):
        take_step(brain, batch)
    assert not same(weights(brain), before) and brain.nonfinite_steps == 1


@pytest.mark.parametrize("max_grad_norm", [0.01, 1e3])
def test_steps_are_those_of_adamw_with_clipped_gradients(tmp_path, max_grad_norm):
    brain = begin(make_brain(tmp_path, max_grad_norm=max_grad_norm))
    layer = torch.nn.Linear(3, 1)
    layer.load_state_dict(brain.modules.layer.state_dict())
    adamw = torch.optim.AdamW(
        layer.parameters(), lr=0.1, weight_decay=0.1, betas=(0.9, 0.98)
    )
    for batch in make_batches(6):
        take_step(brain, batch)
        adamw.param_groups[0]["lr"] = brain.optimizer.param_groups[0]["lr"]
        adamw.zero_grad()
        error = layer(batch.inputs).squeeze(1) - batch.inputs.mean(1)
        error.square().mean().backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), max_grad_norm)
        adamw.step()
    for ours, theirs in zip(weights(brain), layer.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach())


# --- What is said of it --------------------------------------------------------------


def warnings(caplog):
    return [x.getMessage() for x in caplog.records if x.levelno == logging.WARNING]


@pytest.mark.parametrize("read_every", [1, 4])
def test_a_step_that_is_left_out_is_named_with_its_utterances(
    tmp_path, caplog, read_every
):
    batches = make_batches(6, {2: "loss is nan", 5: "gradient is nan"})
    train(make_brain(tmp_path, epochs=1, read_every=read_every), batches)
    assert warnings(caplog) == [
        "Step 2 of epoch 1 was left out: its loss is not finite. Utterances: "
        "utterance2a, utterance2b",
        "Step 5 of epoch 1 was left out: its gradient is not finite. Utterances: "
        "utterance5a, utterance5b",
    ]


@pytest.mark.parametrize("read_every", [1, 3])
def test_of_an_accumulated_step_the_batch_at_fault_is_named_if_its_loss_tells(
    tmp_path, caplog, read_every
):
    batches = make_batches(4, {1: "loss is nan", 4: "gradient is nan"})
    brain = make_brain(tmp_path, 1, read_every, grad_accumulation_factor=2)
    train(brain, batches)
    first, second = warnings(caplog)
    assert first.startswith("Step 2 of") and first.endswith(
        ": utterance1a, utterance1b"
    )
    assert second.startswith("Step 4 of")
    assert second.endswith(": utterance3a, utterance3b, utterance4a, utterance4b")


def test_the_history_of_an_epoch_counts_the_steps_that_were_left_out(tmp_path):
    batches = make_batches(6, {2: "loss is nan", 5: "loss is nan"})
    brain = train(make_brain(tmp_path), batches)
    assert [x["nonfinite_steps"] for x in brain.hparams.history.epochs] == [2, 2]
    assert all(x["train_loss"] > 0 for x in brain.hparams.history.epochs)


def test_the_history_of_an_epoch_without_such_steps_says_nothing_of_them(tmp_path):
    brain = train(make_brain(tmp_path), make_batches())
    assert all("nonfinite_steps" not in x for x in brain.hparams.history.epochs)


def test_a_validation_that_is_not_finite_stops_the_run_and_keeps_no_checkpoint(
    tmp_path,
):
    brain = make_brain(tmp_path)
    loader = SaveableDataLoader(make_batches(), batch_size=None)
    valid = torch.utils.data.DataLoader(make_batches(1, {1: "loss is nan"}), None)
    message = "stopped after epoch 1: in the validation, loss is nan. Lower lr"
    with pytest.raises(ValueError, match=message):
        brain.fit_epochs(loader, valid)
    assert brain.checkpointer.find_checkpoint() is None


# --- Told to stop --------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_saves_a_checkpoint_and_goes_on(
    tmp_path, number, monkeypatch, capfd
):
    whole = train(make_brain(tmp_path / "whole"), make_batches())
    brain = make_brain(tmp_path / "stopped")
    take = type(brain).fit_batch

    def fit_batch(self, batch):
        if self.step == 3:
            os.kill(os.getpid(), number)
        return take(self, batch)

    with monkeypatch.context() as context:
        context.setattr(type(brain), "fit_batch", fit_batch)
        with pytest.raises(SystemExit) as stopped, stoppable():
            train(brain, make_batches())
    assert stopped.value.code == 128 + number
    assert "stopping after this step, with a checkpoint" in capfd.readouterr().err
    assert brain.step == 3 and brain.checkpointer.find_checkpoint() is not None
    again = train(make_brain(tmp_path / "stopped"), make_batches())
    assert again.hparams.history.epochs == whole.hparams.history.epochs
    assert same(weights(again), weights(whole))


# --- Several of them -----------------------------------------------------------------


def make_failing(count=12, first=7):
    """Batches that are all at fault from one on."""
    faults = dict.fromkeys(range(first, count + 1), "loss is nan")
    return make_batches(count, faults)


def test_steps_that_are_not_finite_but_not_in_a_row_stop_nothing(tmp_path):
    faults = dict.fromkeys([1, 2, 4, 5, 7, 8, 10, 11], "loss is nan")
    brain = make_brain(tmp_path, nonfinite_patience=2)
    train(brain, make_batches(12, faults))
    assert len(brain.hparams.history.epochs) == 2


@pytest.mark.parametrize("read_every", [1, 5])
def test_several_in_a_row_stop_the_run_and_say_what_to_do(tmp_path, read_every):
    brain = make_brain(
        tmp_path, 1, read_every, nonfinite_patience=2, ckpt_interval_steps=3
    )
    with pytest.raises(ValueError) as error:
        train(brain, make_failing())
    message = str(error.value)
    last = brain.checkpointer.find_checkpoint()
    assert "steps were not finite" in message and "\n" not in message
    assert "Lower lr (it is 0.1), and give the command again" in message
    assert f"the last good checkpoint, {last.path}." in message
    assert "utterance7a, utterance7b, utterance8a" in message


def test_a_run_that_stops_without_a_checkpoint_says_that_it_begins_anew(tmp_path):
    brain = make_brain(tmp_path, nonfinite_patience=0)
    with pytest.raises(ValueError, match="it begins anew, as there is no checkpoint"):
        train(brain, make_failing(first=1))


def test_a_run_in_half_precision_that_stops_is_told_of_fp32(tmp_path):
    brain = make_brain(tmp_path, precision="bf16", nonfinite_patience=0)
    with pytest.raises(ValueError, match="it is 0.1. or set precision: fp32, and give"):
        train(brain, make_failing(first=1))


def test_the_error_names_ten_utterances_and_counts_the_others(tmp_path):
    brain = make_brain(tmp_path, nonfinite_patience=7)
    with pytest.raises(ValueError, match="utterance5b and 6 more, which the log names"):
        train(brain, make_failing(first=1))


def test_steps_in_a_row_are_counted_over_the_end_of_an_epoch(tmp_path):
    brain = make_brain(tmp_path, epochs=4, nonfinite_patience=3)
    with pytest.raises(ValueError, match="step 2 of epoch 2: its last 4 steps"):
        train(brain, make_failing(2, first=1))


def test_no_checkpoint_is_saved_between_steps_that_are_not_finite(tmp_path):
    brain = make_brain(tmp_path, 1, 100, nonfinite_patience=99, ckpt_interval_steps=1)
    saved_steps, save = [], brain._save_intra_epoch_ckpt
    brain._save_intra_epoch_ckpt = lambda: (saved_steps.append(brain.step), save())
    train(brain, make_batches(5, {2: "loss is nan", 3: "gradient is nan"}))
    assert saved_steps == [1, 4, 5]


def test_the_same_command_goes_on_from_the_last_good_checkpoint(tmp_path):
    options = {"nonfinite_patience": 2, "ckpt_interval_steps": 3}
    with pytest.raises(ValueError, match="training stopped"):
        train(make_brain(tmp_path / "stopped", **options), make_failing())
    resumed = train(make_brain(tmp_path / "stopped", **options), make_batches(12))
    unbroken = train(make_brain(tmp_path / "unbroken", **options), make_batches(12))
    assert resumed.hparams.history.epochs == unbroken.hparams.history.epochs
    assert same(weights(resumed), weights(unbroken))


# --- Reading now and then ------------------------------------------------------------


@pytest.mark.parametrize("read_every", [2, 5, 100])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_how_often_losses_are_read_changes_no_figure(tmp_path, read_every, accumulated):
    batches = make_batches(7, {3: "loss is nan"})
    options = {"grad_accumulation_factor": accumulated}
    every = train(make_brain(tmp_path / "every", **options), batches)
    rarely = train(
        make_brain(tmp_path / "rarely", read_every=read_every, **options), batches
    )
    assert rarely.hparams.history.epochs == every.hparams.history.epochs
    assert rarely.audio_seconds == every.audio_seconds == 2 * 7 * 1.5
    assert same(weights(rarely), weights(every))


def test_the_average_loss_is_speechbrains_own(tmp_path):
    brain = train(make_brain(tmp_path, 1, 4), make_batches(6, {2: "loss is nan"}))
    losses, batches = [], make_batches(6, {2: "loss is nan"})
    again = begin(make_brain(tmp_path / "again", 1))
    average = 0.0
    for batch in batches:
        loss = take_step(again, batch)
        losses.append(loss)
        average = sb.Brain.update_average(again, loss, average)
    assert brain.hparams.history.epochs[0]["train_loss"] == average


@pytest.mark.parametrize("read_every", [1, 4])
def test_a_run_killed_in_an_epoch_ends_like_an_unbroken_one(tmp_path, read_every):
    class Killed(BaseException):
        pass

    def killed_run(folder, at):
        brain = make_brain(folder, 2, read_every, ckpt_interval_steps=3)
        calls, compute = iter(range(1, 99)), brain.compute_forward

        def compute_or_die(batch, stage):
            if stage == sb.Stage.TRAIN and next(calls) == at:
                raise Killed
            return compute(batch, stage)

        brain.compute_forward = compute_or_die
        train(brain, make_batches(8, {2: "loss is nan", 7: "loss is nan"}))
        return brain

    unbroken = killed_run(tmp_path / "unbroken", at=99)
    for at in (6, 6):
        with pytest.raises(Killed):
            killed_run(tmp_path / "killed", at)
    resumed = killed_run(tmp_path / "killed", at=99)
    assert resumed.hparams.history.epochs == unbroken.hparams.history.epochs
    assert [x["nonfinite_steps"] for x in unbroken.hparams.history.epochs] == [2, 2]
    assert same(weights(resumed), weights(unbroken))


# --- What a step asks ----------------------------------------------------------------


def forbid(name):
    def ask(*arguments, **options):
        raise AssertionError(f"a step asks the device: Tensor.{name}")

    return ask


def run_fake_step(folder, monkeypatch, read_every, **run_opts):
    """Two steps on tensors without data, which can answer nothing."""
    brain = make_brain(folder, read_every=read_every, **run_opts)
    for name in ("cpu", "numpy", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, forbid(name))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        layer = torch.nn.Linear(3, 1)
        brain.modules = torch.nn.ModuleDict({"layer": layer})
        begin(brain)
        for batch in make_batches(2):
            batch.inputs = mode.from_tensor(batch.inputs)
            loss = take_step(brain, batch)
        assert loss.shape == () and not loss.requires_grad
        assert brain.optimizer_step == 2 // brain.grad_accumulation_factor


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_step_asks_the_device_nothing(tmp_path, monkeypatch, accumulated):
    options = {"grad_accumulation_factor": accumulated, "nonfinite_patience": 0}
    run_fake_step(tmp_path, monkeypatch, read_every=100, **options)


def test_a_step_keeps_off_cudnns_attention_forward_and_backward(tmp_path):
    # Its gradients may be NaN; the kernel of a GPU is chosen in the forward pass, or in
    # the backward pass where that runs the forward one again.
    brain, allowed = begin(make_brain(tmp_path)), []
    layer = brain.modules.layer

    def note(*arguments):
        allowed.append(torch.backends.cuda.cudnn_sdp_enabled())

    layer.register_forward_hook(note)
    layer.weight.register_hook(note)
    take_step(brain, make_batches(1)[0])
    assert allowed == [False, False]


def test_reading_the_losses_asks_the_device(tmp_path, monkeypatch):
    # So the test above can fail.
    with pytest.raises((DataDependentOutputException, AssertionError)):
        run_fake_step(tmp_path, monkeypatch, read_every=1)


# --- Half precision, many processes --------------------------------------------------


def scale_gradients(brain, scale):
    """As in fp16, which SpeechBrain refuses on a CPU."""
    brain.scaler = torch.GradScaler("cpu", init_scale=scale)
    brain._results.norms_decide = False
    return brain


@pytest.mark.parametrize("max_grad_norm", [0.01, 1e3])
def test_a_gradient_scaler_changes_no_step(tmp_path, max_grad_norm):
    options = {"max_grad_norm": max_grad_norm}
    plain = begin(make_brain(tmp_path / "plain", **options))
    scaled = begin(make_brain(tmp_path / "scaled", **options))
    scale_gradients(scaled, 2.0**10)
    for batch in make_batches():
        take_step(plain, batch)
        take_step(scaled, batch)
    for first, second in zip(weights(plain), weights(scaled), strict=True):
        torch.testing.assert_close(first, second)


def test_a_scale_that_overflows_is_lowered_and_is_no_fault(tmp_path, caplog):
    brain = scale_gradients(begin(make_brain(tmp_path)), 2.0**127)
    before = weights(brain)
    for batch in make_batches(30):
        take_step(brain, batch)
    assert not same(weights(brain), before)
    assert all(x.isfinite().all() for x in weights(brain))
    assert brain.scaler.get_scale() < 2.0**127
    assert brain.nonfinite_steps == 0 and not warnings(caplog)


def test_with_a_gradient_scaler_a_loss_that_is_not_finite_is_named(tmp_path, caplog):
    brain = scale_gradients(begin(make_brain(tmp_path)), 2.0**10)
    before = weights(brain)
    take_step(brain, make_batches(1, {1: "loss is inf, gradient finite"})[0])
    assert same(weights(brain), before)
    assert "utterance1a, utterance1b" in warnings(caplog)[0]


def train_as_one_of_two(rank, folder, fault):
    """Takes a step that is finite, and one with a fault in the second process alone."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=2)
    options = {"distributed_launch": True, "distributed_backend": "gloo"}
    brain = begin(make_brain(folder, nonfinite_patience=0, **options))
    batches, message = make_batches(4, {4: fault}), ""
    take_step(brain, batches[rank])
    before = weights(brain)
    try:
        take_step(brain, batches[2 + rank])
    except ValueError as error:
        message = str(error)
    torch.save((message, before, weights(brain)), folder / f"result{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("fault", ["loss is inf, gradient finite", "gradient is nan"])
def test_a_fault_in_one_process_leaves_out_the_step_in_all(tmp_path, fault):
    runs.start_together(train_as_one_of_two, (tmp_path, fault), processes=2)
    first, second = (torch.load(tmp_path / f"result{rank}") for rank in range(2))
    for message, before, after in (first, second):
        assert "training stopped at step 2" in message
        assert same(before, after)
    assert first[0] == second[0]
    assert same(first[2], second[2])
    ids = "utterance4a, utterance4b"
    if fault == "gradient is nan":
        # Of gradients that are already summed nobody knows whose they were.
        ids = f"utterance3a, utterance3b, {ids}"
    assert first[0].endswith(f": {ids}")
