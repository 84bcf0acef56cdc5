"""Checkpoints are whole, however the run that wrote them ended."""

import os
import re
import shutil

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.epoch_loop import EpochCounter

from ssr_plugin.training.checkpoints import AtomicCheckpointer
from ssr_plugin.training.history import History


class Killed(BaseException):
    """Stands for kill -9: no handler of ours may count on running."""


def layer(value=0.0):
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, value)
    return module


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed_while_saving(folder, value):
    def die(obj, path):
        path.write_bytes(b"half of it")
        raise Killed

    recoverables = {"first": layer(value), "second": layer(value)}
    checkpointer = AtomicCheckpointer(
        folder, recoverables, custom_save_hooks={"second": die}
    )
    with pytest.raises(Killed):
        checkpointer.save_checkpoint()


def test_a_checkpoint_brings_back_what_was_saved(tmp_path):
    AtomicCheckpointer(tmp_path, {"layer": layer(3.0)}).save_checkpoint()
    fresh = layer()
    checkpointer = AtomicCheckpointer(tmp_path, {"layer": fresh})
    assert checkpointer.recover_if_possible() is not None
    assert fresh.weight.item() == 3.0


@pytest.mark.parametrize("content", ["", "[]", "{unixtime: x}", "a: ["])
def test_a_checkpoint_with_a_damaged_note_is_named(tmp_path, content):
    checkpointer = AtomicCheckpointer(tmp_path, {"layer": layer()})
    saved = checkpointer.save_checkpoint()
    (saved.path / "CKPT.yaml").write_text(content)
    with pytest.raises(ValueError, match=re.escape(str(saved.path)) + " is damaged"):
        checkpointer.recover_if_possible()
    with pytest.raises(ValueError, match="delete the folder"):
        checkpointer.save_checkpoint()
    assert (saved.path / "layer.ckpt").exists()


def test_save_checkpoint_returns_the_checkpoint_as_it_is_listed(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, {"layer": layer()})
    saved = checkpointer.save_checkpoint(meta={"epoch": 7})
    listed = checkpointer.find_checkpoint()
    assert saved.path == listed.path
    assert saved.meta["epoch"] == listed.meta["epoch"] == 7
    assert saved.paramfiles == listed.paramfiles
    assert all(path.exists() for path in saved.paramfiles.values())


def test_a_checkpoint_whose_saving_was_broken_off_is_not_loaded(tmp_path):
    AtomicCheckpointer(
        tmp_path, {"first": layer(1.0), "second": layer(1.0)}
    ).save_checkpoint()
    killed_while_saving(tmp_path, 2.0)
    first, second = layer(), layer()
    checkpointer = AtomicCheckpointer(tmp_path, {"first": first, "second": second})
    assert len(checkpointer.list_checkpoints()) == 1
    checkpointer.recover_if_possible()
    assert (first.weight.item(), second.weight.item()) == (1.0, 1.0)


def test_a_run_killed_while_saving_its_first_checkpoint_starts_afresh(tmp_path):
    killed_while_saving(tmp_path, 2.0)
    checkpointer = AtomicCheckpointer(tmp_path, {"first": layer()})
    assert checkpointer.recover_if_possible() is None


def test_speechbrains_own_checkpointer_loads_a_broken_checkpoint(tmp_path):
    # Once this fails, the original has become atomic and ours can go.
    def die(obj, path):
        raise Killed

    hooks = {"custom_save_hooks": {"layer": die}}
    with pytest.raises(Killed):
        Checkpointer(tmp_path, {"layer": layer()}, **hooks).save_checkpoint()
    assert len(Checkpointer(tmp_path, {"layer": layer()}).list_checkpoints()) == 1


def test_saving_a_checkpoint_deletes_what_killed_runs_left(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, {"first": layer(), "second": layer()})
    half_deleted = checkpointer.save_checkpoint()
    killed_while_saving(tmp_path, 2.0)
    os.remove(half_deleted.path / "CKPT.yaml")
    (tmp_path / "notes").mkdir()
    assert len(names(tmp_path)) == 3
    saved = checkpointer.save_checkpoint()
    assert names(tmp_path) == sorted([saved.path.name, "notes"])


def test_saving_a_checkpoint_keeps_every_whole_one(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, {"layer": layer()})
    for name in (None, None, "best"):
        checkpointer.save_checkpoint(name=name)
    assert len(checkpointer.list_checkpoints()) == 3
    assert "CKPT+best" in names(tmp_path)


def test_of_equally_good_checkpoints_the_latest_is_the_best(tmp_path):
    weight = layer()
    checkpointer = AtomicCheckpointer(tmp_path, {"layer": weight})
    for epoch, accuracy in enumerate([50.0, 60.0, 60.0, 40.0], start=1):
        torch.nn.init.constant_(weight.weight, epoch)
        checkpointer.save_and_keep_only(
            meta={"epoch": epoch, "accuracy": accuracy}, max_keys=["accuracy"]
        )
    assert [
        c.meta["epoch"] for c in checkpointer.find_checkpoints(max_key="accuracy")
    ] == [
        3,
        4,
    ]
    checkpointer.recover_if_possible(max_key="accuracy")
    assert weight.weight.item() == 3
    checkpointer.recover_if_possible()
    assert weight.weight.item() == 4


def test_a_checkpoint_brings_back_counter_and_history_together(tmp_path):
    def make(folder):
        recoverables = {
            "counter": EpochCounter(3),
            "history": History(tmp_path / folder),
        }
        return recoverables, AtomicCheckpointer(tmp_path / "checkpoints", recoverables)

    recoverables, checkpointer = make("a")
    next(iter(recoverables["counter"]))
    recoverables["history"].add(1, loss=2.0, token_accuracy=None, lr=1e-3)
    checkpointer.save_checkpoint()
    recoverables["history"].add(2, loss=1.0)

    recoverables, checkpointer = make("b")
    checkpointer.recover_if_possible()
    assert recoverables["history"].epochs == [{"epoch": 1, "loss": 2.0, "lr": 1e-3}]
    assert list(recoverables["counter"]) == [2, 3]


def test_a_checkpoint_may_be_moved_with_its_folder(tmp_path):
    AtomicCheckpointer(tmp_path / "a", {"layer": layer(3.0)}).save_checkpoint()
    shutil.move(tmp_path / "a", tmp_path / "b")
    fresh = layer()
    AtomicCheckpointer(tmp_path / "b", {"layer": fresh}).recover_if_possible()
    assert fresh.weight.item() == 3.0


def test_an_optimizers_state_of_other_sizes_is_refused(tmp_path):
    """As of a version that had more rows in a table; a fused kernel would not look."""

    def checkpointer(rows):
        table = torch.nn.Embedding(rows, 2)
        optimizer = torch.optim.AdamW(table.parameters(), fused=True)
        table(torch.tensor([0])).sum().backward()
        optimizer.step()
        return AtomicCheckpointer(tmp_path, {"optimizer": optimizer})

    checkpointer(rows=5).save_checkpoint()
    checkpointer(rows=5).recover_if_possible()
    with pytest.raises(ValueError, match=r"does not fit.*\[5, 2\].*\[3, 2\]"):
        checkpointer(rows=3).recover_if_possible()
