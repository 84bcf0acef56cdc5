"""Alignments on disk: made once, by any number of processes, and never half-written.

A cache folder holds one folder for each aligner and its settings, with the settings
in ``settings.json`` and JSON lines in files ``part-*.jsonl``, one line an utterance::

    {"key": "<digest>", "alignment": {...}}            (see Alignment.to_json)
    {"key": "<digest>", "id": "...", "error": "..."}   a failure; it is not tried again

The key is made of the audio file's identity, the id and the transcript. If one of them
changes, the utterance is aligned anew. Each process writes a file of its own: if it is
killed, at most one line is cut short, which readers ignore. To merge shards, all files
are read.
"""

import collections.abc
import functools
import json
import logging
import pathlib
import uuid
from typing import NamedTuple

from tqdm import tqdm

from ssr_plugin.alignment.record import Alignment, AlignmentError
from ssr_plugin.files import atomic_path, digest, file_identity
from ssr_plugin.json_files import parse_json
from ssr_plugin.problems import Problems
from ssr_plugin.processes import usable_cores, work_on

logger = logging.getLogger(__name__)

# How many transcripts an aligner sees when it says whether a corpus suits it.
DOUBT_SAMPLE_SIZE = 2000
# A line of a cache; what is deeper in it is looked at when it is used.
_LINE = {
    "key": str,
    "alignment?": {
        "id": str,
        "text": str,
        "kind": str,
        "duration": float,
        "cut_loops?": int,
    },
    "error?": str,
}


class CacheLine(NamedTuple):
    """Where an alignment stands, and how many loops were cut in it."""

    path: str
    offset: int
    cut_loops: int = 0


class Alignments(collections.abc.Mapping):
    """Alignments by utterance id, read from disk when asked for.

    A thousand hours of words would fill gigabytes; the index of their lines does not.

    Arguments
    ---------
    index : dict
        Utterance id -> :class:`CacheLine`.
    """

    def __init__(self, index):
        self._index = index

    def looped(self):
        """Ids of those of a recogniser in which a loop was cut."""
        return [id for id, line in self._index.items() if line.cut_loops]

    def __getitem__(self, id):
        path, offset, _ = self._index[id]
        with open(path, "rb") as file:
            file.seek(offset)
            line = file.readline()
        try:
            return Alignment.from_json(parse_json(line, _LINE)["alignment"])
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{path} is damaged, the alignment of '{id}' ({error}): delete it and "
                f"run again, and its utterances are aligned anew"
            ) from error

    def __contains__(self, id):
        # Mapping's own would read the file.
        return id in self._index

    def __iter__(self):
        return iter(self._index)

    def __len__(self):
        return len(self._index)


def align(
    items,
    aligner,
    cache_folder,
    shard="1/1",
    num_workers=None,
    max_skipped_share=0.01,
    retry_failed=False,
):
    """Aligns utterances, or reads their alignments from the cache.

    If the transcripts do not seem to suit the aligner (another language, for example),
    the log has a warning, once for each corpus.

    Arguments
    ---------
    items : iterable of AlignmentItem
        Ids must be unique.
    aligner : Aligner
    cache_folder : path-like
        Made if it is not there; several aligners may share it.
    shard : str
        "k/n": only the k-th of n equal shares (k from 1), so that n processes or
        machines can share the work. A last call without shard reads them all.
    num_workers : int
        Processes; by default one for each core, where the aligner can use them.
    max_skipped_share : float
        Share of the utterances that may have no alignment.
    retry_failed : bool
        Whether to try again what failed before with the same audio, text and settings.

    Returns
    -------
    alignments : Alignments
        Mapping from id to :class:`~ssr_plugin.alignment.record.Alignment`.
    problems : Problems
        The utterances without one, each with its reason.

    Raises
    ------
    TooManyProblems
        If they are more than ``max_skipped_share``. What could be aligned is kept.

    Example
    -------
    >>> from ssr_plugin.alignment.base import AlignmentItem
    >>> from ssr_plugin.alignment.sphinx import SphinxAligner
    >>> items = [AlignmentItem("utt-1", "no.wav", "hello")]
    >>> folder = getfixture("tmp_path")
    >>> _, problems = align(items, SphinxAligner(), folder, max_skipped_share=1)
    >>> problems.reasons
    {'utt-1': 'there is no audio file no.wav'}
    """
    items = list(items)
    # Texts of the whole corpus: all shards then say the same, cached or not.
    step = -(-len(items) // DOUBT_SAMPLE_SIZE) or 1
    doubt = aligner.doubt([item.text for item in items[::step] if item.text])
    if doubt:
        _warn_once(doubt)
    items = take_shard(items, shard)
    problems = Problems(f"{aligner.verb} with {aligner.name}", max_skipped_share)
    keys = _keys(items, problems, aligner.needs_text)
    folder = _folder(aligner, cache_folder)
    line_index, errors = index_cache(folder)
    if retry_failed:
        errors = {}
    to_do = [
        item
        for item in items
        if item.id in keys
        and keys[item.id] not in line_index
        and keys[item.id] not in errors
    ]
    if to_do:
        path = folder / f"part-{shard.replace('/', '-of-')}-{uuid.uuid4().hex}.jsonl"
        _fill(path, to_do, keys, aligner, num_workers)
        line_index, errors = index_cache(folder)
    for id, key in keys.items():
        if key not in line_index:
            problems.add(id, errors[key])
    problems.check(len(items))
    index = {id: line_index[key] for id, key in keys.items() if key in line_index}
    return Alignments(index), problems


@functools.lru_cache
def _warn_once(message):
    # A run may align the same corpus twice: first its shard, then the whole.
    logger.warning("%s", message)


def take_shard(items, shard):
    """The k-th of n shares of a sequence, for a shard "k/n".

    Raises
    ------
    ValueError
        If the shard is not of that form.

    Example
    -------
    >>> take_shard("abcde", "1/2"), take_shard("abcde", "2/2")
    (['a', 'c', 'e'], ['b', 'd'])
    """
    k, n = parse_shard(shard)
    return list(items)[k - 1 :: n]


def parse_shard(shard):
    """The two numbers of a shard "k/n".

    Raises
    ------
    ValueError
        If it is not of that form.

    Example
    -------
    >>> parse_shard("1/4")
    (1, 4)
    """
    k, _, n = str(shard).partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise ValueError(
            f"shard '{shard}' is not of the form k/n with 1 <= k <= n, such as 1/4"
        )
    return int(k), int(n)


def index_cache(folder):
    """Finds the lines of a folder's files; damaged lines are skipped.

    Arguments
    ---------
    folder : path-like
        The folder of one aligner and its settings.

    Returns
    -------
    line_index : dict
        Key -> :class:`CacheLine`.
    errors : dict
        Key -> reason, of those without an alignment.
    """
    line_index, errors = {}, {}
    for path in sorted(pathlib.Path(folder).glob("part-*.jsonl")):
        with open(path, "rb") as file:
            offset = 0
            for number, line in enumerate(file, start=1):
                try:
                    record = parse_json(line, _LINE)
                    if "alignment" in record:
                        loops = record["alignment"].get("cut_loops", 0)
                        place = CacheLine(str(path), offset, loops)
                        line_index[record["key"]] = place
                    else:
                        errors[record["key"]] = record["error"]
                except (ValueError, KeyError):
                    logger.warning("%s: line %d is damaged, ignored", path, number)
                offset += len(line)
    return line_index, errors


def _keys(items, problems, need_text):
    keys, ids = {}, set()
    for item in items:
        if item.id in ids:
            raise ValueError(f"two utterances have the id '{item.id}'")
        ids.add(item.id)
        if need_text and not (item.text or "").strip():
            problems.add(item.id, "empty transcript")
            continue
        try:
            identity = file_identity(item.wav)
        except OSError:
            problems.add(item.id, f"there is no audio file {item.wav}")
            continue
        text = item.text if need_text else None
        keys[item.id] = digest(identity, item.id, text)
    return keys


def _folder(aligner, cache_folder):
    settings = aligner.settings()
    name = f"{aligner.name}-{digest(aligner.name, settings)}"
    folder = pathlib.Path(cache_folder) / name
    if not (folder / "settings.json").exists():
        with atomic_path(folder / "settings.json") as path:
            path.write_text(
                json.dumps({"aligner": aligner.name, **settings}, indent=2),
                encoding="utf-8",
            )
    return folder


def _fill(path, items, keys, aligner, num_workers):
    size = aligner.batch_size
    batches = [items[i : i + size] for i in range(0, len(items), size)]
    if num_workers is None:
        parallel = aligner.parallel and len(items) >= aligner.parallel_from
        num_workers = usable_cores() if parallel else 1
    num_workers = min(num_workers, len(batches))
    seconds = 0.0
    with (
        open(path, "w", encoding="utf-8", errors="backslashreplace") as file,
        tqdm(
            total=len(items), unit="utt", desc=f"{aligner.verb} ({aligner.name})"
        ) as bar,
    ):
        for batch, results in _results(batches, aligner, num_workers):
            for item, result in zip(batch, results, strict=True):
                result = refuse_unspeakable(result, aligner)
                record = {"key": keys[item.id]}
                if isinstance(result, AlignmentError):
                    record |= {"id": item.id, "error": result.reason}
                else:
                    record["alignment"] = result.to_json()
                    seconds += result.duration
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            bar.update(len(batch))
            elapsed = bar.format_dict["elapsed"]
            bar.set_postfix_str(f"{seconds / elapsed:.0f} x real time")


def refuse_unspeakable(result, aligner):
    """The alignment, or an error if nobody could speak so fast.

    Arguments
    ---------
    result : Alignment or AlignmentError
        Of ``aligner.align``.
    aligner : Aligner
        Of one that writes the texts itself, nothing is refused.

    Returns
    -------
    Alignment or AlignmentError

    Example
    -------
    >>> from ssr_plugin.alignment.even import EvenAligner
    >>> from ssr_plugin.alignment.record import Unit
    >>> text = "good morning to you all"
    >>> fast = Alignment("a", text, (Unit(text, 0.0, 0.4, 0),), "word", 1.0)
    >>> refuse_unspeakable(fast, EvenAligner()).reason
    '19 letters in 0.40 s are more than anybody can say: ...'
    """
    try:
        if aligner.needs_text and not isinstance(result, AlignmentError):
            result.check_rate()
    except AlignmentError as error:
        return error
    return result


def _results(batches, aligner, num_workers):
    if num_workers <= 1:
        for batch in batches:
            yield batch, aligner.align(batch)
        return
    yield from work_on(aligner.align, batches, num_workers)
