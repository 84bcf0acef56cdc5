"""A stage of training as a YAML describes it: data, inputs, folder, then the stage.

What is imported here takes seconds, so that a command line is read before it is
(:mod:`ssr_plugin.training.run_training`).
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process

from ssr_plugin.data.datasets import DataSet
from ssr_plugin.data.extra_train import parse_extra_train
from ssr_plugin.data.prepare import Manifests, prepare
from ssr_plugin.data.shards import is_shard_folder
from ssr_plugin.folder_lock import locked
from ssr_plugin.hparams import Job
from ssr_plugin.training import run_folder
from ssr_plugin.training.aligner_first import train_aligner_first, with_aligner
from ssr_plugin.training.inputs import check_inputs
from ssr_plugin.training.job_language import with_language
from ssr_plugin.training.segmenter_first import train_segmenter_first
from ssr_plugin.training.shard_splits import ShardCorpus


def run_job(job: Job, make_dataset: Callable[[str], DataSet]) -> dict[str, Any]:
    """Prepares the data and runs the stage that a job's YAML describes.

    Arguments
    ---------
    job : ssr_plugin.hparams.Job
    make_dataset : callable
        Makes the data set of its data folder.

    Returns
    -------
    dict
        What the stage returns: its metrics.

    Raises
    ------
    ValueError or OSError
        If the user's input is wrong; in one line.
    """
    settings = job.settings
    # All user errors are found before anything large is loaded.
    corpus = None
    if is_shard_folder(settings["data_folder"]):
        corpus = ShardCorpus.open(settings)
    else:
        dataset = make_dataset(settings["data_folder"])
    said = dataset.language if corpus is None else corpus.language
    job = with_language(job, said)
    check_inputs(job.settings)
    if corpus is None:
        job = with_aligner(job)
    settings = job.settings
    folder = settings["output_folder"]
    job = dataclasses.replace(job, run_opts=_init_processes(job.run_opts))
    with locked(folder) if if_main_process() else contextlib.nullcontext():
        run_folder.check_settings(folder, settings)
        known_data = run_folder.known_data(folder)
        sb.create_experiment_directory(folder)
        if corpus is None:
            corpus = prepare_on_main(dataset, settings)
            run_folder.check_data(folder, corpus, known_data)
            train_aligner_first(job, corpus)
        if "segmenter_yaml" in settings:
            job = train_segmenter_first(job, corpus)
        sb.utils.distributed.run_on_main(job.save, [folder])
        hparams = job.load()
        results: dict[str, Any] = hparams["stage"](hparams, job.run_opts, corpus)
    return results


def _init_processes(run_opts: Any) -> Any:
    """Connects the processes of ``torchrun``: by gloo where there are no GPUs.

    Returns
    -------
    speechbrain.utils.run_opts.RunOptions
        That say so.

    Raises
    ------
    ValueError
        If there are GPUs, but fewer than processes.
    """
    local_rank = os.environ.get("LOCAL_RANK", "")
    if local_rank.isdecimal() and run_opts.get("distributed_backend") == "nccl":
        count = torch.cuda.device_count()
        if count == 0 or str(run_opts.get("device", "")).startswith("cpu"):
            # As if the command line had said so: of other options Brains take no note.
            given = {*run_opts.overridden_args, "distributed_backend"}
            run_opts = dataclasses.replace(
                run_opts, distributed_backend="gloo", overridden_args=given
            )
        elif int(local_rank) >= count:
            raise ValueError(
                f"there are {count} GPUs here, and more processes: give torchrun "
                f"--nproc_per_node {count}, or --device cpu"
            )
    sb.utils.distributed.ddp_init_group(run_opts)
    return run_opts


def prepare_on_main(dataset: DataSet, hparams: Mapping[str, Any]) -> Manifests:
    """Prepares in the first process while the others wait; the same for all.

    Arguments
    ---------
    dataset : ssr_plugin.data.datasets.DataSet
    hparams : dict

    Returns
    -------
    ssr_plugin.data.prepare.Manifests
    """

    def run() -> Manifests:
        manifests: Manifests = prepare(
            dataset,
            pathlib.Path(hparams["output_folder"]) / "manifests",
            train_splits=hparams["train_splits"],
            valid_splits=hparams["valid_splits"],
            test_splits=hparams["test_splits"],
            seed=hparams["seed"],
            valid_share=hparams["valid_share"],
            valid_fold=hparams["valid_fold"],
            max_skipped_share=hparams["max_skipped_share"],
            extra_train=parse_extra_train(hparams["extra_train"]),
        )
        return manifests

    # The second call finds what the first process wrote, and is quick.
    sb.utils.distributed.run_on_main(run)
    return run()
