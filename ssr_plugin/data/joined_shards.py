"""Splits of several corpora of shards, read as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ssr_plugin.data.samples import StoredAudio
from ssr_plugin.data.shards import ShardError, ShardSplit
from ssr_plugin.files import digest


class JoinedShards:
    """Splits of shards one behind the other, with all that training asks of one.

    Utterances are counted from 0 through all of them. What a split keeps on disk stays
    there.

    Arguments
    ---------
    parts : list of ssr_plugin.data.shards.ShardSplit

    Attributes
    ----------
    folder : pathlib.Path
        Of the first.
    seconds : float
        Of all utterances, s.
    skipped : int
        Utterances that were left out.
    names : list of str
        Of the shards; those of two splits may have the same.
    starts : numpy.ndarray
        [S + 1] int, the first utterance of each shard, and behind the last.
    durations : JoinedDurations
        [N] s, of all utterances.
    digest : str
        Of all shards and their utterances, in their order.

    Raises
    ------
    ShardError
        If two splits have a shard in common.

    Example
    -------
    >>> from ssr_plugin.data.shards import Shards, ShardSample, write_list, write_shard
    >>> folder, splits = getfixture("tmp_path"), {}
    >>> for name in ("a", "b"):
    ...     sample = ShardSample(name, "hi", "anna", 1.0, 16000, {}, b"..", ".flac")
    ...     splits[name] = [write_shard(folder / name, "000000", [sample], {})]
    >>> write_list(folder, splits, {}, {"aligner": "even"})
    >>> shards = Shards(folder)
    >>> joined = JoinedShards([shards["a"], shards["b"]])
    >>> len(joined), [joined.record(row)["id"] for row in range(2)]
    (2, ['a', 'b'])
    >>> joined.durations[:].tolist()
    [1.0, 1.0]
    """

    def __init__(self, parts: Sequence[ShardSplit]) -> None:
        check_disjoint(parts)
        self.parts = list(parts)
        self.folder = parts[0].folder
        self.seconds = sum(part.seconds for part in parts)
        self.skipped = sum(part.skipped for part in parts)
        self.names = [name for part in parts for name in part.names]
        self._firsts = np.cumsum([0, *(len(part) for part in parts)])
        begins = [
            first + part.starts[:-1]
            for first, part in zip(self._firsts, parts, strict=False)
        ]
        self.starts = np.append(np.concatenate(begins), self._firsts[-1])
        self.durations = JoinedDurations([part.durations for part in parts])
        self.digest = digest([part.digest for part in parts])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def _find(self, row: int) -> tuple[ShardSplit, int]:
        """The split of an utterance, and which of the split's it is."""
        number = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return self.parts[number], row - int(self._firsts[number])

    def part(self, row: int) -> ShardSplit:
        """The split of an utterance."""
        return self._find(row)[0]

    def will_read(self, first: int, stop: int) -> None:
        """See :meth:`ssr_plugin.data.shards.ShardSplit.will_read`."""
        part, row = self._find(first)
        part.will_read(row, row + stop - first)

    def record(self, row: int) -> dict[str, Any]:
        """See :meth:`ssr_plugin.data.shards.ShardSplit.record`."""
        part, row = self._find(row)
        return part.record(row)

    def damaged(self, row: int, error: object) -> ShardError:
        """See :meth:`ssr_plugin.data.shards.ShardSplit.damaged`."""
        part, row = self._find(row)
        return part.damaged(row, error)

    def num_frames(self, row: int) -> int:
        """See :meth:`ssr_plugin.data.shards.ShardSplit.num_frames`."""
        part, row = self._find(row)
        return part.num_frames(row)

    def frames(self, row: int) -> npt.NDArray[Any]:
        """See :meth:`ssr_plugin.data.shards.ShardSplit.frames`."""
        part, row = self._find(row)
        return part.frames(row)

    def audio_file(self, row: int) -> bytes:
        """See :meth:`ssr_plugin.data.shards.ShardSplit.audio_file`."""
        part, row = self._find(row)
        return part.audio_file(row)

    def audio(self, row: int, record: dict[str, Any]) -> StoredAudio | None:
        """See :meth:`ssr_plugin.data.shards.ShardSplit.audio`."""
        part, row = self._find(row)
        return part.audio(row, record)


def check_disjoint(splits: Sequence[ShardSplit]) -> None:
    """Refuses splits that have a shard in common. Nothing is read for it.

    Arguments
    ---------
    splits : list of ssr_plugin.data.shards.ShardSplit

    Raises
    ------
    ShardError
        Names the first two.
    """
    for number, split in enumerate(splits):
        for other in splits[:number]:
            if split.ids & other.ids:
                raise ShardError(
                    f"{other.folder} and {split.folder} hold the same utterances: name "
                    f"one of them"
                )


class JoinedDurations:
    """Arrays one behind the other, of which a part is read when it is asked for.

    Arguments
    ---------
    parts : list of numpy.ndarray
        [N_i] s, each.

    Example
    -------
    >>> joined = JoinedDurations([np.array([1.0, 2.0]), np.array([3.0])])
    >>> len(joined), joined[1:].tolist(), joined[np.array([2, 0])].tolist()
    (3, [2.0, 3.0], [3.0, 1.0])
    """

    def __init__(self, parts: Sequence[npt.NDArray[np.float64]]) -> None:
        self._parts = parts
        self._firsts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        found = np.empty(len(rows))
        numbers = np.searchsorted(self._firsts, rows, side="right") - 1
        for number, part in enumerate(self._parts):
            here = numbers == number
            found[here] = part[rows[here] - self._firsts[number]]
        return found
