"""Runs a recipe's train.py as its command line does, but fast and killable.

A process that imports torch and transformers takes seconds to start; those here are
forked from one that has imported everything and done nothing else.
"""

import contextlib
import importlib
import itertools
import json
import logging
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from unittest import mock

import numpy as np
import torch

from ssr_plugin.cli import main as ssr
from ssr_plugin.metrics import pictures as drawing
from ssr_plugin.training import run_training

PROJECT = pathlib.Path(__file__).parents[1]
# What is imported before a process is forked that works alone.
MODULES = [
    "pytest",
    "torch.utils.tensorboard",
    "ssr_plugin.evaluation.evaluate_job",
    "ssr_plugin.training.distill_stage",
    "ssr_plugin.training.finetune_stage",
    "ssr_plugin.training.run_job",
    "ssr_plugin.training.segmenter_stage",
]


def clone_project(folder):
    """Copies the project to a folder, as a clone has it; returns the folder."""
    left_out = (".*_cache", "__pycache__", "*.egg-info", "build", "dist", "results")
    ignored = shutil.ignore_patterns(*left_out, ".git", ".venv")
    shutil.copytree(PROJECT, folder, ignore=ignored)
    return folder


def arguments(yaml="distill", /, **overrides):
    """The command line after train.py: the YAML, then an option for each override."""
    line = [str(PROJECT / "hparams" / f"{yaml}.yaml")]
    if yaml == "distill":
        # None is trained first, unless a test asks for it.
        overrides = {"segmenter": "forced", **overrides}
    for key, value in overrides.items():
        value = json.dumps(value) if isinstance(value, dict | list) else str(value)
        line += [f"--{key}", value]
    return line


def imported():
    """A context of multiprocessing whose processes have all imported already.

    They are forked from one that has done nothing but import: autograd refuses to be
    forked where it has seen a GPU, be it one that is made up.
    """
    multiprocessing.set_forkserver_preload(MODULES)
    return multiprocessing.get_context("forkserver")


def start_together(function, arguments, processes):
    """Calls a function of a test's module in several processes: rank, then arguments.

    See :func:`imported` for what they are forked from.
    """
    imported()
    torch.multiprocessing.start_processes(
        function, arguments, nprocs=processes, start_method="forkserver"
    )


def command(words, path=()):
    """Runs the command ``ssr``, as in a process of its own that users start.

    Arguments
    ---------
    words : list
        Behind ``ssr``.
    path : list of path-like
        Folders where packages lie, such as an installed extension's.

    Returns
    -------
    str
        What it prints; it must succeed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = (pathlib.Path(folder) / name for name in ("out", "err"))
        words, path = [*map(str, words)], [*map(str, path)]
        process = imported().Process(target=_ssr, args=(words, path, out, err))
        process.start()
        process.join()
        assert process.exitcode == 0, err.read_text()
        return out.read_text()


def _ssr(words, path, out, err):
    for stream, file in ((sys.stdout, out), (sys.stderr, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream.fileno())
    _start_processes_as_usual()
    sys.path[:0] = path
    torch.set_num_threads(1)
    sys.exit(ssr(words))


def run(recipe, argv, pictures=False):
    """Runs a recipe in this process; what it changes for the process is put back.

    Arguments
    ---------
    recipe : str or path-like
        One of the project's, or the folder of another.
    argv : list of str
    pictures : bool
        Whether figures are written to files, which takes a third of a small run. They
        are made in any case.

    Returns
    -------
    dict
        The metrics. Raises SystemExit where the command would end with an error.
    """
    folder = PROJECT / "recipes" / recipe
    script = compile((folder / "train.py").read_text(), folder / "train.py", "exec")
    found = {}

    def main_with_argv(dataset):
        found.update(main(dataset, argv))

    main = run_training.main
    replaced = contextlib.ExitStack()
    replaced.enter_context(mock.patch.object(run_training, "main", main_with_argv))
    if not pictures:
        replaced.enter_context(mock.patch.object(drawing, "_save"))
    with _restored(), replaced:
        sys.path.insert(0, str(folder))
        sys.modules.pop("prepare", None)
        exec(script, {"__name__": "__main__"})
    return found


@contextlib.contextmanager
def _restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    path, hook = sys.path[:], sys.excepthook
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    threads = torch.get_num_threads()
    # Sums are the same to the last bit only over the same number of threads.
    torch.set_num_threads(1)
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.path[:], sys.excepthook = path, hook
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        torch.set_num_threads(threads)


def run_by_two(recipe, argv, timeout):
    """Runs a recipe in two processes that train together, to its end."""
    script = PROJECT / "recipes" / recipe / "train.py"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launcher, "--nproc_per_node", "2", script, *argv],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr


class Killable:
    """Runs recipes in processes of their own, which may be killed on the way."""

    def __init__(self):
        self._pipe, pipe = multiprocessing.Pipe()
        self._server = imported().Process(target=_serve, args=(pipe,))
        self._server.start()
        pipe.close()

    def run(self, recipe, argv, place=None, count=1, after=None, processes=1):
        """Runs a recipe to its end, or until it is killed.


        Arguments
        ---------
        recipe : str
        argv : list of str
        place : str, optional
            "module:name" or "module:Class.name": SIGKILL when it is called for the
            ``count``-th time.
        after : float, optional
            SIGKILL after so many seconds.
        processes : int
            That train together; the last is the one that is killed.

        Returns
        -------
        int
            The exit status: 0, or -9 if the kill came before the end; 1 if another
            process then waited for the one that was killed, for two minutes.
        """
        self._pipe.send([recipe, argv, place, count, after, processes])
        return self._pipe.recv()

    def run_killed_at_any_time(self, recipe, argv, seconds):
        """Runs a recipe that is killed at three random moments, then to its end.

        Arguments
        ---------
        recipe : str
        argv : list of str
        seconds : float
            What an unbroken run takes: each kill comes within so long.
        """
        chance = random.Random(0)
        kills = [chance.uniform(0, seconds) for _ in range(3)]
        ends = [self.run(recipe, argv, after=after) for after in kills]
        assert -9 in ends, f"ended within {kills} s: {ends}"
        assert self.run(recipe, argv) == 0

    def close(self):
        """Ends the process that the others are forked from."""
        self._pipe.close()
        self._server.join()


def _start_processes_as_usual():
    # In a process of this kind all others would be of its kind.
    multiprocessing.set_start_method(None, force=True)


def _serve(pipe):
    _start_processes_as_usual()
    while True:
        try:
            recipe, argv, place, count, after, processes = pipe.recv()
        except EOFError:
            return
        others = []
        if processes > 1:
            meeting = _meeting(processes)
            others = [
                _fork(recipe, argv, None, 1, meeting | _rank(rank))
                for rank in range(processes - 1)
            ]
            child = _fork(recipe, argv, place, count, meeting | _rank(processes - 1))
        else:
            child = _fork(recipe, argv, place, count, {})
        if after is not None:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        status = os.waitstatus_to_exitcode(status)
        if not all([_ends(other) for other in others]):
            status = 1
        pipe.send(status)


def _meeting(processes):
    """What torchrun tells processes of where they meet."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
    }


def _rank(rank):
    return {"RANK": str(rank), "LOCAL_RANK": str(rank)}


def _fork(recipe, argv, place, count, environment):
    child = os.fork()
    if not child:
        os.environ |= environment
        _run_and_exit(recipe, argv, place, count)
    return child


def _ends(child):
    """Whether a process ends by itself, now that another has."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _run_and_exit(recipe, argv, place, count):
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    status = 1
    try:
        if place:
            _arm(place, count)
        run(recipe, argv)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _arm(place, count):
    module, _, name = place.partition(":")
    owner = importlib.import_module(module)
    *outer, name = name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    calls = itertools.count(1)

    def armed(*args, **kwargs):
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, armed)
