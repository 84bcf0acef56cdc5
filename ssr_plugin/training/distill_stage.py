"""Stage 1 from manifests to metrics: train, score, report."""

import logging
import pathlib
import time

import torch
from speechbrain.utils.distributed import if_main_process

from ssr_plugin.inference.pretrained import save_speech_lm
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.segmenters.trained import read_settings
from ssr_plugin.training import run_report
from ssr_plugin.training.data_pipeline import make_splits
from ssr_plugin.training.distill_brain import DistillBrain
from ssr_plugin.training.loop import make_loaders, train

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
    splits = make_splits(hparams, run_opts, manifests)

    seen = torch.zeros(hparams["llm"].vocab_size, dtype=torch.bool)
    for segments in splits["train"].segments.values():
        seen[segments.tokens] = True
    predicted = hparams["segmenters"]["predicted"]
    brain = DistillBrain(
        seen_tokens=seen,
        segmenter=predicted,
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    loaders = make_loaders(splits, hparams["batch_seconds"])
    train(brain, splits["train"].dataset, loaders["valid"], hparams)
    # Kept here: scoring loads the best checkpoint, whose history ends at its epoch.
    epochs = hparams["history"].epochs

    metrics = {}
    for name, loader in loaders.items():
        skipped = len(splits[name].skipped)
        if predicted is not None:
            metrics[f"{name} predicted"] = score(
                brain, name, loader, skipped, hparams, predicted=True
            )
        metrics[name] = score(brain, name, loader, skipped, hparams)
    metrics["train"] = run_report.train_figures(brain, splits["train"], epochs, started)
    if if_main_process():
        folder = hparams["output_folder"]
        skipped = {name: split.skipped for name, split in splits.items()}
        run_report.write_json(folder, metrics=metrics, skipped=skipped)
        lm = make_speech_lm(hparams, brain.part("connector"))
        save_speech_lm(folder, lm, metrics)
        drawn = next(iter(manifests.tests), "valid")
        run_report.draw_all(folder, brain, splits[drawn].dataset, epochs)
        run_report.show_summary(metrics)
        logger.info("Metrics, log, TensorBoard and pictures are in %s", folder)
    return metrics


def make_speech_lm(hparams, connector):
    """What a run of stage 1 made, for use.

    Arguments
    ---------
    hparams : dict
    connector : torch.nn.Module
        Trained.

    Returns
    -------
    SpeechLM
    """

    def own(kind):
        name = hparams[kind]
        options = (hparams[f"{kind}_options"] or {}).get(name) or {}
        return {"name": name, "options": options}

    predicted, segmenter = hparams["segmenters"]["predicted"], None
    if getattr(predicted, "trained", False):
        kept = read_settings(hparams["segmenter"])
        segmenter = {"name": kept["segmenter"], "options": kept["options"]}
    elif predicted is not None:
        segmenter = own("segmenter")
    settings = {
        "connector": own("connector"),
        "forced": (hparams["segmenter_options"] or {}).get("forced") or {},
        "segmenter": segmenter,
        "reading": {
            "passes": hparams["lm_fusion_steps"],
            "weight": hparams["lm_fusion_weight"],
            "inverse_temperature": hparams["inverse_temperature"],
        },
        "data": pathlib.Path(hparams["data_folder"]).name,
    }
    return SpeechLM(
        hparams["encoder"],
        hparams["llm"],
        connector,
        hparams["segmenters"],
        settings,
    )


def score(brain, name, loader, skipped, hparams, predicted=False):
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
    predicted : bool
        Whether segments are found in the audio alone.

    Returns
    -------
    dict
        The split's part of ``metrics.json``.
    """
    with_llm = hparams["score_with_llm"]
    scores, through = brain.score(loader, with_llm=with_llm, predicted=predicted)
    segments = "predicted" if predicted else "forced"
    run_report.show_readings(
        f"{name} ({segments})", scores.readings, hparams["num_shown"]
    )
    passes = hparams["lm_fusion_steps"] if brain.scores_tokens else 0
    figures = {"segments": segments, "lm_fusion_steps": passes, **scores.summary()}
    return {**figures, **through, "skipped": skipped}
