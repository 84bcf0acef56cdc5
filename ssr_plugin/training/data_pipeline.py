"""From manifests to data sets: align, encode, cut. Shared by the stages."""

import collections
import contextlib
import dataclasses
import pathlib

import torch
from speechbrain.utils.distributed import infer_device

from ssr_plugin import build
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.number_aligner import with_number_words
from ssr_plugin.data.manifest import read_manifest
from ssr_plugin.encoders.feature_cache import FeatureCache
from ssr_plugin.problems import TooManyProblems, prefix_errors
from ssr_plugin.recognizers.hypotheses import recognize_all
from ssr_plugin.segmenters.base import HearingSegmenter
from ssr_plugin.training.batches import (
    durations_of,
    make_dataset,
    other_rates,
    segment_all,
)
from ssr_plugin.training.noisy_copies import NoisyCopies
from ssr_plugin.training.shard_dataset import ShardDataset
from ssr_plugin.training.speed_perturbation import add_speeds

#: The split of validation data in noise, where training data are copied in noise.
NOISY_VALID = "valid noisy"


@dataclasses.dataclass
class Split:
    """One split, ready for training or scoring.

    Arguments
    ---------
    dataset : DynamicItemDataset or ShardDataset
        The utterances that have segments. Training data of shards is a
        :class:`ssr_plugin.training.shard_dataset.ShardDataset`.
    segments : dict
        ssr_plugin.segmenters.base.Segments by id; of training data of shards, those
        that a survey has.
    skipped : dict
        Ids of the utterances left out, each with its reason.
    alignments : collections.abc.Mapping
        ssr_plugin.alignment.record.Alignment by id.
    hypotheses : collections.abc.Mapping
        What the recogniser of a segmenter that listens hears, by id; else empty.
    """

    dataset: object
    segments: dict
    skipped: dict
    alignments: object
    hypotheses: object

    @property
    def audio_seconds(self):
        """Of all utterances, s."""
        if isinstance(self.dataset, ShardDataset):
            return self.dataset.audio_seconds
        return sum(durations_of(self.dataset))


def make_splits(hparams, run_opts, manifests):
    """Aligns, encodes and cuts all splits, where the caches lack them.

    Arguments
    ---------
    hparams, run_opts : dict
    manifests : ssr_plugin.data.prepare.Manifests

    Returns
    -------
    dict
        Name ("train", "valid", a test split's) -> :class:`Split`; with noisy copies
        also :data:`NOISY_VALID`.
    """
    paths = {"train": manifests.train, "valid": manifests.valid, **manifests.tests}
    rows = {split: read_manifest(path) for split, path in paths.items()}
    skipped = {split: dict(manifests.skipped.get(split, {})) for split in paths}
    encoder = hparams["encoder"]
    share = hparams["max_skipped_share"]

    if not hparams["resample"]:
        for split, split_rows in rows.items():
            with _of_split(split):
                problems = other_rates(split_rows, encoder.sample_rate, share)
            skipped[split] |= problems.reasons
            rows[split] = {
                k: row for k, row in split_rows.items() if k not in skipped[split]
            }
    # Each step is done for all splits before the next, so that errors show early.
    alignments = {}
    for split, split_rows in rows.items():
        with _of_split(split):
            alignments[split], problems = align_rows(split_rows, hparams)
        skipped[split] |= problems.reasons
    add_noisy_copies(rows, alignments, skipped, hparams)
    hypotheses = {split: {} for split in rows}
    for split in _heard_splits(rows, hparams):
        with _of_split(split):
            hypotheses[split], problems = hear_rows(rows[split], hparams, run_opts)
        skipped[split] |= problems.reasons
    speeds = hparams["speed_perturbation"]
    _, hypotheses["train"] = add_speeds(rows["train"], hypotheses["train"], speeds)
    rows["train"], alignments["train"] = add_speeds(
        rows["train"], alignments["train"], speeds
    )
    splits = {}
    for split, split_rows in rows.items():
        features = None
        if hparams["cache_features"]:
            with _of_split(split):
                features, problems = cache_features(split_rows, hparams, run_opts)
            skipped[split] |= problems.reasons
        usable = {
            name: row for name, row in split_rows.items() if name not in skipped[split]
        }
        count = frame_counter(usable, encoder, features)
        with _of_split(split):
            segments, problems = segment_all(
                usable, alignments[split], hparams["segmenters"]["forced"], count, share
            )
        skipped[split] |= problems.reasons
        num_frames = {name: count(name) for name in segments}
        dataset = make_dataset(
            split_rows, segments, num_frames, features, encoder.sample_rate
        )
        splits[split] = Split(
            dataset, segments, skipped[split], alignments[split], hypotheses[split]
        )
    return splits


@contextlib.contextmanager
def _of_split(split):
    """Puts the split before the message that too many of its utterances are bad."""
    try:
        yield
    except TooManyProblems as error:
        raise TooManyProblems(f"{split}: {error}") from error


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
    aligner = with_number_words(aligner, hparams.get("language"))
    items = [AlignmentItem(name, row["wav"], row["wrd"]) for name, row in rows.items()]
    folder = pathlib.Path(hparams["cache_folder"]) / "alignments"
    in_shards(lambda shard, share: align(items, aligner, folder, shard, None, share))
    return align(items, aligner, folder, max_skipped_share=hparams["max_skipped_share"])


def add_noisy_copies(rows, alignments, skipped, hparams):
    """Adds noisy copies to the training data, and a noisy split of validation data.

    Nothing is added where ``noisy_copies`` names no kind of noise. Under ``torchrun``
    each process makes its share.

    Arguments
    ---------
    rows, alignments, skipped : dict
        By split; they are changed.
    hparams : dict
    """
    if not copies_in_noise(hparams):
        return
    for split, target in (("train", "train"), ("valid", NOISY_VALID)):
        copies, aligned, problems = make_noisy(split, rows[split], hparams)
        aligned = aligned(alignments[split])
        rows[target] = rows.get(target, {}) | copies
        # Searched in turn.
        alignments[target] = collections.ChainMap(alignments.get(target, {}), aligned)
        skipped[target] = skipped.get(target, {}) | problems.reasons


def copies_in_noise(hparams):
    """The settings of noisy copies, where they name a kind of noise; else none."""
    settings = hparams.get("noisy_copies") or {}
    return settings if settings.get("kinds") else {}


def make_noisy(split, rows, hparams):
    """Copies of a split's utterances in noise, on disk.

    Under ``torchrun`` each process makes its share.

    Arguments
    ---------
    split : str
        Its name, for messages.
    rows : dict
        Its rows by id.
    hparams : dict

    Returns
    -------
    copies : dict
        Rows by a copy's id.
    alias : callable
        Alignments of the utterances -> those of their copies.
    problems : ssr_plugin.problems.Problems
        The copies that cannot be made.
    """
    folder = pathlib.Path(hparams["cache_folder"]) / "noisy"
    rate, seed = hparams["encoder"].sample_rate, hparams["seed"]
    with prefix_errors(f"noisy_copies ({split})"):
        noisy = NoisyCopies(copies_in_noise(hparams), rows, folder, rate, seed)
    in_shards(noisy.make)
    with _of_split(split):
        copies, problems = noisy.make(max_skipped_share=hparams["max_skipped_share"])
    return copies, noisy.alias, problems


def _heard_splits(rows, hparams):
    """The splits that a segmenter that listens cuts."""
    if not isinstance(dict(hparams["segmenters"]).get("predicted"), HearingSegmenter):
        return []
    trains = hparams["predicted_share"] > 0
    return [split for split in rows if trains or split != "train"]


def hear_rows(rows, hparams, run_opts):
    """What the segmenter's recogniser hears in the utterances of a manifest.

    Under ``torchrun`` each process listens to its share, then all read the whole.

    Arguments
    ---------
    rows : dict
        Manifest rows by id.
    hparams, run_opts : dict

    Returns
    -------
    hypotheses : collections.abc.Mapping
        ssr_plugin.alignment.record.Alignment by id.
    problems : ssr_plugin.problems.Problems
    """
    device = run_opts.get("device") or infer_device()
    hparams["encoder"].to(device)
    recognizer = hparams["segmenters"]["predicted"].to(device).recognizer
    items = [AlignmentItem(name, row["wav"], "") for name, row in rows.items()]
    folder = pathlib.Path(hparams["cache_folder"]) / "hypotheses"
    in_shards(
        lambda shard, share: recognize_all(items, recognizer, folder, shard, share)
    )
    share = hparams["max_skipped_share"]
    return recognize_all(items, recognizer, folder, max_skipped_share=share)


def cache_features(rows, hparams, run_opts):
    """Runs the encoder once over the utterances that the cache lacks.

    Arguments
    ---------
    rows : dict
        Manifest rows by id.
    hparams, run_opts : dict

    Returns
    -------
    features : ssr_plugin.encoders.feature_cache.FeatureCache
    problems : ssr_plugin.problems.Problems
        The utterances that cannot be read.
    """
    encoder = hparams["encoder"].to(run_opts.get("device") or infer_device())
    folder = pathlib.Path(hparams["cache_folder"]) / "features"
    cache = FeatureCache(folder, encoder, getattr(torch, hparams["cache_dtype"]))
    in_shards(
        lambda shard, share: cache.build(rows, shard=shard, max_skipped_share=share)
    )
    return cache, cache.build(rows, max_skipped_share=hparams["max_skipped_share"])


def in_shards(work):
    """Calls ``work(shard, max_skipped_share)`` in each process for its own shard.

    With one process nothing is done. The allowed share of bad utterances is 1 here: it
    is checked later, over the whole.
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
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    features : ssr_plugin.encoders.feature_cache.FeatureCache or None

    Returns
    -------
    callable
    """
    if features is not None:
        return features.num_frames
    return lambda name: encoder.num_frames(
        round(rows[name]["duration"] * encoder.sample_rate)
    )
