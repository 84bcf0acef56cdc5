"""Stage 1 from manifests to metrics: train, score, report."""

import logging
import time

import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process

from ssr_plugin.models.precision import resolve_precision
from ssr_plugin.training import report
from ssr_plugin.training.batches import (
    collate,
    evaluation_batches,
    training_sampler,
)
from ssr_plugin.training.distill import DistillBrain
from ssr_plugin.training.splits import make_splits

logger = logging.getLogger(__name__)


def run(hparams, run_opts, manifests):
    """Runs stage 1.

    Arguments
    ---------
    hparams : dict
        Of ``hparams/distill.yaml``.
    run_opts : dict
        As ``speechbrain.parse_arguments`` gives them.
    manifests : ssr_plugin.data.prepare.Manifests

    Returns
    -------
    dict
        What is in ``metrics.json``.
    """
    started = time.time()
    device = run_opts.get("device")
    hparams["precision"] = resolve_precision(hparams["precision"], device)
    splits = make_splits(hparams, run_opts, manifests)

    seen = torch.zeros(hparams["llm"].vocab_size, dtype=torch.bool)
    for segments in splits["train"].segments.values():
        seen[segments.tokens] = True
    brain = DistillBrain(
        seen_tokens=seen,
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    loaders = {
        name: sb.dataio.dataloader.make_dataloader(
            split.dataset,
            batch_sampler=evaluation_batches(split.dataset, hparams["batch_seconds"]),
            collate_fn=collate,
        )
        for name, split in splits.items()
        if name != "train"
    }
    train(brain, splits["train"].dataset, loaders["valid"], hparams)
    # Kept here: scoring loads the best checkpoint, whose history ends at its epoch.
    epochs = hparams["history"].epochs

    metrics = {
        name: score(brain, name, loader, len(splits[name].skipped), hparams)
        for name, loader in loaders.items()
    }
    metrics["train"] = {
        "epochs": len(epochs),
        "wall_s": time.time() - started,
        "audio_s_per_s": brain.audio_seconds / max(brain.train_seconds, 1e-9),
        "peak_rss_mb": report.peak_rss_mb(),
        "skipped": len(splits["train"].skipped),
    }
    if if_main_process():
        folder = hparams["output_folder"]
        skipped = {name: split.skipped for name, split in splits.items()}
        report.write_json(folder, metrics=metrics, skipped=skipped)
        drawn = next(iter(manifests.tests), "valid")
        report.draw_all(folder, brain, splits[drawn].dataset, epochs)
        report.show_summary(metrics)
        logger.info("Metrics, log, TensorBoard and pictures are in %s", folder)
    return metrics


def score(brain, name, loader, skipped, hparams):
    """Scores the best connector on a split, and shows some of what it reads.

    Arguments
    ---------
    brain : DistillBrain
    name : str
        The split's.
    loader : torch.utils.data.DataLoader
    skipped : int
        Utterances of the split that were left out.
    hparams : dict

    Returns
    -------
    dict
        The split's part of ``metrics.json``.
    """
    scores, nll = brain.score(loader, with_llm=hparams["score_with_llm"])
    report.show_readings(name, scores.readings, hparams["num_shown"])
    forced = hparams["modules"]["segmenter"].forced
    figures = {"segments": "forced" if forced else "predicted", **scores.summary()}
    return {**figures, "nll": nll, "skipped": skipped}


def train(brain, dataset, valid_loader, hparams):
    """Trains the connector, or goes on where an earlier run of it was stopped.

    Arguments
    ---------
    brain : DistillBrain
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
    valid_loader : torch.utils.data.DataLoader
    hparams : dict
    """
    sampler = training_sampler(dataset, hparams["batch_seconds"], hparams["seed"])
    loader = brain.make_dataloader(
        dataset,
        sb.Stage.TRAIN,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=hparams["num_workers"],
    )
    if brain.train_sampler is None:
        # SpeechBrain tells only the samplers that it made itself which epoch it is.
        brain.train_sampler = sampler
    if not brain.test_only:
        brain.fit_epochs(loader, valid_loader)
    elif brain.checkpointer.recover_if_possible() is None:
        raise ValueError(
            f"test_only: no checkpoint in {brain.checkpointer.checkpoints_dir}: train "
            f"first, or name the output_folder of a run"
        )
