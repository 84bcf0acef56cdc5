"""From a corpus of shards to data for a stage, in place of manifests and caches.

Training data is read as it is needed. Validation and test data, which are small, are
held as those of a folder are: each utterance a row, whose audio or frames are in a
shard.
"""

import dataclasses
import logging

import torch
from speechbrain.utils.distributed import infer_device

from ssr_plugin.alignment.record import Alignment
from ssr_plugin.data.shards import ShardError, Shards
from ssr_plugin.data.splits import group_splits
from ssr_plugin.segmenters.base import HearingSegmenter
from ssr_plugin.training.batches import make_dataset, other_rates, segment_all
from ssr_plugin.training.data_pipeline import Split, hear_rows, make_splits
from ssr_plugin.training.shard_dataset import ShardDataset, ShardReader

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ShardCorpus:
    """Which splits of a corpus of shards a run trains, validates and tests on.

    Arguments
    ---------
    shards : ssr_plugin.data.shards.Shards
    train, valid : str
        Names of splits.
    tests : dict
        Names of splits, each to itself.
    """

    shards: Shards
    train: str
    valid: str
    tests: dict

    @property
    def splits(self):
        """The run's name of each split -> the split."""
        names = {"train": self.train, "valid": self.valid, **self.tests}
        return {name: self.shards[split] for name, split in names.items()}

    @property
    def language(self):
        """What the data set that they were made of says is spoken; None if nothing."""
        return self.shards.made_of.get("language")

    @classmethod
    def open(cls, settings):
        """The corpus that a YAML names, with the splits that it names.

        Arguments
        ---------
        settings : dict
            ``data_folder``, ``train_splits``, ``valid_splits``, ``test_splits``,
            ``speed_perturbation`` and ``noisy_copies``.

        Returns
        -------
        ShardCorpus

        Raises
        ------
        ValueError
            If a split is not there, or a shard is missing, cut short or doubled.
        """
        shards = Shards(settings["data_folder"])
        keys = ("train_splits", "valid_splits", "test_splits")
        groups, tests = group_splits(shards, *(settings[key] for key in keys))
        if "valid" not in groups:
            raise ValueError(
                f"valid_splits: {settings['valid_splits']} finds none of the splits in "
                f"'{shards.folder}': {', '.join(shards.splits())}. 'ssr prepare' holds "
                f"one out of training"
            )
        for key in ("train", "valid"):
            if len(groups[key]) > 1:
                raise ValueError(
                    f"{key}_splits: {', '.join(groups[key])} are {len(groups[key])} "
                    f"splits of shards, and one is read: name it, or make them one "
                    f"with 'ssr prepare'"
                )
        speeds = settings.get("speed_perturbation", [1.0])
        if speeds != [1.0]:
            raise ValueError(
                f"speed_perturbation: {speeds} is not there for shards, which are read "
                f"at their own speed: leave it at [1.0]"
            )
        if (settings.get("noisy_copies") or {}).get("kinds"):
            raise ValueError(
                "noisy_copies: there are none of shards: leave kinds at []"
            )
        if settings.get("extra_train"):
            raise ValueError(
                "extra_train: nothing is added to shards: make shards of all data "
                "(ssr prepare), or name the folder of the data set"
            )
        corpus = cls(
            shards, groups["train"][0], groups["valid"][0], {x: x for x in tests}
        )
        for name, split in corpus.splits.items():
            if not len(split):
                raise ValueError(f"no utterance is left for {name} in {shards.folder}")
            logger.info(
                "%s: %d utterances, %.2f h, in %d shards; %d skipped",
                split.folder,
                len(split),
                split.seconds / 3600,
                len(split.names),
                split.skipped,
            )
        return corpus


def splits_of(hparams, run_opts, corpus):
    """The data of a stage, by what was given: a folder's manifests, or shards.

    Arguments
    ---------
    hparams, run_opts : dict
    corpus : ssr_plugin.data.prepare.Manifests or ShardCorpus

    Returns
    -------
    dict
        Name ("train", "valid", a test split's) -> Split.
    """
    if isinstance(corpus, ShardCorpus):
        return make_shard_splits(hparams, run_opts, corpus)
    return make_splits(hparams, run_opts, corpus)


def make_shard_splits(hparams, run_opts, corpus):
    """As :func:`ssr_plugin.training.data_pipeline.make_splits`, of shards.

    Arguments
    ---------
    hparams, run_opts : dict
    corpus : ShardCorpus

    Returns
    -------
    dict
        Name ("train", "valid", a test split's) -> Split. The segments of the training
        data are those of a survey (:meth:`ShardReader.survey`).

    Raises
    ------
    ValueError
        If the shards hold neither audio nor frames of this encoder.
    """
    hears = isinstance(dict(hparams["segmenters"]).get("predicted"), HearingSegmenter)
    if hears and hparams.get("predicted_share", 0) > 0:
        raise ValueError(
            "predicted_share: with shards, what a recogniser hears of the training "
            "data is not known: set it to 0"
        )
    if hears and not corpus.shards.made_of["audio"]:
        # In stage 2 it is that of stage 1.
        name = hparams.get("segmenter", hparams.get("stage1"))
        raise ValueError(
            f"segmenter: that of '{name}' listens, and the shards in "
            f"{corpus.shards.folder} keep no audio: name another, or make shards "
            f"without --no-audio"
        )
    reads_frames = _reads_frames(corpus.shards, hparams["encoder"])
    if not reads_frames:
        # It runs in each step, in this process.
        hparams["encoder"].to(run_opts.get("device") or infer_device())
    skipped = {name: {} for name in corpus.splits}
    groups = {"train": corpus.train, "valid": corpus.valid, **corpus.tests}
    for split, name, reason in corpus.shards.skipped():
        for group, source in groups.items():
            if source == split:
                skipped[group][name] = reason
    splits = {}
    for name, split in corpus.splits.items():
        reader = ShardReader(
            split,
            hparams["segmenters"]["forced"],
            hparams["encoder"],
            reads_frames,
            hparams["resample"],
        )
        make = _training_split if name == "train" else _held_split
        splits[name] = make(reader, skipped[name], hparams, run_opts)
    return splits


def _reads_frames(shards, encoder):
    """Whether the shards keep this encoder's frames."""
    frames, wanted = shards.made_of.get("frames"), encoder.identity()
    if frames is not None and frames["encoder"] == wanted:
        return True
    if frames is not None:
        kept = frames["encoder"]
        others = [key for key in wanted if kept.get(key) != wanted[key]]
        message = (
            f"the shards in {shards.folder} keep frames of {frames['source']}, and not "
            f"those of encoder_source {encoder.source}: other {', '.join(others)}"
        )
        if not shards.made_of["audio"]:
            raise ShardError(
                f"{message}. They keep no audio, either: name their encoder, or make "
                f"shards with 'ssr prepare --frames {encoder.source}'"
            )
        logger.warning("%s: their audio is read", message)
    logger.info("The encoder runs in each step: the shards keep no frames of it")
    return False


def _training_split(reader, skipped, hparams, run_opts):
    """Data that is read batch by batch."""
    del run_opts
    segments, problems = reader.survey(hparams["max_skipped_share"])
    return Split(ShardDataset(reader), segments, skipped | problems.reasons, {}, {})


def _held_split(reader, skipped, hparams, run_opts):
    """Data that is held like a folder's; what is large of it stays in the shards."""
    split, share = reader.split, hparams["max_skipped_share"]
    rows, alignments = {}, {}
    for number in range(len(split)):
        record = split.record(number)
        name = record["id"]
        rows[name] = {
            "duration": record["duration"],
            "wav": split.audio(number, record),
            "spk_id": record["speaker"],
            "wrd": record["text"],
            "number": number,
        }
        alignments[name] = Alignment.from_json(record["alignment"])
    hypotheses = {}
    if isinstance(dict(hparams["segmenters"]).get("predicted"), HearingSegmenter):
        hypotheses, problems = hear_rows(rows, hparams, run_opts)
        skipped = skipped | problems.reasons
    if not hparams["resample"] and not reader.reads_frames:
        problems = other_rates(rows, reader.encoder.sample_rate, share)
        skipped = skipped | problems.reasons
    usable = {name: row for name, row in rows.items() if name not in skipped}

    def count(name):
        return reader.num_frames(rows[name]["number"], rows[name]["duration"])

    segments, problems = segment_all(usable, alignments, reader.segmenter, count, share)
    features = _StoredFrames(split, rows) if reader.reads_frames else None
    dataset = make_dataset(
        rows,
        segments,
        {name: count(name) for name in segments},
        features,
        reader.encoder.sample_rate,
    )
    return Split(dataset, segments, skipped | problems.reasons, alignments, hypotheses)


class _StoredFrames:
    """Frames by utterance id, as a feature cache gives them."""

    def __init__(self, split, rows):
        self._split = split
        self._rows = rows

    def get(self, name, dtype=torch.float32):
        """The frames [T, D] of an utterance."""
        frames = torch.from_numpy(self._split.frames(self._rows[name]["number"]))
        return frames if dtype is None else frames.to(dtype)
