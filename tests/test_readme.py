"""The README, followed from top to bottom in one folder, as a new user does."""

import os
import pathlib
import subprocess
import sys

import pytest
import soundfile
import torch
from readme import PROJECT, notebook_code, readme_commands, readme_python

from ssr_plugin import SpeechLM
from ssr_plugin.encoders import encoder as encoder_module

import runs


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone of the project in which nothing was run yet."""
    folder = tmp_path_factory.mktemp("walk")
    # What "pip install -e ." of the clone would put on the path.
    program = folder / "ssr"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ssr_plugin "$@"\n')
    program.chmod(0o755)
    return runs.clone_project(folder / "project")


def follow(project, command):
    """Runs a command line in the clone, with its own code; returns what it prints."""
    programs = [str(project.parent), str(pathlib.Path(sys.executable).parent)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(project),
        "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
    }
    shell = isinstance(command, str)
    done = subprocess.run(
        command,
        shell=shell,
        capture_output=True,
        text=True,
        cwd=project,
        env=environment,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_all_commands_of_the_readme_work_in_order_in_one_folder(project):
    commands = readme_commands()
    assert "hparams/distill.yaml" in commands[0]
    printed = {command: follow(project, command) for command in commands}
    for command, text in printed.items():
        if command.startswith("ssr "):
            assert len(text.split()) > 3, f"{command} printed {text!r}"


@pytest.mark.slow
def test_the_python_of_the_readme_and_the_notebooks_work_after_its_commands(project):
    blocks = readme_python()
    assert any("SpeechLM" in block for block in blocks)
    notebooks = sorted((PROJECT / "notebooks").glob("*.ipynb"))
    assert len(notebooks) == 2
    # In one process: to import all that takes most of the time.
    code = [*blocks, *map(notebook_code, notebooks)]
    printed = follow(project, [sys.executable, "-c", "\n".join(code)])
    assert "vectors for 10.2 s of speech" in printed
    assert "loss after the vectors" in printed


@pytest.mark.slow
def test_the_readmes_model_reads_in_bfloat16_alike_in_any_batch(project, monkeypatch):
    """But for near-ties: a boundary may move by a frame. Untrained ones have many."""
    sample = project / "recipes" / "sample" / "corpus"
    splits = ("dev-sample", "test-sample")
    paths = [path for x in splits for path in sorted(sample.glob(f"{x}/**/*.opus"))]
    wavs = [
        (torch.from_numpy(samples), rate)
        for samples, rate in (soundfile.read(path, dtype="float32") for path in paths)
    ]
    # From where it was trained, as it knows encoder and LLM by relative paths.
    monkeypatch.chdir(project)
    lm = SpeechLM.from_pretrained(
        "results/distill", encoder_dtype="bfloat16", device="cpu"
    )
    single = [lm.embed(wav) for wav in wavs]
    # In one padded pass, as on a GPU.
    monkeypatch.setitem(encoder_module._PASS, "cpu", 300.0)
    batched = lm.embed(wavs, batch_seconds=300)
    assert len(single) == 20
    pairs = list(zip(single, batched, strict=True))
    same = [(a, b) for a, b in pairs if a.tokens == b.tokens]
    assert len(same) >= 18
    moved = [
        abs(x - y) for a, b in same for x, y in zip(a.starts, b.starts, strict=True)
    ]
    assert max(moved) < 1.5 / lm.encoder.frame_rate
    assert sum(x > 0 for x in moved) <= 0.03 * len(moved)
    # Between segments that are the same, vectors are, too, to bfloat16's rounding.
    for a, b in same:
        if a.starts == b.starts:
            torch.testing.assert_close(a.vectors, b.vectors, atol=2e-2, rtol=0)
