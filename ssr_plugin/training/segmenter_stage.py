"""A segmenter from manifests to a folder that other stages load."""

import logging
import pathlib
import time

from speechbrain.utils.distributed import if_main_process

from ssr_plugin.segmenters.base import Needs, TextAligner, TrainableSegmenter
from ssr_plugin.segmenters.trained import save_segmenter
from ssr_plugin.training import run_report
from ssr_plugin.training.batches import collate
from ssr_plugin.training.brain import ReadOptions
from ssr_plugin.training.loop import make_loaders, train
from ssr_plugin.training.segmenter_brain import SegmenterBrain
from ssr_plugin.training.shard_splits import splits_of

logger = logging.getLogger(__name__)


def run(hparams, run_opts, manifests):
    """Trains and scores a segmenter, and writes it to ``output_folder``.

    Arguments
    ---------
    hparams : dict
        Of ``hparams/segmenter.yaml``.
    run_opts : dict
        As ``speechbrain.parse_arguments`` gives them.
    manifests : Manifests or ShardCorpus
        Of a folder, or of a folder of shards.

    Returns
    -------
    dict
        What is in ``metrics.json``.

    Raises
    ------
    ValueError
        If the segmenter has nothing to train, or there is too much training data.
    """
    started = time.time()
    segmenter = hparams["modules"]["segmenter"]
    if not isinstance(segmenter, TrainableSegmenter):
        raise ValueError(
            f"segmenter '{hparams['segmenter']}' has nothing to be trained: name "
            f"another, or use it as it is in hparams/distill.yaml"
        )
    splits = splits_of(hparams, run_opts, manifests)
    _check_survey(splits["train"])
    segmenter.learn_symbols(splits["train"].segments.values())
    brain = SegmenterBrain(
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    loaders = make_loaders(splits, hparams["batch_seconds"])
    train(brain, splits["train"].dataset, loaders["valid"], hparams)
    epochs = hparams["history"].epochs

    brain.checkpointer.recover_if_possible(**brain.best)
    if isinstance(segmenter, TextAligner) and hparams["aligner"] != "even":
        brain.calibrate(loaders["valid"], splits["valid"].alignments)
    metrics = {}
    segmentation = "forced" if Needs.TRANSCRIPT in segmenter.needs else "predicted"
    for name, loader in loaders.items():
        scorer = brain.valid_scorer()
        summary = brain.score(loader, scorer, ReadOptions(predicted=True))
        run_report.show_readings(name, scorer.readings(), hparams["num_shown"])
        skipped = len(splits[name].skipped)
        metrics[name] = {
            "segments": segmentation,
            **summary,
            "skipped": skipped,
        }
    metrics["train"] = run_report.train_metrics(brain, splits["train"], epochs, started)
    run_report.check_finite(metrics)
    if if_main_process():
        folder = hparams["output_folder"]
        skipped = {name: split.skipped for name, split in splits.items()}
        run_report.write_json(folder, metrics=metrics, skipped=skipped)
        save_segmenter(
            folder,
            segmenter,
            hparams["segmenter"],
            (hparams["segmenter_options"] or {}).get(hparams["segmenter"]) or {},
            hparams["encoder"],
            hparams["llm"],
        )
        run_report.draw_curves(folder, epochs)
        if segmentation == "predicted":
            pictured = splits[next(iter(manifests.tests), "valid")].dataset
            _draw_found(folder, brain, pictured)
        for name in loaders:
            logger.info(
                "%s (%s segments): %s",
                name,
                segmentation,
                "  ".join(
                    f"{key} {value:.3g}"
                    for key, value in metrics[name].items()
                    if isinstance(value, float)
                ),
            )
        logger.info("Segmenter, metrics, log and pictures are in %s", folder)
    return metrics


def _draw_found(folder, brain, dataset):
    """Draws what the segmenter finds in one utterance, beside its forced segments."""
    batch = collate([dataset[run_report.middle_row(dataset)]])
    audio = run_report.audio_of(brain, dataset, batch.ids[0])
    if audio is None:
        return
    (predicted,) = brain.read(batch.to(brain.device), ReadOptions(True)).segments
    title = f"{batch.ids[0]}: what is said, and what the segmenter hears"
    folder = pathlib.Path(folder) / "pictures"
    run_report.draw_found(folder, brain, audio, batch.segments[0], predicted, title)


def _check_survey(train):
    """Refuses data of which not all symbols are known: others could not be learnt."""
    known = len(train.segments) + len(train.skipped)
    if known < len(train.dataset):
        raise ValueError(
            f"segmenter: it is trained on what was surveyed as a whole, and the "
            f"training data has {len(train.dataset)} utterances: train it on a part of "
            f"them (hparams/segmenter.yaml), and name its folder here"
        )
