"""Stage 1 from manifests to metrics: align, cut, cache, train, score, draw."""

import logging
import pathlib
import time

import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process, infer_device

from ssr_plugin import build
from ssr_plugin.alignment.aligner import AlignmentItem
from ssr_plugin.alignment.cache import align
from ssr_plugin.data.manifest import read_manifest
from ssr_plugin.models.features import FeatureCache
from ssr_plugin.models.precision import resolve_precision
from ssr_plugin.training import report
from ssr_plugin.training.batches import (
    collate,
    evaluation_batches,
    make_dataset,
    other_rates,
    segment_all,
    training_sampler,
)
from ssr_plugin.training.distill import DistillBrain

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
    splits = {"train": manifests.train, "valid": manifests.valid, **manifests.tests}
    rows = {split: read_manifest(path) for split, path in splits.items()}
    skipped = {split: dict(manifests.skipped.get(split, {})) for split in splits}
    encoder, llm = hparams["encoder"], hparams["llm"]

    if not hparams["resample"]:
        for split, part in rows.items():
            problems = other_rates(
                part, encoder.sample_rate, hparams["max_skipped_share"]
            )
            skipped[split] |= problems.reasons
            rows[split] = {k: row for k, row in part.items() if k not in skipped[split]}
    alignments = {}
    for split, part in rows.items():
        alignments[split], problems = align_rows(part, hparams)
        skipped[split] |= problems.reasons
    features = dict.fromkeys(splits)
    segments = {}
    for split, part in rows.items():
        if hparams["cache_features"]:
            features[split], problems = cache_features(part, hparams, run_opts)
            skipped[split] |= problems.reasons
        usable = {name: row for name, row in part.items() if name not in skipped[split]}
        segments[split], problems = segment_all(
            usable,
            alignments[split],
            hparams["modules"]["segmenter"],
            frame_counter(usable, encoder, features[split]),
            hparams["max_skipped_share"],
        )
        skipped[split] |= problems.reasons

    seen = torch.zeros(llm.vocab_size, dtype=torch.bool)
    for one in segments["train"].values():
        seen[one.tokens] = True
    brain = DistillBrain(
        seen_tokens=seen,
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    datasets = {
        split: make_dataset(
            rows[split], segments[split], features[split], encoder.sample_rate
        )
        for split in splits
    }
    loaders = {
        split: sb.dataio.dataloader.make_dataloader(
            datasets[split],
            batch_sampler=evaluation_batches(datasets[split], hparams["batch_seconds"]),
            collate_fn=collate,
        )
        for split in splits
        if split != "train"
    }
    train(brain, datasets["train"], loaders["valid"], hparams)
    # Kept here: scoring loads the best checkpoint, whose history ends at its epoch.
    epochs = hparams["history"].epochs

    metrics = {}
    for split, loader in loaders.items():
        scores, nll = brain.score(loader, with_llm=hparams["score_with_llm"])
        metrics[split] = {
            "segments": "forced",
            **scores.summary(),
            "nll": nll,
            "skipped": len(skipped[split]),
        }
        report.show_readings(split, scores.readings, hparams["num_shown"])
    metrics["train"] = {
        "epochs": len(epochs),
        "wall_s": time.time() - started,
        "audio_s_per_s": brain.audio_seconds / max(brain.train_seconds, 1e-9),
        "peak_rss_mb": report.peak_rss_mb(),
        "skipped": len(skipped["train"]),
    }
    if if_main_process():
        folder = hparams["output_folder"]
        report.write_json(folder, metrics=metrics, skipped=skipped)
        drawn = next(iter(manifests.tests), "valid")
        report.draw_all(folder, brain, datasets[drawn], epochs)
        report.show_summary(metrics)
        logger.info("Metrics, log, TensorBoard and pictures are in %s", folder)
    return metrics


def align_rows(rows, hparams):
    """Aligns the utterances of a manifest with the aligner that ``hparams`` names.

    Under ``torchrun`` each process aligns its share, then all read the whole.

    Arguments
    ---------
    rows : dict
        Manifest rows by id.
    hparams : dict

    Returns
    -------
    alignments : ssr_plugin.alignment.cache.Alignments
    problems : ssr_plugin.problems.Problems
    """
    aligner = build.aligner(hparams["aligner"], hparams["aligner_options"])
    items = [AlignmentItem(name, row["wav"], row["wrd"]) for name, row in rows.items()]
    folder = pathlib.Path(hparams["cache_folder"]) / "alignments"
    in_shards(lambda shard, share: align(items, aligner, folder, shard, None, share))
    return align(items, aligner, folder, max_skipped_share=hparams["max_skipped_share"])


def cache_features(rows, hparams, run_opts):
    """Runs the encoder once over the utterances that the cache lacks.

    Arguments
    ---------
    rows : dict
        Manifest rows by id.
    hparams, run_opts : dict

    Returns
    -------
    features : ssr_plugin.models.features.FeatureCache
    problems : ssr_plugin.problems.Problems
        The utterances that cannot be read.
    """
    encoder = hparams["encoder"].to(run_opts.get("device") or infer_device())
    cache = FeatureCache(pathlib.Path(hparams["cache_folder"]) / "features", encoder)
    in_shards(
        lambda shard, share: cache.build(rows, shard=shard, max_skipped_share=share)
    )
    return cache, cache.build(rows, max_skipped_share=hparams["max_skipped_share"])


def in_shards(work):
    """Calls ``work(shard, max_skipped_share)`` in each process for its own share.

    With one process there is nothing to share out, and nothing is done. The share of
    bad utterances is left to be judged over the whole.
    """
    if torch.distributed.is_initialized():
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        work(f"{rank + 1}/{world}", 1.0)
        torch.distributed.barrier()


def frame_counter(rows, encoder, features):
    """A function from id to the number of frames of an utterance.

    Arguments
    ---------
    rows : dict
        Manifest rows by id.
    encoder : ssr_plugin.models.encoder.SpeechEncoder
    features : ssr_plugin.models.features.FeatureCache or None

    Returns
    -------
    callable
    """
    if features is not None:
        return features.num_frames
    return lambda name: encoder.num_frames(
        round(rows[name]["duration"] * encoder.sample_rate)
    )


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
