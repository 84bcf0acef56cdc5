"""From a corpus of shards to data for a stage, in place of manifests and caches.

Training data is read as it is needed. Validation and test data, which are small, are
held as those of a folder are: each utterance a row, whose audio or frames are in a
shard.
"""

import dataclasses
import json
import logging

import torch
from speechbrain.utils.distributed import infer_device

from ssr_plugin.data.datasets import Utterance
from ssr_plugin.data.extra_train import parse_extra_train
from ssr_plugin.data.joined_shards import JoinedShards, check_disjoint
from ssr_plugin.data.shards import ShardError, Shards
from ssr_plugin.data.splits import group_splits
from ssr_plugin.problems import prefix_errors
from ssr_plugin.segmenters.base import HearingSegmenter
from ssr_plugin.training.batches import make_dataset, other_rates, segment_all
from ssr_plugin.training.copy_noise import CopyNoise
from ssr_plugin.training.data_pipeline import (
    NOISY_VALID,
    Split,
    copies_in_noise,
    frame_counter,
    hear_rows,
    make_noisy,
    make_splits,
)
from ssr_plugin.training.shard_copies import ShardCopies
from ssr_plugin.training.shard_dataset import (
    ShardDataset,
    ShardReader,
    read_alignment,
    sample_rows,
)

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ShardCorpus:
    """Which splits of a corpus of shards a run trains, validates and tests on.

    Arguments
    ---------
    shards : ssr_plugin.data.shards.Shards
    train : tuple of str
        Names of splits, which are mixed.
    valid : str
        That of one.
    tests : dict
        Names of splits, each to itself.
    extra : tuple of ssr_plugin.data.extra_train.ExtraTrain
        Other shards that are trained on, too.
    """

    shards: Shards
    train: tuple
    valid: str
    tests: dict
    extra: tuple = ()

    @property
    def _names(self):
        held = {"valid": self.valid, **self.tests}
        return {"train": self.train, **{name: (split,) for name, split in held.items()}}

    @property
    def splits(self):
        """The run's name of each split -> the split."""
        splits = {
            name: [self.shards[each] for each in names]
            for name, names in self._names.items()
        }
        if self.extra:
            with prefix_errors("extra_train"):
                more = [
                    source.dataset[split]
                    for source in self.extra
                    for split in source.select_splits()
                ]
                for parts in splits.values():
                    check_disjoint([*parts, *more])
                splits["train"] += more
        return {
            name: parts[0] if len(parts) == 1 else JoinedShards(parts)
            for name, parts in splits.items()
        }

    @property
    def trained_on(self):
        """All corpora that are trained on."""
        return [self.shards, *(source.dataset for source in self.extra)]

    def skipped(self):
        """Utterances that were left out when the shards were made: for each split of
        the run the reasons by id."""
        skipped = {name: {} for name in self._names}
        for split, name, reason in self.shards.skipped():
            for group, names in self._names.items():
                if split in names:
                    skipped[group][name] = reason
        for source in self.extra:
            splits = source.select_splits()
            for split, name, reason in source.dataset.skipped():
                if split in splits:
                    skipped["train"][name] = reason
        return skipped

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
            ``speed_perturbation``, ``noisy_copies`` and ``extra_train``.

        Returns
        -------
        ShardCorpus

        Raises
        ------
        ValueError
            If a split is not there, or a shard is missing, cut short or doubled; if
            copies are asked for, and the shards keep no audio; or if ``extra_train``
            names what the run has already.
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
        valid = groups["valid"]
        if len(valid) > 1:
            raise ValueError(
                f"valid_splits: {', '.join(valid)} are {len(valid)} splits of shards, "
                f"and one is read: name it, or make them one with 'ssr prepare'"
            )
        corpus = cls(
            shards,
            tuple(groups["train"]),
            valid[0],
            {x: x for x in tests},
            tuple(parse_extra_train(settings["extra_train"], from_shards=True)),
        )
        for source in corpus.trained_on:
            _check_copies(source, settings)
        splits = corpus.splits
        for name, split in splits.items():
            if not len(split):
                raise ValueError(f"no utterance is left for {name} in {shards.folder}")
            for part in _parts(split):
                logger.info(
                    "%s: %d utterances, %.2f h, in %d shards; %d skipped",
                    part.folder,
                    len(part),
                    part.seconds / 3600,
                    len(part.names),
                    part.skipped,
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
    encoder, listens = hparams["encoder"], _listens(hparams)
    hears = listens and hparams.get("predicted_share", 0) > 0
    keeps_heard = listens and _keeps_hypotheses(corpus.shards, hparams)
    # All of them, or the run's own alone.
    heard = [keeps_heard]
    heard += [hears and _keeps_hypotheses(x, hparams) for x in corpus.trained_on[1:]]
    if hears and not all(heard):
        logger.warning(
            "The recogniser listens to training data in each step, which takes long: "
            "the shards do not keep what it hears (ssr prepare --recognizer)"
        )
    encoded = [_reads_frames(x, encoder) for x in corpus.trained_on]
    reads_frames = encoded[0]
    skipped = corpus.skipped()
    splits, noise = {}, copies_in_noise(hparams)
    for name, split in corpus.splits.items():
        options = {"reads_frames": reads_frames, "resample": hparams["resample"]}
        if name == "train":
            copies = _copies(split, hparams)
            # What is changed, or heard, is audio; then all of it is encoded.
            kept = copies.is_plain and (all(heard) or not hears)
            options |= {"copies": copies, "hears": hears}
            options["heard"] = _folders(corpus.trained_on, heard)
            options["reads_frames"] = all(encoded) and kept
            if not options["reads_frames"]:
                _check_audio(corpus.trained_on, encoder)
        forced = hparams["segmenters"]["forced"]
        reader = ShardReader(split, forced, encoder, **options)
        if name == "train":
            splits[name] = _training_split(reader, skipped[name], hparams)
            continue
        held = _Held.read(split, keeps_heard)
        splits[name] = _held_split(reader, held, skipped[name], hparams, run_opts)
        if name == "valid":
            valid = held
    if noise:
        splits[NOISY_VALID] = _noisy_split(valid, hparams, run_opts)
    if noise or not (reads_frames and splits["train"].dataset.reader.reads_frames):
        # The encoder runs in each step, in this process.
        encoder.to(run_opts.get("device") or infer_device())
    return splits


def _folders(sources, chosen):
    return {x.folder for x, is_chosen in zip(sources, chosen, strict=True) if is_chosen}


def _check_audio(sources, encoder):
    """Refuses shards without audio among those whose audio is read."""
    for source in sources:
        if not source.made_of["audio"]:
            raise ShardError(
                f"the shards in {source.folder} keep no audio, and training reads "
                f"audio of all data: others that are trained on keep no frames of "
                f"{encoder.source}, or not what the segmenter's recogniser hears. Make "
                f"them alike with 'ssr prepare'"
            )


def _parts(split):
    """The splits of shards that a split of a run is made of."""
    return split.parts if isinstance(split, JoinedShards) else [split]


def _listens(hparams):
    """Whether the segmenter of audio alone is one that listens."""
    return isinstance(dict(hparams["segmenters"]).get("predicted"), HearingSegmenter)


def _check_copies(shards, settings):
    """Refuses copies of what keeps no audio, of which none can be made."""
    if shards.made_of["audio"]:
        return
    speeds = settings.get("speed_perturbation", [1.0])
    for key, asked, off in (
        ("speed_perturbation", speeds != [1.0], "[1.0]"),
        ("noisy_copies", copies_in_noise(settings), "kinds: []"),
    ):
        if asked:
            raise ValueError(
                f"{key}: the shards in {shards.folder} keep frames alone, and copies "
                f"are made of audio: set it to {off}, or make shards without --no-audio"
            )


def _copies(split, hparams):
    """The copies of training data that settings ask for."""
    speeds, settings = tuple(hparams["speed_perturbation"]), copies_in_noise(hparams)
    if not settings:
        return ShardCopies(speeds)
    # Of a large corpus, talkers are from all over it.
    rows = _rows(split, sample_rows(len(split)))
    pool = [
        Utterance(name, row["wav"], row["wrd"], row["spk_id"])
        for name, row in rows.items()
    ]
    with prefix_errors("noisy_copies (train)"):
        noise = CopyNoise(settings, pool, hparams["seed"])
        # Here, not in each process that reads.
        noise.prepare(hparams["encoder"].sample_rate)
    return ShardCopies(speeds, noise)


def _keeps_hypotheses(shards, hparams):
    """Whether the shards keep what the segmenter's recogniser hears."""
    kept = shards.made_of.get("hypotheses")
    recognizer = hparams["segmenters"]["predicted"].recognizer
    wanted = json.loads(json.dumps(recognizer.settings()))
    if kept is not None and kept["recognizer"] == wanted:
        return True
    # In stage 2 it is that of stage 1.
    name = hparams.get("segmenter", hparams.get("stage1"))
    message = f"segmenter: that of '{name}' listens, and the shards in {shards.folder}"
    if kept is None:
        message += " keep neither audio nor what it hears"
    else:
        others = [key for key in wanted if kept["recognizer"].get(key) != wanted[key]]
        message += f" keep what {kept['source']} hears: other {', '.join(others)}"
    if not shards.made_of["audio"]:
        # No LLM is there when shards are made.
        alone = "" if "rescorer" in wanted else "with --recognizer, or "
        raise ShardError(
            f"{message}. There is no audio to be heard: name another, or make shards "
            f"{alone}without --no-audio"
        )
    if kept is not None:
        logger.warning("%s. It listens to their audio", message)
    return False


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


def _rows(split, numbers):
    """Utterances of a split by id, as rows of a manifest whose audio is in a shard."""
    rows = {}
    for number in numbers:
        record = split.record(number)
        rows[record["id"]] = _row(split, number, record)
    return rows


def _row(split, number, record):
    return {
        "duration": record["duration"],
        "wav": split.audio(number, record),
        "spk_id": record["speaker"],
        "wrd": record["text"],
        "number": number,
    }


def _training_split(reader, skipped, hparams):
    """Data that is read batch by batch."""
    segments, problems = reader.survey(hparams["max_skipped_share"])
    return Split(ShardDataset(reader), segments, skipped | problems.reasons, {}, {})


@dataclasses.dataclass(frozen=True)
class _Held:
    """The utterances of a split, held: rows, alignments, and hypotheses that shards
    keep (None if they keep none), by id."""

    rows: dict
    alignments: dict
    hypotheses: dict | None

    @classmethod
    def read(cls, split, keeps_heard):
        """Those of a split; each record is read once."""
        rows, alignments, hypotheses = {}, {}, {}
        for number in range(len(split)):
            record = split.record(number)
            name = record["id"]
            rows[name] = _row(split, number, record)
            alignments[name] = read_alignment(split, number, record)
            if keeps_heard:
                hypotheses[name] = read_alignment(split, number, record, "hypothesis")
        return cls(rows, alignments, hypotheses if keeps_heard else None)


def _held_split(reader, held, skipped, hparams, run_opts):
    """Data that is held like a folder's; what is large of it stays in the shards."""
    split, share = reader.split, hparams["max_skipped_share"]
    rows, alignments, hypotheses = held.rows, held.alignments, held.hypotheses or {}
    if held.hypotheses is None and _listens(hparams):
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


def _noisy_split(held, hparams, run_opts):
    """Validation data in noise: files, as a folder's are."""
    copies, alias, problems = make_noisy("valid", held.rows, hparams)
    skipped, hypotheses = problems.reasons, {}
    if _listens(hparams):
        hypotheses, problems = hear_rows(copies, hparams, run_opts)
        skipped = skipped | problems.reasons
    usable = {name: row for name, row in copies.items() if name not in skipped}
    encoder, aligned = hparams["encoder"], alias(held.alignments)
    count, share = frame_counter(usable, encoder, None), hparams["max_skipped_share"]
    forced = hparams["segmenters"]["forced"]
    segments, problems = segment_all(usable, aligned, forced, count, share)
    num_frames = {name: count(name) for name in segments}
    dataset = make_dataset(usable, segments, num_frames, None, encoder.sample_rate)
    return Split(dataset, segments, skipped | problems.reasons, aligned, hypotheses)


class _StoredFrames:
    """Frames by utterance id, as a feature cache gives them."""

    def __init__(self, split, rows):
        self._split = split
        self._rows = rows

    def get(self, name, dtype=torch.float32):
        """The frames [T, D] of an utterance."""
        frames = torch.from_numpy(self._split.frames(self._rows[name]["number"]))
        return frames if dtype is None else frames.to(dtype)
