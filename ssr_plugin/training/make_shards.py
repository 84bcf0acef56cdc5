"""From a data set to a corpus of shards: read, aligned, and encoded if that is asked.

The utterances are listed on disk first (:mod:`ssr_plugin.data.listing`), and so many of
the list make a shard. A shard is written whole or not at all, and tells what it was
made of: a second call makes those alone that are missing or would be different. So any
number of processes and machines can share the work, and any of them may be killed.
Processes that keep no frames load no torch, and so start at once.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import errno
import logging
import pathlib
import shutil
import tempfile

from tqdm import tqdm

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.cache import parse_shard, refuse_unspeakable
from ssr_plugin.alignment.record import AlignmentError
from ssr_plugin.data import shards
from ssr_plugin.data.ffmpeg import FFMPEG_SUFFIXES, find_ffmpeg
from ssr_plugin.data.frame_rounding import check_cache_dtype, round_frames
from ssr_plugin.data.holdout import hold_out, hold_out_fold, parse_fold
from ssr_plugin.data.listing import Listing
from ssr_plugin.data.prepare import find_problem
from ssr_plugin.data.samples import AudioError, encoded_audio, open_audio
from ssr_plugin.data.splits import group_splits
from ssr_plugin.files import digest, file_identity
from ssr_plugin.media_fragments import MediaFragment
from ssr_plugin.problems import Problems, TooManyProblems
from ssr_plugin.processes import usable_cores, work_on
from ssr_plugin.training.ray_shards import make_by_ray

logger = logging.getLogger(__name__)

#: Utterances of a shard.
SHARD_SIZE = 1000
# What a process needs on disk while it works; a killed one leaves it.
_LISTING, _FRAMES = ".listing-", ".frames-"
# To be raised by 1 when the same input shall give other shards than before.
_MADE_FORMAT = 2
# Of a corpus of one speaker: those whose lengths are held to hold some out.
_MOST_OF_ONE_SPEAKER = 1_000_000


@dataclasses.dataclass(frozen=True)
class Frames:
    """Which frames shards keep.

    Arguments
    ---------
    source : str
        The encoder: hub id or folder.
    layer : int
    dtype : str
        As in ``hparams/distill.yaml``.
    device : str or None
        What encodes.
    cache_dtype : str
        "float16" or "int8", in which they are kept.
    """

    source: str
    layer: int = -1
    dtype: str = "auto"
    device: str | None = None
    cache_dtype: str = "float16"

    def __post_init__(self):
        check_cache_dtype(self.cache_dtype)

    def load(self):
        """The encoder."""
        from ssr_plugin.encoders.encoder import SpeechEncoder

        encoder = SpeechEncoder(self.source, layer=self.layer, dtype=self.dtype)
        return encoder.to(self.device or "cpu")


@dataclasses.dataclass(frozen=True)
class Hypotheses:
    """Whose hypotheses shards keep: what the segmenter ``asr`` hears.

    Arguments
    ---------
    source : str
        The recogniser: hub id or folder.
    language, num_beams, times
        Of :class:`ssr_plugin.segmenters.asr.ASRSegmenter`.
    dtype : str
        Of its encoder, as ``encoder_dtype`` in ``hparams/distill.yaml``.
    device : str or None
        What listens.
    """

    source: str
    language: str | None = None
    num_beams: int = 1
    times: str = "own"
    dtype: str = "auto"
    device: str | None = None

    def load(self):
        """The recogniser, as an aligner that writes the texts itself."""
        from ssr_plugin.encoders.encoder import SpeechEncoder
        from ssr_plugin.recognizers.hypotheses import RecognizerAligner
        from ssr_plugin.segmenters.asr import aligner_of, load_timed

        aligner = aligner_of(self.times)
        recognizer = load_timed(self.source, aligner, self.language, self.num_beams)
        device = self.device or "cpu"
        encoder = SpeechEncoder(self.source, dtype=self.dtype).to(device)
        recognizer.use_encoder(encoder)
        return RecognizerAligner(recognizer.to(device))


class ShardMaker:
    """Makes shards, one at a time; it may be sent to other processes.

    Arguments
    ---------
    folder : path-like
        Of the corpus.
    listings : dict
        Split -> ssr_plugin.data.listing.Listing.
    aligner : ssr_plugin.alignment.base.Aligner
    keeps_audio : bool
    frames : Frames or None
    hypotheses : Hypotheses or None

    Attributes
    ----------
    identity : dict or None
        Of the encoder.
    recognizer : dict or None
        Settings of the recogniser.
    """

    def __init__(self, folder, listings, aligner, keeps_audio, frames, hypotheses):
        self.folder = pathlib.Path(folder)
        self.listings = listings
        self.aligner = aligner
        self.keeps_audio = keeps_audio
        self.frames = frames
        self.hypotheses = hypotheses
        self._encoder = frames and frames.load()
        self._listener = hypotheses and hypotheses.load()
        self.identity = frames and self._encoder.identity()
        self.recognizer = hypotheses and self._listener.settings()

    def forget_models(self):
        """Frees the encoder and the recogniser; who needs them loads them again."""
        self._encoder = self._listener = None

    def __getstate__(self):
        return {**self.__dict__, "_encoder": None, "_listener": None}

    @property
    def _rounds(self):
        """Whether frames are kept in 8 bits."""
        return self.frames is not None and self.frames.cache_dtype == "int8"

    def jobs(self):
        """All shards: (split, number)."""
        return [
            (split, number)
            for split, listing in self.listings.items()
            for number in range(listing.num_shards)
        ]

    def __call__(self, job):
        """Makes a shard, unless it is there.

        Arguments
        ---------
        job : (str, int)
            Split and number.

        Returns
        -------
        dict
            As :func:`ssr_plugin.data.shards.write_shard` gives it, and ``skipped``: for
            each utterance that was left out, the reason.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        split, number = job
        name = shards.shard_name(number)
        entries = self.listings[split].shard(number)
        sizes = {entry.wav: _identity(entry.wav) for entry in entries}
        fingerprint = digest(
            _MADE_FORMAT,
            [_fields(entry) for entry in entries],
            sizes,
            self.aligner.name,
            self.aligner.settings(),
            self.keeps_audio,
            self.identity,
            _reads_all(entries),
            *(["int8"] if self._rounds else []),
            *([] if self.recognizer is None else ["hypotheses", self.recognizer]),
        )
        found = shards.shard_entry(self.folder / split, name)
        if found is not None and found.get("fingerprint") == fingerprint:
            return found
        problems = Problems(f"making shard {split}/{name}", max_share=1)
        samples = self._samples(entries, sizes, problems)
        made_of = {"fingerprint": fingerprint, "skipped": problems.reasons}
        try:
            # The reasons are complete only when all samples were written.
            written = shards.write_shard(self.folder / split, name, samples, made_of)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                errno.ENOSPC,
                f"the disk is full: shard {self.folder / split / name}.tar was not "
                f"written. All before it stand: make room, and give the command again",
            ) from error
        return {**written, **made_of}

    def _samples(self, entries, sizes, problems):
        """What goes into a shard."""
        good = {}
        for entry in entries:
            usable = sizes[entry.wav] and not entry.problem
            header = _header(entry.wav) if usable else None
            reason = self._problem(entry, sizes[entry.wav], header)
            if reason:
                name = entry.id + (f" (copy {entry.copy + 1})" if entry.copy else "")
                problems.add(name, reason)
            else:
                good[entry.id] = (entry, *header)
        entries = [entry for entry, _, _ in good.values()]
        alignments = self._align(self.aligner, entries, problems)
        heard = self._hear([x for x in entries if x.id in alignments], problems)
        with self._frames_of(good, alignments, problems) as frames:
            for name, (entry, duration, rate) in good.items():
                if name in problems.reasons:
                    continue
                content, suffix = None, ""
                if self.keeps_audio:
                    try:
                        content, suffix = encoded_audio(entry.wav)
                    except AudioError as error:
                        problems.add(name, error)
                        continue
                yield shards.ShardSample(
                    name,
                    entry.text,
                    entry.speaker,
                    duration,
                    rate,
                    _units_of(alignments[name]),
                    content,
                    suffix,
                    *frames(name),
                    hypothesis=heard.get(name),
                )

    @staticmethod
    def _problem(entry, size, header):
        if entry.problem:
            return entry.problem
        if entry.copy:
            return f"duplicate id, in {entry.wav} once more"
        duration = header[0] if isinstance(header, tuple) else header
        return find_problem(entry.wav, entry.text, size and size[1], duration)

    def _hear(self, entries, problems):
        """What is kept of hypotheses by id; what cannot be heard is a problem."""
        if self.hypotheses is None:
            return {}
        if self._listener is None:
            self._listener = self.hypotheses.load()
        heard = self._align(self._listener, entries, problems)
        return {
            name: {key: x for key, x in hypothesis.to_json().items() if key != "id"}
            for name, hypothesis in heard.items()
        }

    @staticmethod
    def _align(aligner, entries, problems):
        """Alignments by id; those that cannot be aligned are problems."""
        alignments = {}
        items = [AlignmentItem(entry.id, entry.wav, entry.text) for entry in entries]
        for first in range(0, len(items), aligner.batch_size):
            batch = items[first : first + aligner.batch_size]
            for item, result in zip(batch, aligner.align(batch), strict=True):
                result = refuse_unspeakable(result, aligner)
                if isinstance(result, AlignmentError):
                    problems.add(item.id, result.reason)
                else:
                    alignments[item.id] = result
        return alignments

    @contextlib.contextmanager
    def _frames_of(self, good, alignments, problems):
        """A function from id to frames, and their scale if they have one; they are on
        disk while the shard is written."""
        if self.frames is None:
            yield lambda name: (None,)
            return
        from ssr_plugin.encoders.feature_cache import FeatureCache

        if self._encoder is None:
            self._encoder = self.frames.load()
        rows = {
            name: {"wav": entry.wav, "duration": duration}
            for name, (entry, duration, _) in good.items()
            if name in alignments
        }
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=_FRAMES) as folder:
            cache = FeatureCache(folder, self._encoder)
            failed = cache.build(rows, max_skipped_share=1)
            problems.reasons |= failed.reasons

            def get(name):
                frames = cache.get(name, dtype=None).numpy()
                return round_frames(frames) if self._rounds else (frames,)

            yield get


def _units_of(alignment):
    """What a shard keeps of an alignment: its id and text are the utterance's."""
    fields = alignment.to_json()
    return {key: fields[key] for key in ("kind", "duration", "units")}


def _fields(entry):
    """What a shard's fingerprint knows of an utterance."""
    fields = dataclasses.astuple(entry)
    # Shards that were made before lists told of problems stand.
    return fields if entry.problem else fields[:-1]


def _identity(wav):
    try:
        return file_identity(wav)
    except OSError:
        return None


def _header(wav):
    """Length of audio in s, to six digits, and its rate in Hz; or why there is none."""
    try:
        with open_audio(wav, header_only=True) as file:
            return round(file.frames / file.samplerate, 6), file.samplerate
    except AudioError as error:
        return str(error)


def _reads_all(entries):
    """False if some files need ffmpeg and it is missing; installing it is a change."""
    paths = (MediaFragment.parse(entry.wav).path for entry in entries)
    suffixes = {pathlib.Path(path).suffix.lower() for path in paths}
    return suffixes.isdisjoint(FFMPEG_SUFFIXES) or find_ffmpeg() is not None


def prepare_shards(
    dataset,
    folder,
    aligner,
    train_splits,
    valid_splits=(),
    test_splits=(),
    *,
    keeps_audio=True,
    frames=None,
    hypotheses=None,
    shard_size=SHARD_SIZE,
    seed=1234,
    valid_share=0.05,
    valid_fold=None,
    max_skipped_share=0.01,
    shard="1/1",
    num_workers=None,
    ray_address=None,
):
    """Makes a corpus of shards: ``train``, ``valid`` and one split for each test.

    Arguments
    ---------
    dataset : ssr_plugin.data.datasets.DataSet
    folder : path-like
        Where the shards go.
    aligner : ssr_plugin.alignment.base.Aligner
    train_splits, valid_splits, test_splits, seed, valid_share, valid_fold
        As in :func:`ssr_plugin.data.prepare.prepare`.
    keeps_audio : bool
        Whether the shards hold the audio.
    frames : Frames or None
        Whether they hold an encoder's frames, and which.
    hypotheses : Hypotheses or None
        Whether they hold what a recogniser hears, and which.
    shard_size : int
        Utterances of a shard.
    max_skipped_share : float
        Share of a split's utterances that may be bad.
    shard : str
        "k/n": only the k-th of n shares of the work. A last call without it finds what
        all have made, and lists it.
    num_workers : int or None
        Processes, 0 for this one; by default one for each core, or this one where an
        accelerator, or an encoder, does the work.
    ray_address : str or None
        A Ray cluster that does the work (:mod:`ssr_plugin.training.ray_shards`).

    Returns
    -------
    ssr_plugin.data.shards.Shards or None
        None for a share of the work.

    Raises
    ------
    ValueError
        If nothing would be kept, or the splits are wrong.
    TooManyProblems
        If too many utterances are bad. What was made is kept.
    OSError
        If the disk is full. What was made is kept.

    Example
    -------
    >>> import soundfile
    >>> from ssr_plugin.alignment.even import EvenAligner
    >>> from ssr_plugin.data.datasets import CSVDataSet
    >>> folder = getfixture("tmp_path")
    >>> rows = ["wav,speaker,text"]
    >>> for name, speaker in [("a", "anna"), ("b", "bert")]:
    ...     soundfile.write(folder / f"{name}.wav", [0.1] * 16000, 16000)
    ...     rows.append(f"{name}.wav,{speaker},good morning")
    >>> _ = (folder / "all.csv").write_text("\\n".join(rows))
    >>> made = prepare_shards(
    ...     CSVDataSet(folder), folder / "shards", EvenAligner(), ["all"], num_workers=0
    ... )
    >>> made.splits(), len(made["train"]), len(made["valid"])
    (['train', 'valid'], 1, 1)
    """
    folder = pathlib.Path(folder).absolute()
    k, n = parse_shard(shard)
    if not keeps_audio and frames is None:
        raise ValueError("neither audio nor frames are to be kept: keep one of them")
    if shard_size < 1:
        raise ValueError(f"shard_size: {shard_size} is not at least 1")
    if valid_fold is not None:
        parse_fold(valid_fold)
    groups, _ = group_splits(dataset, train_splits, valid_splits, test_splits)
    # Each process lists on its own: the same data gives the same list.
    with _listing_folder(folder, shard) as listing_folder:
        listings = _list(
            dataset, groups, listing_folder, shard_size, seed, valid_share, valid_fold
        )
        if num_workers is None and ray_address is None:
            models = frames is not None or hypotheses is not None
            num_workers = 0 if models or not aligner.parallel else usable_cores()
        maker = ShardMaker(folder, listings, aligner, keeps_audio, frames, hypotheses)
        if ray_address is not None or num_workers:
            # Those that make shards load models of their own.
            maker.forget_models()
        _doubt(aligner, listings["train"])
        jobs = maker.jobs()[k - 1 :: n]
        if ray_address is not None:
            entries = make_by_ray(maker, jobs, ray_address, num_workers)
        else:
            entries = _make_all(maker, jobs, num_workers)
        made = collections.defaultdict(list)
        for (split, _), entry in entries:
            made[split].append(entry)
        if n > 1:
            logger.info(
                "%s: the %d shards of share %s are there. When all shares are, the "
                "same command without --shard lists them",
                folder,
                len(jobs),
                shard,
            )
            return None
        language = dataset.language
        return _gather(folder, maker, made, frames, max_skipped_share, language)


@contextlib.contextmanager
def _listing_folder(folder, shard):
    """Where this process lists; gone afterwards."""
    name = f"{_LISTING}{shard.replace('/', '-of-')}-"
    folder.mkdir(parents=True, exist_ok=True)
    path = tempfile.mkdtemp(dir=folder, prefix=name)
    try:
        yield pathlib.Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _list(dataset, groups, folder, shard_size, seed, valid_share, valid_fold):
    """A listing of each split that is made."""
    listings = {}
    for name, splits in groups.items():
        utterances = (u for split in splits for u in dataset.utterances(split))
        bar = tqdm(utterances, f"listing {name}", unit="utt", delay=1)
        listings[name] = Listing.write(folder / f"{name}.jsonl", bar, shard_size)
        if not len(listings[name]):
            raise ValueError(
                f"no utterance in {', '.join(splits)} of '{dataset.folder}'"
            )
    if valid_fold is not None and "valid" in groups:
        raise ValueError(
            f"valid_fold: '{valid_fold}' holds out speakers of the training data, and "
            f"valid_splits finds {', '.join(groups['valid'])}: give one of them"
        )
    if "valid" not in groups:
        everything = listings["train"]
        chosen, by_speaker = _held_out(everything, seed, valid_share, valid_fold)
        for name in ("train", "valid"):
            part = (
                entry
                for entry in everything
                if ((entry.speaker if by_speaker else entry.id) in chosen)
                == (name == "valid")
            )
            path = folder / f"{name}-held.jsonl"
            listings[name] = Listing.write(path, part, shard_size)
            if not len(listings[name]):
                raise ValueError(f"no utterance is left for {name}: name valid_splits")
    return listings


def _held_out(listing, seed, share, fold):
    """Speakers that are held out of training; or utterances, if there is one speaker.

    Returns
    -------
    chosen : set of str
    by_speaker : bool
    """
    seconds, single = collections.defaultdict(float), []
    bar = tqdm(listing, "reading headers", len(listing), unit="file", delay=1)
    for entry in bar:
        usable = entry.text and not entry.copy and not entry.problem
        header = _header(entry.wav) if usable else None
        if isinstance(header, tuple) and header[0]:
            seconds[entry.speaker] += header[0]
            if len(seconds) == 1 and len(single) <= _MOST_OF_ONE_SPEAKER:
                single.append((entry.id, entry.speaker, header[0]))
    by_speaker = len(seconds) != 1
    if not by_speaker and len(single) > _MOST_OF_ONE_SPEAKER:
        raise ValueError(
            "valid_splits: the training data is of one speaker, and too large for some "
            "of it to be picked: name a split of its own"
        )
    times = [(name, name, time) for name, time in seconds.items()]
    times = times if by_speaker else single
    if fold is not None:
        return hold_out_fold(times, fold), by_speaker
    return hold_out(times, share, seed), by_speaker


def _doubt(aligner, listing):
    """Warns if the transcripts do not seem to suit the aligner."""
    texts = [entry.text for entry in listing.shard(0) if entry.text]
    doubt = aligner.doubt(texts)
    if doubt:
        logger.warning("%s", doubt)


def _make_all(maker, jobs, num_workers):
    """Makes shards, in this process or in several; gives each with its job, in order.

    Where a process dies, its shards are made by another. One over which a process dies
    alone is given up; the others are made first.
    """
    done, lost, alone = {}, [], False
    with tqdm(total=len(jobs), unit="shard", desc="making shards", delay=1) as bar:
        while left := [job for job in jobs if job not in done and job not in lost]:
            now = left[:1] if alone else left
            before = len(done)
            try:
                for job, entry in _make_some(maker, now, 1 if alone else num_workers):
                    done[job] = entry
                    bar.update()
                alone = False
            except concurrent.futures.BrokenExecutor:
                logger.warning(
                    "A process that makes shards died: killed, or out of memory? What "
                    "it had not written is made again"
                )
                if alone:
                    lost += now
                alone = len(done) == before
    if lost:
        names = ", ".join(f"{split}/{shards.shard_name(i)}" for split, i in lost)
        raise TooManyProblems(
            f"the process that makes it dies over shard {names}, by itself, too: "
            f"perhaps a file that breaks its decoder, or too little memory. All other "
            f"shards are there"
        )
    return [(job, done[job]) for job in jobs]


def _make_some(maker, jobs, num_workers):
    """Each job with what it made, as they end."""
    if num_workers == 0:
        yield from ((job, maker(job)) for job in jobs)
        return
    yield from work_on(maker, jobs, num_workers, _start_worker)


def _gather(folder, maker, made, frames, max_skipped_share, language):
    """Lists all shards; what another call has left is taken away."""
    for split, entries in made.items():
        problems = Problems(f"making shards of {split}", max_skipped_share)
        for entry in entries:
            problems.reasons |= entry["skipped"]
        problems.check(len(maker.listings[split]))
    shards.write_skipped(
        folder,
        (
            (split, name, reason)
            for split, entries in made.items()
            for entry in entries
            for name, reason in entry["skipped"].items()
        ),
    )
    for split, entries in made.items():
        shards.remove_others(folder / split, [entry["name"] for entry in entries])
    for left in [*folder.glob(f"{_LISTING}*"), *folder.glob(f"{_FRAMES}*")]:
        shutil.rmtree(left, ignore_errors=True)
    made_of = {
        "aligner": maker.aligner.name,
        "aligner_settings": maker.aligner.settings(),
        "language": language,
        "audio": maker.keeps_audio,
        "frames": frames
        and {
            "source": frames.source,
            "encoder": maker.identity,
            "cache_dtype": frames.cache_dtype,
        },
        "hypotheses": maker.hypotheses
        and {"source": maker.hypotheses.source, "recognizer": maker.recognizer},
    }
    counts = {
        split: sum(len(entry["skipped"]) for entry in entries)
        for split, entries in made.items()
    }
    shards.write_list(folder, made, counts, made_of)
    return shards.Shards(folder)


# --- In the processes that make shards ----------------------------------------------


def _start_worker():
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
