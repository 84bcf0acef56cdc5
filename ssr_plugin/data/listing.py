"""The utterances of a data set, listed: on disk, sorted, and never held as a whole.

A data set gives its utterances in any order. A listing has them in the order of their
ids, so that the same data gives the same shards, whoever makes them, and an id that
occurs twice is next to itself. What does not fit into memory is sorted in parts, which
are then merged.
"""

import contextlib
import dataclasses
import hashlib
import heapq
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from ssr_plugin.data.datasets import Utterance
from ssr_plugin.files import atomic_path

# Utterances that are sorted in memory.
_PART = 200_000


def tidy(text: str | None) -> str | None:
    """A transcript with all white space, line breaks too, as single spaces.

    Example
    -------
    >>> tidy(" good\\n morning")
    'good morning'
    """
    return None if text is None else " ".join(text.split())


@dataclasses.dataclass(frozen=True, order=True)
class ListedUtterance:
    """An utterance of a listing.

    Arguments
    ---------
    id, wav, text, speaker
        As in :class:`~ssr_plugin.data.datasets.Utterance`, tidied, the path absolute.
    copy : int
        How often the id came before: 0, unless it is one too many.
    problem : str or None
        Why it cannot be used, as the data set says.
    """

    id: str
    wav: str
    text: str | None
    speaker: str
    copy: int = 0
    problem: str | None = None


class Listing:
    """The utterances of a split, in a file, in the order of their ids.

    Arguments
    ---------
    path : path-like
        JSON lines.
    utterances_of_a_shard : int
        How many are read at once.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.jsonl"
    >>> both = [Utterance("b", "b.wav", "two"), Utterance("a", "a.wav", "one")]
    >>> listing = Listing.write(path, both, utterances_of_a_shard=1)
    >>> len(listing), listing.num_shards
    (2, 2)
    >>> [utterance.text for utterance in listing.shard(0)]
    ['one']
    """

    def __init__(
        self, path: str | os.PathLike[str], utterances_of_a_shard: int
    ) -> None:
        self.path = pathlib.Path(path)
        self._size = utterances_of_a_shard
        self._offsets: list[int] = []
        self._count = 0
        hashed = hashlib.blake2b(digest_size=8)
        with open(self.path, "rb") as file:
            offset = 0
            for line in file:
                if self._count % self._size == 0:
                    self._offsets.append(offset)
                offset += len(line)
                self._count += 1
                hashed.update(line)
        self.digest = hashed.hexdigest()

    def __len__(self) -> int:
        return self._count

    @property
    def num_shards(self) -> int:
        """How many shards its utterances make."""
        return len(self._offsets)

    def __iter__(self) -> Iterator[ListedUtterance]:
        with open(self.path, encoding="utf-8") as file:
            yield from map(_from_line, file)

    def shard(self, number: int) -> list[ListedUtterance]:
        """The utterances of a shard."""
        with open(self.path, "rb") as file:
            file.seek(self._offsets[number])
            lines = [file.readline() for _ in range(self._size)]
        return [_from_line(line) for line in lines if line]

    @classmethod
    def write(
        cls,
        path: str | os.PathLike[str],
        utterances: Iterable[Utterance | ListedUtterance],
        utterances_of_a_shard: int,
    ) -> "Listing":
        """Lists utterances, in the order of their ids.

        Arguments
        ---------
        path : path-like
        utterances : iterable of Utterance
            In any order.
        utterances_of_a_shard : int

        Returns
        -------
        Listing
        """
        path = pathlib.Path(path)
        with contextlib.ExitStack() as stack:
            partial = stack.enter_context(atomic_path(path))
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(dir=path.parent, prefix=".sorting-")
            )
            out = stack.enter_context(open(partial, "w", encoding="utf-8"))
            before, copy = None, 0
            for entry in _sorted(map(_listed, utterances), pathlib.Path(folder)):
                copy = copy + 1 if entry.id == before else 0
                before = entry.id
                out.write(_to_line(dataclasses.replace(entry, copy=copy)))
        return cls(path, utterances_of_a_shard)


def _listed(utterance: Utterance | ListedUtterance) -> ListedUtterance:
    return ListedUtterance(
        utterance.id.strip(),
        os.path.abspath(utterance.wav),
        tidy(utterance.text),
        utterance.speaker,
        problem=utterance.problem,
    )


def _key(entry: ListedUtterance) -> tuple[str, str]:
    return entry.id, entry.wav


def _sorted(
    entries: Iterable[ListedUtterance], folder: pathlib.Path
) -> Iterator[ListedUtterance]:
    """Entries by id and path; parts of them are on disk meanwhile."""
    parts: list[pathlib.Path] = []
    held: list[ListedUtterance] = []
    for entry in entries:
        held.append(entry)
        if len(held) == _PART:
            parts.append(folder / str(len(parts)))
            held.sort(key=_key)
            with open(parts[-1], "w", encoding="utf-8") as file:
                file.writelines(map(_to_line, held))
            held = []
    held.sort(key=_key)
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(p, encoding="utf-8")) for p in parts]
        streams = [map(_from_line, file) for file in files]
        yield from heapq.merge(*streams, held, key=_key)


def _to_line(entry: ListedUtterance) -> str:
    values: list[Any] = [entry.id, entry.wav, entry.text, entry.speaker, entry.copy]
    if entry.problem is not None:
        values.append(entry.problem)
    return json.dumps(values, ensure_ascii=False) + "\n"


def _from_line(line: str | bytes) -> ListedUtterance:
    return ListedUtterance(*json.loads(line))
