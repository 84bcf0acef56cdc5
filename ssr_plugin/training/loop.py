"""From data sets to a trained Brain: loaders, training, and exact restarts."""

import speechbrain as sb
import torch

from ssr_plugin.processes import num_readers
from ssr_plugin.training.batch_slots import batch_slots
from ssr_plugin.training.batches import (
    collate,
    evaluation_batches,
    training_sampler,
)
from ssr_plugin.training.process_batches import (
    ProcessBatches,
    load_place,
    process_of,
    save_place,
)
from ssr_plugin.training.shard_batches import (
    SameShards,
    ShardBatchSampler,
    ShardPlan,
)
from ssr_plugin.training.shard_dataset import ShardDataset


def make_loaders(splits, batch_seconds):
    """Loaders of all splits but the training data, the same batches each time.

    Arguments
    ---------
    splits : dict
        Name -> ssr_plugin.training.data_pipeline.Split.
    batch_seconds : float
        Audio in a batch, padding included.

    Returns
    -------
    dict
        Name -> torch.utils.data.DataLoader.
    """
    return {
        name: sb.dataio.dataloader.make_dataloader(
            split.dataset,
            batch_sampler=evaluation_batches(split.dataset, batch_seconds),
            collate_fn=collate,
        )
        for name, split in splits.items()
        if name != "train"
    }


def loader_workers(num_workers, device="cpu"):
    """How many processes read and plan training batches.

    Arguments
    ---------
    num_workers : int or str
        "auto": 2 for a CPU; for a GPU all cores but one, at most 8, which feed it.
    device : torch.device or str
        What trains.

    Raises
    ------
    ValueError
        If it is another word, or below 0.

    Example
    -------
    >>> loader_workers(3)
    3
    >>> loader_workers("many")
    Traceback (most recent call last):
        ...
    ValueError: num_workers: 'many' is neither a whole number from 0 nor auto
    """
    if num_workers == "auto":
        on_cpu = torch.device(device).type == "cpu"
        return 2 if on_cpu else min(num_readers(device), 8)
    if not isinstance(num_workers, int) or num_workers < 0:
        raise ValueError(
            f"num_workers: '{num_workers}' is neither a whole number from 0 nor auto"
        )
    return num_workers


def train(brain, dataset, valid_loader, hparams):
    """Trains, or continues where an earlier run stopped.

    Arguments
    ---------
    brain : ssr_plugin.training.brain.StageBrain
    dataset : DynamicItemDataset or ShardDataset
    valid_loader : torch.utils.data.DataLoader
    hparams : dict
        ``batch_seconds``, ``num_workers``, ``seed``; for shards ``shuffle_buffer``.

    Raises
    ------
    ValueError
        If only a test is asked for and there is no checkpoint.
    """
    num_workers = loader_workers(hparams["num_workers"], brain.device)
    pin_memory = torch.device(brain.device).type == "cuda"
    slots = batch_slots(num_workers, hparams["batch_seconds"], pin_memory)
    options = {
        "collate_fn": brain.collate,
        "num_workers": num_workers,
        "pin_memory": pin_memory,
        "worker_init_fn": slots and slots.start_worker,
    }
    make = _shard_loader if isinstance(dataset, ShardDataset) else _loader
    loader = make(brain, dataset, hparams, options)
    if not brain.test_only:
        brain.fit_epochs(loader, valid_loader)
    elif brain.checkpointer.recover_if_possible() is None:
        raise ValueError(
            f"test_only: no checkpoint in {brain.checkpointer.checkpoints_dir}: train "
            f"first, or name the output_folder of a run"
        )


def _loader(brain, dataset, hparams, options):
    """A loader of batches of a folder's data."""
    batches = training_sampler(dataset, hparams["batch_seconds"], hparams["seed"])
    # SpeechBrain's own would shuffle batches in another way for several processes.
    brain.train_sampler = ProcessBatches(
        batches, *process_of(), brain.grad_accumulation_factor
    )
    loader = sb.dataio.dataloader.make_dataloader(
        dataset, batch_sampler=brain.train_sampler, **options
    )
    brain.checkpointer.add_recoverable(
        "dataloader-TRAIN", loader, load_place, save_place
    )
    return loader


def _shard_loader(brain, dataset, hparams, options):
    """A loader of batches of shards, which are divided among processes already."""
    rank, world_size = process_of()
    reader = dataset.reader
    dataset.plan = ShardPlan(
        reader.durations,
        reader.starts,
        hparams["batch_seconds"],
        hparams["seed"],
        rank,
        world_size,
        hparams["shuffle_buffer"],
    )
    brain.train_sampler = ShardBatchSampler(dataset.plan)
    loader = sb.dataio.dataloader.make_dataloader(
        dataset, batch_sampler=brain.train_sampler, **options
    )
    brain.checkpointer.add_recoverables(
        {
            "shards": SameShards(reader.split.digest, dataset.plan),
            "dataloader-TRAIN": loader,
        }
    )
    return loader
