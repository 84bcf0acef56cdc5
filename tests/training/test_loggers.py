"""Curves of a run: every epoch once, though the run was killed in between."""

import sys
import types

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssr_plugin.training.history import History
from ssr_plugin.training.loggers import make_loggers


class FakeWandB(types.ModuleType):
    """Stands for the package: keeps what is logged by run, as its server does.

    What comes for a step that a run has is dropped. ``lose`` forgets the last step, as
    a process does that is killed before it has sent it.
    """

    class Error(Exception):
        pass

    def __init__(self):
        super().__init__("wandb")
        self.runs = {}
        self.options = []
        self.refuse = None

    def init(self, **options):
        if self.refuse:
            raise self.Error(self.refuse)
        self.options.append(options)
        steps = self.runs.setdefault(options["id"], {})

        def log(metrics, step, commit):
            assert commit, "shown only when the next step comes"
            if step > max(steps, default=-1):
                steps[step] = metrics

        return types.SimpleNamespace(log=log)

    def lose(self):
        ((_, steps),) = self.runs.items()
        steps.popitem()


@pytest.fixture
def wandb(monkeypatch):
    module = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def restarted(folder, path, loggers):
    """The history of a run that goes on from a checkpoint."""
    history = History(folder, loggers)
    history.load(path, end_of_epoch=True)
    return history


def losses_in_tensorboard(folder):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]


def test_tensorboard_shows_every_epoch_once_though_one_was_repeated(tmp_path):
    history = History(tmp_path)
    history.add(1, loss=3.0)
    history.save(tmp_path / "checkpoint")
    history.add(2, loss=2.0)
    # Killed before the checkpoint of epoch 2.
    history = restarted(tmp_path, tmp_path / "checkpoint", ["tensorboard"])
    history.add(2, loss=2.0)
    history.add(3, loss=1.0)
    assert losses_in_tensorboard(tmp_path) == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_tensorboard_gets_no_second_events_when_a_finished_run_is_started_again(
    tmp_path,
):
    history = History(tmp_path)
    history.add(1, loss=3.0)
    history.save(tmp_path / "checkpoint")
    restarted(tmp_path, tmp_path / "checkpoint", ["tensorboard"])
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_wandb_has_every_epoch_under_its_number(wandb, tmp_path):
    history = History(tmp_path / "my_run", ["tensorboard", "wandb"])
    history.add(0, loss=3.0, lr=None)
    history.add(1, loss=2.0)
    ((_, steps),) = wandb.runs.items()
    assert steps == {0: {"epoch": 0, "loss": 3.0}, 1: {"epoch": 1, "loss": 2.0}}
    assert wandb.options[0]["name"] == "my_run"
    assert losses_in_tensorboard(tmp_path / "my_run") == [(0, 3.0), (1, 2.0)]


@pytest.mark.parametrize("lost", [False, True])
def test_wandb_has_every_epoch_of_a_restarted_run(wandb, tmp_path, lost):
    history = History(tmp_path, ["wandb"])
    for epoch in (1, 2):
        history.add(epoch, loss=1 / epoch)
    history.save(tmp_path / "checkpoint")
    if lost:
        wandb.lose()
    history = restarted(tmp_path, tmp_path / "checkpoint", ["wandb"])
    history.add(3, loss=1 / 3)
    ((_, steps),) = wandb.runs.items()
    assert {step: metrics["loss"] for step, metrics in steps.items()} == {
        1: 1.0,
        2: 0.5,
        3: 1 / 3,
    }
    assert wandb.options[1]["resume"] == "allow"


def test_wandb_takes_another_folder_for_another_run(wandb, tmp_path):
    for name in ("a", "b"):
        History(tmp_path / name, ["wandb"]).add(1, loss=1.0)
    assert len(wandb.runs) == 2


def test_wandb_without_login_says_what_to_do(wandb, tmp_path):
    wandb.refuse = "No API key configured"
    with pytest.raises(ValueError, match="No API key.*wandb login.*WANDB_MODE=offline"):
        History(tmp_path, ["wandb"])


def test_wandb_without_the_package_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"pip install ssr-plugin\[wandb\]"):
        make_loggers(["tensorboard", "wandb"], tmp_path)


def test_all_processes_but_the_first_start_no_logger(wandb, monkeypatch, tmp_path):
    monkeypatch.setattr("ssr_plugin.training.history.if_main_process", lambda: False)
    history = History(tmp_path, ["wandb"])
    history.add(1, loss=1.0)
    assert history.epochs == [{"epoch": 1, "loss": 1.0}]
    assert wandb.options == []
