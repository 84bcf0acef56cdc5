"""Every example script runs as it is, with the bundled recordings or with others."""

import os
import pathlib
import runpy
import shlex
import subprocess

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture
def example(tiny_speech_lm_folder, capsys):
    """``example(name, ...)``: what the script prints with a tiny model."""

    def run(name, *arguments):
        main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
        main(str(tiny_speech_lm_folder), *map(str, arguments))
        return capsys.readouterr().out

    return run


def test_there_is_one_for_each_use():
    assert set(NAMES) == {
        "ask",
        "embeddings",
        "few_shot",
        "live",
        "transcribe",
        "vllm_prompt_embeds",
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_on_the_bundled_recordings(example, name):
    assert example(name)


# --- Of Slurm, whose commands are made up here --------------------------------------


@pytest.fixture
def slurm(tmp_path):
    """``slurm(script, *arguments, **variables)``: the commands that a job gives."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, body in {
        "ssr": "",
        "sbatch": "",
        "torchrun": "",
        "scontrol": "echo node7; echo node8",
        # As for one machine of a job.
        "srun": 'while [[ $1 == --* ]]; do shift; done; "$@"',
    }.items():
        path = programs / name
        # Each word of a command in quotes, as a shell would take it.
        note = f"printf '%q ' {name} \"$@\" >>{tmp_path}/log; echo >>{tmp_path}/log"
        path.write_text(f"#!/bin/bash\n{note}\n{body}\n")
        path.chmod(0o755)

    def run(script, *arguments, **variables):
        path = f"{programs}:{os.environ['PATH']}"
        command = ["bash", EXAMPLES / f"{script}.sh", *arguments]
        environment = {"PATH": path, **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        log = tmp_path / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return done, [shlex.split(line) for line in lines]

    return run


@pytest.mark.parametrize("first", [0, 1])
def test_tasks_of_an_array_prepare_all_shares_and_a_last_job_lists_them(slurm, first):
    given = {"DATA": "/data/a b", "SHARDS": "/shards", "OPTIONS": "--aligner ctc"}
    given |= {"SLURM_ARRAY_TASK_MIN": str(first), "SLURM_ARRAY_TASK_COUNT": "2"}
    given |= {"SLURM_ARRAY_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "4"}
    prepare = ["ssr", "prepare", "/data/a b", "/shards", "--aligner", "ctc"]
    submitted = []
    for task in (first, first + 1):
        variables = {**given, "SLURM_ARRAY_TASK_ID": str(task)}
        done, commands = slurm("prepare_slurm", **variables)
        assert not done.returncode, done.stderr
        share = ["--shard", f"{task - first + 1}/2", "--num-workers", "4"]
        assert commands[-1] == prepare + share
        submitted += commands[:-1]
    ((sbatch, *options),) = submitted
    assert sbatch == "sbatch" and "--dependency=afterok:7" in options
    assert shlex.split(options[-1]) == prepare
    # A task that is started again submits nothing.
    variables = {**given, "SLURM_ARRAY_TASK_ID": str(first), "SLURM_RESTART_COUNT": "1"}
    assert len(slurm("prepare_slurm", **variables)[1]) == 1
    # Outside an array one job makes all.
    assert slurm("prepare_slurm", **{**given, "OPTIONS": ""})[1] == [prepare[:4]]
    done, commands = slurm("prepare_slurm", DATA="/data")
    assert done.returncode and "the folder of the shards" in done.stderr


def test_each_machine_of_a_job_starts_its_processes_which_meet_at_the_first(slurm):
    variables = {"SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2"}
    variables |= {"SLURM_GPUS_ON_NODE": "8", "SLURM_JOB_ID": "42"}
    words = ["hparams/finetune.yaml", "--output_folder", "a b"]
    done, commands = slurm("train_slurm", *words, **variables)
    assert not done.returncode, done.stderr
    program, *options = commands[-1]
    assert program == "torchrun"
    assert options[-5:] == ["-m", "ssr_plugin", "train", *words][-5:]
    pairs = dict(zip(options[::2], options[1::2], strict=False))
    assert pairs["--rdzv_endpoint"] == "node7:29500" and pairs["--rdzv_id"] == "42"
    assert (pairs["--nnodes"], pairs["--nproc_per_node"]) == ("2", "8")
    assert slurm("train_slurm", **variables)[0].returncode


@pytest.fixture
def talk(tmp_path, write_audio):
    return write_audio(tmp_path / "a.wav", 1.0)


@pytest.mark.parametrize(
    "name", ["transcribe", "embeddings", "live", "vllm_prompt_embeds"]
)
def test_recordings_can_be_given(example, name, talk):
    assert example(name, talk)


def test_a_question_and_answers_to_choose_from_can_be_given(example, talk):
    printed = example("ask", talk, " the cat", " sat", " a").splitlines()
    assert printed[1] == "asked:  the cat"
    assert [line.split(":")[0] for line in printed[-2:]] == [" sat", " a"]


def test_spoken_examples_can_be_given(example, talk):
    printed = example("few_shot", talk, "the cat", talk)
    assert printed.startswith(
        "one said, [a.wav]:\nand another said, the cat.\none said, [a.wav]:"
    )
