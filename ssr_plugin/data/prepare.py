"""From a data set's files to manifests: the one preparation that all recipes share.

Beside the manifests lies ``prepare.json``. It holds the skipped utterances, and a
fingerprint of the settings and of every file (path, size, time of change). While the
fingerprint is the same, a second run reads no audio and writes nothing.
"""

import concurrent.futures
import hashlib
import json
import logging
import os
import pathlib
from collections import Counter
from dataclasses import dataclass, field

from tqdm import tqdm

from ssr_plugin.data.audio_headers import audio_duration
from ssr_plugin.data.ffmpeg import FFMPEG_SUFFIXES, find_ffmpeg
from ssr_plugin.data.holdout import hold_out, hold_out_fold, parse_fold
from ssr_plugin.data.listing import tidy
from ssr_plugin.data.manifest import read_manifest, write_manifest
from ssr_plugin.data.samples import AudioError
from ssr_plugin.data.splits import group_splits
from ssr_plugin.files import atomic_path, digest, file_identity, printable
from ssr_plugin.json_files import read_json
from ssr_plugin.media_fragments import MediaFragment
from ssr_plugin.problems import Problems

__all__ = ["Manifests", "prepare", "read_manifest"]

logger = logging.getLogger(__name__)

STATE_FILE = "prepare.json"
#: To be raised by 1 when the same input shall give other manifests than before.
STATE_FORMAT = 2
_STATE = {
    "fingerprint": str,
    "manifests": {str: {"utterances": int, "digest": str}},
    "skipped": {str: {str: str}},
}


@dataclass(frozen=True)
class Manifests:
    """Where the manifests are, and which utterances were skipped.

    Arguments
    ---------
    train : pathlib.Path
        Training utterances.
    valid : pathlib.Path
        Validation utterances.
    tests : dict
        For each test split its name and path.
    skipped : dict
        For each manifest ("train", "valid", a test split's name) the ids of the
        utterances left out, each with its reason. Validation held out of training
        counts as training.
    """

    train: pathlib.Path
    valid: pathlib.Path
    tests: dict = field(default_factory=dict)
    skipped: dict = field(default_factory=dict)


@dataclass(frozen=True)
class _ListedUtterance:
    """An utterance, its white space normalised, with its file's size and time."""

    id: str
    wav: str
    text: str | None
    speaker: str
    size: int | None
    changed: int | None
    problem: str | None


@dataclass(frozen=True)
class _HeldOut:
    """Who is held out of training where there is no validation split."""

    seed: int
    share: float
    fold: str | None

    @property
    def by(self):
        """What picks them, for messages."""
        return f"seed {self.seed}" if self.fold is None else f"fold {self.fold}"

    def settings(self):
        """What the fingerprint knows of it."""
        if self.fold is None:
            return [self.seed, self.share]
        return ["fold", *parse_fold(self.fold)]

    def pick(self, utterances):
        """The ids that are held out."""
        if self.fold is None:
            return hold_out(utterances, self.share, self.seed)
        return hold_out_fold(utterances, self.fold)


def prepare(
    dataset,
    save_folder,
    train_splits,
    valid_splits=(),
    test_splits=(),
    seed=1234,
    valid_share=0.05,
    max_skipped_share=0.01,
    num_workers=None,
    valid_fold=None,
    extra_train=(),
):
    """Writes ``train.csv``, ``valid.csv`` and one manifest for each test split.

    The same data and arguments give the same files, with any number of workers.
    White space in transcripts, line breaks too, becomes single spaces.

    Arguments
    ---------
    dataset : ssr_plugin.data.datasets.DataSet
        Where the utterances come from.
    save_folder : path-like
        Where the manifests go.
    train_splits, valid_splits, test_splits : list of str
        Names or globs ("train-*") of splits; a plain string is split at commas. A
        name must be there; a glob may match nothing, but for training. Where there is
        no validation split, about ``valid_share`` of the training hours is held out:
        whole speakers, or utterances if there is only one speaker.
    seed : int
        Picks who is held out.
    valid_share : float
        Share of the training hours to hold out, between 0 and 1.
    max_skipped_share : float
        Share of a manifest's utterances that may be bad before the run stops.
    num_workers : int, optional
        Threads that read headers; by default a few more than cores.
    valid_fold : str or None
        "k/n" holds out the k-th of n groups of speakers, of about the same hours, in
        place of ``valid_share``: n runs hold out each speaker once. The groups do not
        depend on the seed.
    extra_train : list of ssr_plugin.data.extra_train.ExtraTrain
        Data sets that are trained on, too. None of their speakers is held out.

    Returns
    -------
    Manifests

    Raises
    ------
    ValueError
        If a split is missing, empty, or named twice; the message lists the splits. If
        there is no such fold, or a validation split beside it.
    ssr_plugin.problems.TooManyProblems
        If more utterances are bad than ``max_skipped_share``. The headers that were
        read are kept: with a larger share the next run reads none again.

    Example
    -------
    >>> import soundfile
    >>> from ssr_plugin.data.datasets import CSVDataSet
    >>> folder = getfixture("tmp_path")
    >>> rows = ["wav,speaker,text"]
    >>> for name, speaker in [("a", "anna"), ("b", "bert")]:
    ...     soundfile.write(folder / f"{name}.wav", [0.0] * 16000, 16000)
    ...     rows.append(f"{name}.wav,{speaker},good morning")
    >>> _ = (folder / "all.csv").write_text("\\n".join(rows))
    >>> manifests = prepare(CSVDataSet(folder), folder / "save", ["all"])
    >>> len(read_manifest(manifests.train)), len(read_manifest(manifests.valid))
    (1, 1)
    """
    if not 0 < valid_share < 1:
        raise ValueError(f"valid_share: {valid_share} is not between 0 and 1")
    save_folder = pathlib.Path(save_folder)
    folder = dataset.folder if dataset.folder.is_dir() else dataset.folder.parent
    if save_folder.resolve() == folder.resolve():
        raise ValueError(
            f"save_folder: '{save_folder}' is the data folder, whose own CSV files "
            f"the manifests might overwrite; name another"
        )
    if valid_fold is not None:
        parse_fold(valid_fold)
    groups, tests = group_splits(dataset, train_splits, valid_splits, test_splits)
    if valid_fold is not None and "valid" in groups:
        raise ValueError(
            f"valid_fold: '{valid_fold}' holds out speakers of the training data, and "
            f"valid_splits finds {', '.join(groups['valid'])}: give one of them (no "
            f"validation split is valid_splits: [])"
        )
    held_out = _HeldOut(seed, valid_share, valid_fold)
    utterances = _list_utterances(dataset, groups, num_workers)
    extra = [
        item
        for source in extra_train
        for items in _list_utterances(
            source.dataset, {"train": source.select_splits()}, num_workers
        ).values()
        for item in items
    ]

    fingerprint = digest(
        STATE_FORMAT,
        groups,
        held_out.settings(),
        {split: [vars(item) for item in items] for split, items in utterances.items()},
        _can_read_all([*utterances.values(), extra]),
        # Fingerprints without are those of earlier versions.
        *([[vars(item) for item in extra]] if extra else []),
    )
    state = _read_state(save_folder, fingerprint)
    if state is None:
        state = {"fingerprint": fingerprint}
        state |= _write(save_folder, groups, utterances, extra, held_out, num_workers)
        with atomic_path(save_folder / STATE_FILE) as partial:
            partial.write_text(json.dumps(state, indent=1), encoding="utf-8")
    else:
        logger.info("%s: nothing changed, the manifests stand", save_folder)

    # After writing, so that no header is read again when a larger share is allowed.
    for name, splits in groups.items():
        problems = Problems(f"preparing {name}", max_skipped_share)
        problems.reasons.update(state["skipped"][name])
        more = len(extra) if name == "train" else 0
        problems.check(sum(len(utterances[split]) for split in splits) + more)
    for name, entry in state["manifests"].items():
        if not entry["utterances"]:
            raise ValueError(f"no utterance is left for {name}.csv in {save_folder}")
    return Manifests(
        train=save_folder / "train.csv",
        valid=save_folder / "valid.csv",
        tests={split: save_folder / f"{split}.csv" for split in tests},
        skipped=state["skipped"],
    )


def _list_utterances(dataset, groups, num_workers):
    """All utterances of the splits asked for, sorted by id and path."""
    by_split = {}
    for split in dict.fromkeys(split for splits in groups.values() for split in splits):
        bar = tqdm(dataset.utterances(split), f"listing {split}", unit="utt", delay=1)
        utterances = sorted(bar, key=lambda utterance: (utterance.id, utterance.wav))
        if not utterances:
            raise ValueError(f"no utterance in split '{split}' of '{dataset.folder}'")
        identities = _map(
            _identity,
            [os.path.abspath(utterance.wav) for utterance in utterances],
            f"looking up {split}",
            num_workers,
        )
        by_split[split] = [
            _ListedUtterance(
                id=utterance.id.strip(),
                wav=wav,
                text=tidy(utterance.text),
                speaker=utterance.speaker,
                size=size,
                changed=changed,
                problem=utterance.problem,
            )
            for utterance, (wav, size, changed) in zip(
                utterances, identities, strict=True
            )
        ]
    return by_split


def _identity(wav):
    try:
        return file_identity(wav)
    except OSError:
        return wav, None, None


def _can_read_all(lists):
    """False if some files need ffmpeg and it is missing; installing it is a change."""
    suffixes = {
        pathlib.Path(MediaFragment.parse(item.wav).path).suffix.lower()
        for items in lists
        for item in items
    }
    return suffixes.isdisjoint(FFMPEG_SUFFIXES) or find_ffmpeg() is not None


def _map(function, paths, title, num_workers):
    """Applies a function to many paths in threads; results in the paths' order."""
    # Chunks: a future for each of a few 100,000 files would cost more than its work.
    chunks = [paths[start : start + 64] for start in range(0, len(paths), 64)]
    results = []
    with (
        concurrent.futures.ThreadPoolExecutor(num_workers or None) as pool,
        tqdm(total=len(paths), desc=title, unit="file", delay=1) as bar,
    ):
        for chunk in pool.map(lambda chunk: [function(p) for p in chunk], chunks):
            results += chunk
            bar.update(len(chunk))
    return results


def _write(save_folder, groups, utterances, extra, held_out, num_workers):
    """Reads the headers and writes the manifests; returns the state to be kept."""
    durations = _read_durations([*utterances.values(), extra], num_workers)
    rows, skipped = {}, {}
    for name, splits in groups.items():
        items = [item for split in splits for item in utterances[split]]
        items.sort(key=lambda item: (item.id, item.wav))
        rows[name], skipped[name] = _select_rows(name, items, durations)
    if "valid" not in groups:
        rows["train"], rows["valid"] = _split(rows["train"], held_out)
        skipped["valid"] = {}
    if extra:
        taken = {row[0] for name in ("train", "valid") for row in rows[name]}
        more, reasons = _select_rows("train", extra, durations, taken)
        rows["train"] = sorted([*rows["train"], *more])
        skipped["train"] |= reasons

    manifests = {}
    for name, entries in rows.items():
        path = save_folder / f"{name}.csv"
        write_manifest(path, entries)
        manifests[name] = {"utterances": len(entries), "digest": _file_digest(path)}
        logger.info(
            "%s: %d utterances, %.2f h, %d speakers; %d skipped",
            path,
            len(entries),
            sum(row[1] for row in entries) / 3600,
            len({row[3] for row in entries}),
            len(skipped[name]),
        )
    return {"manifests": manifests, "skipped": skipped}


def _read_durations(lists, num_workers):
    """Duration in s of each readable file, or the reason why there is none, by path."""
    paths = {
        item.wav for items in lists for item in items if item.size and not item.problem
    }
    paths = sorted(paths)

    def read(path):
        try:
            return audio_duration(path)
        except AudioError as error:
            return str(error)

    return dict(
        zip(paths, _map(read, paths, "reading headers", num_workers), strict=True)
    )


def _select_rows(name, items, durations, taken=()):
    """Manifest rows of the good utterances, reasons for the others."""
    problems = Problems(f"preparing {name}", max_share=1)
    id_counts = Counter(taken)
    rows = []
    for item in items:
        id_counts[item.id] += 1
        copy = id_counts[item.id]
        if copy > 1:
            problems.add(
                f"{item.id} (copy {copy})", f"duplicate id, in {item.wav} once more"
            )
            continue
        duration = durations.get(item.wav)
        reason = (
            item.problem
            or _unwritable(item.wav, item.id, item.speaker)
            or find_problem(item.wav, item.text, item.size, duration)
        )
        if reason:
            problems.add(item.id, reason)
        else:
            duration = durations[item.wav]
            rows.append((item.id, duration, item.wav, item.speaker, item.text))
    return rows, problems.reasons


def find_problem(wav, text, size, duration):
    """Why an utterance cannot be used.

    Arguments
    ---------
    wav : str
        Path of the audio.
    text : str or None
    size : int or None
        Of the file, bytes; None if there is none.
    duration : float or str or None
        Of the audio, s; or why it cannot be read.

    Returns
    -------
    str or None
        None if it can be used.

    Example
    -------
    >>> find_problem("a.wav", "hello", 0, None)
    'empty audio: a.wav'
    """
    if reason := _unwritable(wav, wav, text or ""):
        return reason
    if size is None:
        return f"missing audio: no file {wav}"
    if size == 0 or duration == 0:
        return f"empty audio: {wav}"
    if isinstance(duration, str):
        return duration
    if text is None:
        return f"missing transcript for {wav}"
    if not text:
        return f"empty transcript for {wav}"
    return None


def _unwritable(wav, *texts):
    """Why no manifest can hold texts of an utterance; None if one can."""
    if all(printable(text) == text for text in texts):
        return None
    return f"a name that is not UTF-8, which no manifest holds: rename {wav}"


def _split(rows, held_out):
    """Training rows and those held out of them."""
    names = held_out.pick([(row[0], row[3], row[1]) for row in rows])
    train = [row for row in rows if row[0] not in names]
    valid = [row for row in rows if row[0] in names]
    speakers = sorted({row[3] for row in rows})
    if len(speakers) == 1:
        logger.warning(
            "no validation split, and all training data are of one speaker (%s): "
            "utterances, not speakers, are held out (%s)",
            speakers[0],
            held_out.by,
        )
    else:
        logger.info(
            "no validation split: held out of training (%s): speakers %s",
            held_out.by,
            ", ".join(sorted({row[3] for row in valid})),
        )
    return train, valid


def _read_state(save_folder, fingerprint):
    """The state of an earlier run; None if settings, files or manifests changed."""
    try:
        state = read_json(save_folder / STATE_FILE, _STATE)
        is_current = state["fingerprint"] == fingerprint and all(
            _file_digest(save_folder / f"{name}.csv") == entry["digest"]
            for name, entry in state["manifests"].items()
        )
    except (OSError, ValueError):
        return None
    return state if is_current else None


def _file_digest(path):
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
