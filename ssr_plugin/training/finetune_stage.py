"""Stage 2 from a stage-1 folder to a tuned model: train, score, report, publish."""

import collections
import logging
import time

import torch
from speechbrain.utils.distributed import if_main_process, infer_device

from ssr_plugin.connectors.base import VocabularyConnector
from ssr_plugin.inference.pretrained import save_speech_lm
from ssr_plugin.nnet.precision import resolve_precision
from ssr_plugin.segmenters.base import HearingSegmenter
from ssr_plugin.training import fsdp, run_report
from ssr_plugin.training.batch_size import (
    FINETUNE_GROWTH,
    finetune_memory,
    resolve_batch,
)
from ssr_plugin.training.brain import ReadOptions
from ssr_plugin.training.finetune_brain import FinetuneBrain
from ssr_plugin.training.loop import make_loaders, train
from ssr_plugin.training.pseudo_speech import read_texts
from ssr_plugin.training.shard_dataset import ShardDataset
from ssr_plugin.training.shard_splits import ShardCorpus, splits_of
from ssr_plugin.training.stage1_model import (
    compare_data,
    load_stage1,
    same_models,
    tune,
)
from ssr_plugin.training.templates import parse_templates
from ssr_plugin.training.text_data import make_text

logger = logging.getLogger(__name__)


def run(hparams, run_opts, manifests):
    """Runs stage 2.

    Arguments
    ---------
    hparams : dict
        Of ``hparams/finetune.yaml``.
    run_opts : dict
        As ``speechbrain.parse_arguments`` gives them.
    manifests : ssr_plugin.data.prepare.Manifests or ShardCorpus

    Returns
    -------
    dict
        What is in ``metrics.json``.
    """
    started = time.time()
    hparams["llm_dtype"] = resolve_llm_dtype(hparams, run_opts.get("device"))
    lm = load_stage1(
        hparams["stage1"],
        run_opts.get("device"),
        dtype=hparams["llm_dtype"],
        encoder_dtype=hparams["encoder_dtype"],
        quantization=hparams["quantization"],
    )
    if not isinstance(manifests, ShardCorpus):
        compare_data(hparams["stage1"], manifests)
    templates = parse_templates(hparams["templates"], lm.llm.tokenizer)
    hparams["encoder"], hparams["segmenters"] = lm.encoder, lm.segmenters
    splits = splits_of(hparams, run_opts, manifests)
    device = run_opts.get("device") or infer_device()
    hparams |= resolve_batch(
        hparams,
        splits["train"].audio_seconds,
        device,
        finetune_memory(lm.llm.config),
        FINETUNE_GROWTH,
    )
    text = make_text(hparams, lm.llm)
    pseudo_texts = _pseudo_texts(hparams, lm, templates, splits["train"])
    if hparams["parallel"] == "fsdp":
        _check_listening(lm, splits["train"].dataset, hparams)
        # Layer by layer it comes back to the device, in parts.
        lm.llm.to("cpu")
    tuned = tune(lm.llm, hparams)
    state = tuned
    if hparams["parallel"] == "fsdp":
        fsdp.shard(tuned, device)
        state = fsdp.ShardedModel(tuned)
    brain = FinetuneBrain(
        lm=lm,
        templates=templates,
        text=text,
        pseudo_texts=pseudo_texts,
        hypotheses=collections.ChainMap(*(x.hypotheses for x in splits.values())),
        modules={"encoder": lm.encoder, "tuned": tuned},
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.checkpointer.add_recoverables({"models": same_models(lm), "tuned": state})
    loaders = make_loaders(splits, hparams["batch_seconds"])
    if tuned.trained:
        train(brain, splits["train"].dataset, loaders["valid"], hparams)
    # Kept here: scoring loads the best checkpoint, whose history ends at its epoch.
    epochs = hparams["history"].epochs

    listens = isinstance(brain.segmenter, HearingSegmenter)
    metrics = {}
    for name, loader in loaders.items():
        for segmentation in ("predicted", "forced") if brain.segmenter else ("forced",):
            options = ReadOptions(
                predicted=segmentation == "predicted", lm_fusion=hparams["lm_fusion"]
            )
            summary = brain.score(loader, brain.make_scorer(options), options)
            key = name if segmentation == "forced" else f"{name} {segmentation}"
            metrics[key] = {
                "segments": segmentation,
                **summary,
                **run_report.split_counts(splits[name], options.predicted and listens),
            }
    with tuned.base_model() as llm:
        before = brain.perplexity(llm)
    metrics["text"] = {
        "perplexity": brain.perplexity(tuned),
        "before": {"perplexity": before},
        "heldout": text.heldout_source,
        "tokens": sum(map(len, text.heldout)),
    }
    metrics["train"] = {
        **run_report.train_metrics(brain, splits["train"], epochs, started),
        "trained_parameters": sum(x.numel() for x in tuned.state_dict().values()),
    }
    run_report.check_finite(metrics)
    if tuned.trained and fsdp.is_sharded(tuned):
        tuned.whole_weights = fsdp.whole_weights(tuned)
    if if_main_process():
        folder = hparams["output_folder"]
        skipped = {name: split.skipped for name, split in splits.items()}
        run_report.write_json(folder, skipped=skipped)
        if epochs:
            run_report.draw_curves(folder, epochs)
        lm.tuned = tuned if tuned.trained else None
        save_speech_lm(folder, lm, metrics=metrics)
        show_before_and_after(metrics)
        logger.info("The model, metrics, log and pictures are in %s", folder)
    return metrics


def _check_listening(lm, dataset, hparams):
    """Refuses to ask an LLM in parts what only one process wants to know."""
    segmenter = lm.embedder.predicting
    if (
        isinstance(segmenter, HearingSegmenter)
        and "rescorer" in segmenter.recognizer.settings()
        and isinstance(dataset, ShardDataset)
        and hparams["predicted_share"]
    ):
        raise ValueError(
            "parallel: the segmenter asks the LLM (llm_weight) while it listens to "
            "shards, each process when it must, and under fsdp all would have to at "
            "once: set predicted_share: 0, or parallel: ddp"
        )


def _pseudo_texts(hparams, lm, templates, train):
    """The texts of pseudo speech, if some is to be read."""
    if not hparams["pseudo_speech_ratio"]:
        return []
    if not isinstance(lm.connector, VocabularyConnector):
        raise ValueError(
            "pseudo_speech_ratio: the connector of stage 1 does not score tokens, so "
            "that its errors are not known: set it to 0"
        )
    if not any(template.has_text for template in templates):
        raise ValueError(
            "pseudo_speech_ratio: pseudo speech is read by templates with {text}, and "
            "none has a share"
        )
    if hparams["pseudo_speech_source"] is None and not train.segments:
        raise ValueError(
            "pseudo_speech_source: transcripts of shards are read as they come: name a "
            "text"
        )
    transcripts = (segments.tokens for segments in train.segments.values())
    return read_texts(
        hparams["pseudo_speech_source"],
        transcripts,
        lm.segmenters["forced"],
        hparams["text_block"],
    )


def resolve_llm_dtype(hparams, device=None):
    """The number type of the LLM's weights, where the user leaves it to the machine.

    Where bfloat16 is what is computed in, frozen weights in float32 would be rounded to
    it at each use. Weights that are tuned as a whole stay in float32, in which small
    steps are not lost.

    Arguments
    ---------
    hparams : dict
        ``llm_dtype``, ``tuning`` and ``precision``.
    device : str or None
        None for the one that SpeechBrain picks.

    Returns
    -------
    str

    Example
    -------
    >>> settings = {"llm_dtype": "auto", "tuning": "lora", "precision": "bf16"}
    >>> resolve_llm_dtype(settings, "cuda:0"), resolve_llm_dtype(settings, "cpu")
    ('bfloat16', 'float32')
    """
    if hparams["llm_dtype"] != "auto":
        return hparams["llm_dtype"]
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    on_gpu = str(device).startswith("cuda")
    if not on_gpu or hparams["tuning"] == "full":
        return "float32"
    precision = resolve_precision(hparams["precision"], device)
    return "bfloat16" if precision == "bf16" else "float32"


def show_before_and_after(metrics):
    """Logs the metrics of each split before and after, one line each.

    Arguments
    ---------
    metrics : dict
        As in ``metrics.json``.
    """
    for name, split_metrics in metrics.items():
        if name == "train":
            continue
        kind = (
            f" ({split_metrics['segments']} segments)"
            if "segments" in split_metrics
            else ""
        )
        after, before = _flat(split_metrics), _flat(split_metrics["before"])
        logger.info(
            "%s%s, before -> after: %s",
            name.removesuffix(" predicted"),
            kind,
            "  ".join(
                f"{key} {before[key]:.4g} -> {after[key]:.4g}"
                for key in before
                if key in after
            ),
        )


def _flat(split_metrics):
    """The metrics of a split that are floats, those of "nll" with longer names."""
    nll = {
        f"NLL {key}": value for key, value in (split_metrics.get("nll") or {}).items()
    }
    values = {key.replace("_", " "): x for key, x in {**split_metrics, **nll}.items()}
    return {key: value for key, value in values.items() if isinstance(value, float)}
