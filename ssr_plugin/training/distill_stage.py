"""Stage 1 from manifests to metrics: train, score, report."""

import collections
import logging
import pathlib
import time

import torch
from speechbrain.utils.distributed import if_main_process, infer_device

from ssr_plugin.connectors.check import check_connector
from ssr_plugin.inference.posterior_gate import settings_of
from ssr_plugin.inference.pretrained import save_speech_lm
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.segmenters.base import HearingSegmenter, TrainableSegmenter
from ssr_plugin.segmenters.trained import read_settings
from ssr_plugin.training import run_report
from ssr_plugin.training.batch_size import resolve_batch
from ssr_plugin.training.brain import ReadOptions
from ssr_plugin.training.data_pipeline import NOISY_VALID
from ssr_plugin.training.distill_brain import DistillBrain
from ssr_plugin.training.gate_fitting import fit_gate
from ssr_plugin.training.loop import make_loaders, train
from ssr_plugin.training.shard_splits import splits_of

logger = logging.getLogger(__name__)


def run(hparams, run_opts, manifests):
    """Runs stage 1.

    Arguments
    ---------
    hparams : dict
        Of ``hparams/distill.yaml``.
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
        If the connector breaks its contract.
    """
    started = time.time()
    check_connector(
        hparams["modules"]["connector"], hparams["encoder"].width, hparams["llm"]
    )
    device = run_opts.get("device") or infer_device()
    # It may be asked already while a recogniser listens.
    hparams["llm"].to(device)
    splits = splits_of(hparams, run_opts, manifests)
    hparams |= resolve_batch(hparams, splits["train"].audio_seconds, device)

    seen_tokens = torch.zeros(hparams["llm"].vocab_size, dtype=torch.bool)
    for segments in splits["train"].segments.values():
        seen_tokens[segments.tokens] = True
    predicted = hparams["segmenters"]["predicted"]
    brain = DistillBrain(
        seen_tokens=seen_tokens,
        segmenter=predicted,
        hypotheses=collections.ChainMap(*(x.hypotheses for x in splits.values())),
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    loaders = make_loaders(splits, hparams["batch_seconds"])
    train(brain, splits["train"].dataset, loaders["valid"], hparams)
    # Kept here: scoring loads the best checkpoint, whose history ends at its epoch.
    epochs = hparams["history"].epochs

    held_out = [loaders[name] for name in ("valid", NOISY_VALID) if name in loaders]
    brain.gate = fit_gate(brain, held_out)
    metrics = {}
    listens = isinstance(predicted, HearingSegmenter)
    segmentations = ("forced",) if predicted is None else ("predicted", "forced")
    for name, loader in loaders.items():
        for segmentation in segmentations:
            key = name if segmentation == "forced" else f"{name} {segmentation}"
            metrics[key] = score(brain, name, loader, segmentation, hparams)
            listened = segmentation == "predicted" and listens
            metrics[key] |= run_report.split_counts(splits[name], listened)
    metrics["train"] = run_report.train_metrics(brain, splits["train"], epochs, started)
    run_report.check_finite(metrics)
    if if_main_process():
        folder = hparams["output_folder"]
        skipped = {name: split.skipped for name, split in splits.items()}
        run_report.write_json(folder, metrics=metrics, skipped=skipped)
        lm = make_speech_lm(hparams, brain.unwrapped("connector"), brain.gate)
        save_speech_lm(folder, lm, metrics)
        pictured_split = next(iter(manifests.tests), "valid")
        run_report.draw_all(folder, brain, splits[pictured_split].dataset, epochs)
        run_report.show_summary(metrics)
        logger.info("Metrics, log, TensorBoard and pictures are in %s", folder)
    return metrics


def make_speech_lm(hparams, connector, gate=None):
    """The model that a run of stage 1 trained, ready for use.

    Arguments
    ---------
    hparams : dict
    connector : torch.nn.Module
        Trained.
    gate : ssr_plugin.inference.posterior_gate.PosteriorGate or None

    Returns
    -------
    SpeechLM
    """

    def component(kind):
        name = hparams[kind]
        options = (hparams[f"{kind}_options"] or {}).get(name) or {}
        return {"name": name, "options": options}

    predicted, segmenter = hparams["segmenters"]["predicted"], None
    if isinstance(predicted, TrainableSegmenter):
        trained = read_settings(hparams["segmenter"])
        segmenter = {"name": trained["segmenter"], "options": trained["options"]}
    elif predicted is not None:
        segmenter = component("segmenter")
    settings = {
        "connector": component("connector"),
        "forced": (hparams["segmenter_options"] or {}).get("forced") or {},
        "segmenter": segmenter,
        "lm_fusion": {
            "steps": hparams["lm_fusion_steps"],
            "weight": hparams["lm_fusion_weight"],
            "inverse_temperature": hparams["inverse_temperature"],
        },
        "gate": settings_of(gate),
        "data": pathlib.Path(hparams["data_folder"]).name,
    }
    return SpeechLM(
        hparams["encoder"],
        hparams["llm"],
        connector,
        hparams["segmenters"],
        settings,
    )


def score(brain, name, loader, segmentation, hparams):
    """Scores the best connector on a split, and logs some of its readings.

    Arguments
    ---------
    brain : DistillBrain
    name : str
        The split's.
    loader : torch.utils.data.DataLoader
    segmentation : str
        "forced", or "predicted": found in the audio alone.
    hparams : dict

    Returns
    -------
    dict
        The split's entry in ``metrics.json``.
    """
    options = ReadOptions(
        predicted=segmentation == "predicted",
        lm_fusion=brain.scores_tokens and hparams["lm_fusion_steps"] > 0,
    )
    scorer = brain.make_scorer(options, with_llm=hparams["score_with_llm"])
    summary = brain.score(loader, scorer, options)
    run_report.show_readings(
        f"{name} ({segmentation})", scorer.readings(), hparams["num_shown"]
    )
    return {"segments": segmentation, **summary}
