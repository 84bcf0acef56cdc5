"""The results of a run: metrics, skipped utterances, readings and pictures."""

import json
import logging
import math
import pathlib
import sys
import time

import torch

from ssr_plugin.data.audio import read_row
from ssr_plugin.files import atomic_path
from ssr_plugin.metrics.pictures import (
    draw_learning_curves,
    draw_segmentations,
    draw_similarity,
    draw_utterance,
    token_labels,
)
from ssr_plugin.metrics.wer import rate_of
from ssr_plugin.nnet.nearest import nearest_tokens
from ssr_plugin.segmenters.base import Segments
from ssr_plugin.training.batches import collate, durations_of
from ssr_plugin.training.brain import ReadOptions

logger = logging.getLogger(__name__)


def write_json(folder, **contents):
    """Writes each content to ``<folder>/<name>.json``, whole or not at all.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> write_json(folder, metrics={"a": 1})
    >>> (folder / "metrics.json").read_text()
    '{\\n  "a": 1\\n}'
    """
    for name, content in contents.items():
        with atomic_path(pathlib.Path(folder) / f"{name}.json") as path:
            path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def check_finite(metrics):
    """Refuses metrics that are no numbers, before they are published as a result.

    Arguments
    ---------
    metrics : dict
        As in ``metrics.json``; None stands for a figure that there is none of.

    Raises
    ------
    ValueError

    Example
    -------
    >>> check_finite({"valid": {"nll": {"speech": float("nan"), "none": None}}})
    Traceback (most recent call last):
        ...
    ValueError: valid, nll, speech is nan: the model gives no numbers any more; train \
again with a lower lr, in an output_folder of its own
    """
    for path, value in _leaves(metrics):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(
                f"{', '.join(path)} is {value}: the model gives no numbers any more; "
                f"train again with a lower lr, in an output_folder of its own"
            )


def _leaves(content, path=()):
    """(keys on the way, value) of all that is in dicts and lists."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _leaves(value, (*path, str(key)))
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _leaves(value, path)
    else:
        yield path, content


def train_metrics(brain, split, epochs, started):
    """The metrics of the training itself, as in ``metrics.json``.

    Arguments
    ---------
    brain : ssr_plugin.training.brain.StageBrain
    split : ssr_plugin.training.data_pipeline.Split
        The training data.
    epochs : list of dict
        Of :class:`ssr_plugin.training.history.History`.
    started : float
        When the run began, as ``time.time`` gives it.

    Returns
    -------
    dict
        "audio_s_per_s" is the audio that this process trained on in a second of its
        steps. It and "wall_s" count from the last restart.
    """
    return {
        "language": brain.language,
        "epochs": max((epoch["epoch"] for epoch in epochs), default=0),
        "wall_s": time.time() - started,
        "audio_s_per_s": brain.audio_seconds / max(brain.train_seconds, 1e-9),
        "peak_rss_mb": peak_rss_mb(),
        "skipped": len(split.skipped),
    }


def split_counts(split, listened):
    """How much of a split was set aside, as in ``metrics.json``.

    Arguments
    ---------
    split : ssr_plugin.training.data_pipeline.Split
        One that is scored.
    listened : bool
        Whether its segments come of what a recogniser hears.

    Returns
    -------
    dict
        "skipped": utterances that were left out; "looped": those in whose hypothesis a
        loop of the recogniser's was cut.
    """
    counts = {"skipped": len(split.skipped)}
    if listened:
        heard = split.hypotheses.values()
        counts["looped"] = sum(hypothesis.cut_loops > 0 for hypothesis in heard)
    return counts


def show_readings(split, readings, count):
    """Logs transcripts beside the readings of their vectors.

    Arguments
    ---------
    split : str
    readings : list of (str, dict)
        Id, and texts by kind ("said", "read", ...).
    count : int
        How many to show, spread over the list.
    """
    step = max(len(readings) // max(count, 1), 1)
    for name, texts in readings[::step][:count]:
        lines = "".join(f"\n  {kind}: {text}" for kind, text in texts.items())
        logger.info("%s %s%s", split, name, lines)


def show_summary(metrics):
    """Logs the metrics of each split in a line.

    Arguments
    ---------
    metrics : dict
        As in ``metrics.json``.
    """
    for split, split_metrics in metrics.items():
        if split == "train":
            continue
        nll, fused = split_metrics["nll"] or {}, split_metrics.get("lm_fusion") or {}
        rate, read = rate_of(split_metrics, "retrieval_")
        values = {
            "cosine": split_metrics["cosine"],
            "token accuracy %": split_metrics["token_accuracy"],
            "of unseen types %": split_metrics["token_accuracy_unseen"],
            f"retrieval {rate} %": read,
            "with LM fusion %": rate_of(fused, "retrieval_")[1],
            f"prompted {rate} %": rate_of(split_metrics, "prompted_")[1],
            **{
                f"NLL {key}": nll.get(key)
                for key in ("text", "speech", "cascade", "none")
            },
            "gain kept %": nll.get("gain_kept"),
            "cascade %": nll.get("cascade_kept"),
        }
        fields = [f"{key} {x:.3g}" for key, x in values.items() if x is not None]
        if nll.get("ahead_interval"):
            low, high = nll["ahead_interval"]
            fields.append(f"ahead by {nll['ahead']:.1f} ({low:.1f} to {high:.1f})")
        logger.info(
            "%s (%s segments): %s",
            split.removesuffix(" predicted"),
            split_metrics["segments"],
            "  ".join(fields),
        )


def draw_example(folder, brain, dataset, row):
    """Draws one utterance's segments and the readings of its vectors.

    Arguments
    ---------
    folder : pathlib.Path
        Gets ``similarity.png``; where there is audio, ``utterance.png``; where there is
        a segmenter, too, ``segments.png``: what it finds, below the forced segments.
    brain : ssr_plugin.training.distill_brain.DistillBrain
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
    row : int
        Which utterance of the data set.
    """
    batch = collate([dataset[row]])
    (forced,) = batch.segments
    brain.modules.eval()
    vectors = brain.read(batch, ReadOptions()).vectors[0, : len(forced)].float().cpu()
    table = brain.table.cpu()
    tokenizer = brain.modules.llm.tokenizer
    labels = token_labels(tokenizer, forced.tokens.tolist())
    name = batch.ids[0]
    title = f"{name} (forced segments, the connector alone)"
    embeddings = table[torch.as_tensor(forced.tokens)].float()
    draw_similarity(folder / "similarity.png", vectors, embeddings, labels, title=title)
    audio = audio_of(brain, dataset, name)
    if audio is None:
        return
    draw_utterance(
        folder / "utterance.png",
        audio,
        brain.modules.encoder.sample_rate,
        *_times(brain, forced),
        labels,
        reading=token_labels(tokenizer, nearest_tokens(vectors, table).tolist()),
        title=title,
    )
    if brain.segmenter is not None:
        found = brain.read(batch, ReadOptions(predicted=True))
        kept = found.kept[0]
        heard = nearest_tokens(found.vectors[0][kept].float().cpu(), table)
        boundaries, starts, _ = (x[0][kept].cpu().numpy() for x in found.segments)
        predicted = Segments(heard.numpy(), starts, boundaries)
        title = f"{name}: what is said, and what predicted segments read as"
        draw_found(folder, brain, audio, forced, predicted, title)


def audio_of(brain, dataset, name):
    """An utterance's samples [S] to be drawn; None where shards keep frames alone."""
    row = dataset.data[name]
    if row["wav"] is None:
        return None
    return read_row(row, brain.modules.encoder.sample_rate)


def draw_found(folder, brain, audio, forced, predicted, title):
    """Draws forced segments and predicted ones over each other.

    Arguments
    ---------
    folder : pathlib.Path
        Gets ``segments.png``.
    brain : ssr_plugin.training.brain.StageBrain
    audio : torch.Tensor
        [S], of :func:`audio_of`.
    forced, predicted : ssr_plugin.segmenters.base.Segments
        With the tokens that are to be shown; of -1, none is.
    title : str
    """
    tokenizer = brain.modules.llm.tokenizer
    both = []
    for name, segments in (("forced", forced), ("predicted", predicted)):
        shown = segments.tokens.clip(min=0).tolist()
        labels = token_labels(tokenizer, shown)
        known = [
            label if token >= 0 else ""
            for label, token in zip(labels, segments.tokens, strict=True)
        ]
        both.append((name, *_times(brain, segments), known))
    sample_rate = brain.modules.encoder.sample_rate
    draw_segmentations(folder / "segments.png", audio, sample_rate, *both, title)


def _times(brain, segments):
    """When segments begin and end: [N] each, in seconds."""
    frame_rate = brain.modules.encoder.frame_rate
    return segments.starts / frame_rate, (segments.boundaries + 1) / frame_rate


def middle_row(dataset):
    """The utterance of median length: its place in the data set."""
    durations = durations_of(dataset)
    return sorted(range(len(durations)), key=durations.__getitem__)[len(durations) // 2]


def draw_all(folder, brain, dataset, epochs):
    """Draws an example and the learning curves into ``<folder>/pictures``.

    Arguments
    ---------
    folder : path-like
        The run folder.
    brain : ssr_plugin.training.distill_brain.DistillBrain
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
        Its utterance of median length is drawn.
    epochs : list of dict
        Of :class:`ssr_plugin.training.history.History`.
    """
    draw_curves(folder, epochs)
    folder = pathlib.Path(folder) / "pictures"
    draw_example(folder, brain, dataset, middle_row(dataset))


def draw_curves(folder, epochs):
    """Draws the learning curves into ``<folder>/pictures``.

    Arguments
    ---------
    folder : path-like
        The run folder.
    epochs : list of dict
        Of :class:`ssr_plugin.training.history.History`.
    """
    folder = pathlib.Path(folder) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    draw_learning_curves(folder / "learning_curves.png", epochs)


def peak_rss_mb():
    """Most memory that this process has held at once, in MB (10^6 bytes).

    Example
    -------
    >>> peak_rss_mb() > 1
    True
    """
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
