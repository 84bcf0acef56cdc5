"""Folders that are locked: one command at a time writes in them."""

import multiprocessing
import os
import signal

import pytest

from ssr_plugin import folder_lock
from ssr_plugin.cli import main as ssr
from ssr_plugin.evaluation.run_evaluation import main as evaluate
from ssr_plugin.folder_lock import locked


def hold(folder, held):
    with locked(folder):
        held.set()
        signal.pause()


@pytest.fixture
def busy(tmp_path, monkeypatch):
    """A folder in which another process is at work; and that process."""
    if not hasattr(signal, "pause"):
        pytest.skip("needs POSIX signals")
    monkeypatch.setattr(folder_lock, "_PATIENCE", 0.1)
    context = multiprocessing.get_context("fork")
    held = context.Event()
    folder = tmp_path / "busy"
    folder.mkdir()
    process = context.Process(target=hold, args=(folder, held))
    process.start()
    assert held.wait(30)
    yield folder, process
    process.kill()
    process.join()


def test_a_second_run_is_kept_out_until_the_first_ends(busy):
    folder, process = busy
    with (
        pytest.raises(ValueError, match="output_folder: another run is at work in"),
        locked(folder),
    ):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with locked(folder):
        pass


def test_commands_that_would_write_over_each_other_are_kept_apart(busy, tmp_path):
    folder, _ = busy
    (tmp_path / "mine.txt").write_text("Good morning.")
    corpus = "recipes/sample/corpus"
    overrides = ["--benchmarks", "[aligner]", "--output_folder", str(folder)]
    commands = {
        "output_folder": lambda: evaluate(
            argv=["hparams/evaluate.yaml", "--model", "none", *overrides]
        ),
        "--output": lambda: ssr(
            ["speak", str(tmp_path / "mine.txt"), "--output", str(folder)]
            + ["--synthesizer", "command", "--command", "cp no.wav {wav}"]
        ),
        "output": lambda: ssr(["prepare", corpus, str(folder), "--aligner", "even"]),
    }
    for key, command in commands.items():
        with pytest.raises(SystemExit) as refused:
            command()
        assert str(refused.value).endswith(
            f"{key}: another run is at work in '{folder}': wait for its end, or give "
            f"this one an {key} of its own"
        )
    assert [path.name for path in folder.iterdir()] == [".lock"]
