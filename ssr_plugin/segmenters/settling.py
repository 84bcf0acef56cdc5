"""Which segments of a stream are settled, window by window. Pure arithmetic."""

from __future__ import annotations

import collections
import dataclasses

from ssr_plugin.segmenters.base import Segments, StreamWindows

# Settled segments that one may be found to be again.
_REMEMBERED = 64


@dataclasses.dataclass(frozen=True)
class Settled:
    """A segment that does not change any more.

    Arguments
    ---------
    row : int
        Which of those that were given.
    token : int
        -1 where it is not known.
    start, boundary : int
        Its first and its last frame.
    """

    row: int
    token: int
    start: int
    boundary: int


class SegmentSettler:
    """Puts together what is found in windows that overlap.

    A segment is settled when the next one has begun, by ``edge``; or, where none
    begins, ``hold`` frames after its own beginning: it ends at ``edge`` then. What is
    settled is neither given again nor taken back, and settled segments follow each
    other without overlap.

    Arguments
    ---------
    windows : StreamWindows
        Of the segmenter.
    hold : int
        Frames.
    longest_doubt : int
        Frames after which a token counts on which windows do not agree.

    Example
    -------
    >>> import numpy as np
    >>> settler = SegmentSettler(StreamWindows(), hold=20, longest_doubt=50)
    >>> found = Segments(*map(np.array, ([5, 6], [2, 9], [8, 15])))
    >>> settler.settle(found, edge=12)
    [Settled(row=0, token=5, start=2, boundary=8)]
    >>> settler.settle(found, edge=16)
    []
    >>> settler.settle(found, edge=16, final=True)
    [Settled(row=1, token=6, start=9, boundary=15)]
    """

    def __init__(self, windows: StreamWindows, hold: int, longest_doubt: int) -> None:
        self.windows = windows
        self.hold = hold
        self.longest_doubt = longest_doubt
        #: The first frame that no settled segment can reach any more.
        self.next_frame = 0
        #: How many segments have begun and are not settled.
        self.num_open = 0
        self._settled: collections.deque[Settled] = collections.deque(
            maxlen=_REMEMBERED
        )
        self._before: list[int] = []

    def settle(
        self, segments: Segments, edge: int, final: bool = False, first: int = 0
    ) -> list[Settled]:
        """Takes what was found in one window more.

        Arguments
        ---------
        segments : Segments
            In frames of the whole stream.
        edge : int
            Frames up to this are known well enough, what lies behind only helps.
        final : bool
            Whether no window will follow: all is settled.
        first : int
            The window's first frame.

        Returns
        -------
        list of Settled
            In order.
        """
        tokens = segments.tokens.tolist()
        starts = segments.starts.tolist()
        ends = segments.boundaries.tolist()
        if self.windows.agreement:
            rows = [*range(self._count_old(tokens, starts, first), len(starts))]
        else:
            rows = [i for i in range(len(starts)) if self._is_new(tokens[i], starts[i])]
        agreed = self._count_agreed([tokens[i] for i in rows])
        settled: list[Settled] = []
        for k, i in enumerate(rows):
            start, boundary = max(starts[i], self.next_frame), ends[i]
            if final and start > ends[-1]:
                # No frame is left for it.
                break
            if not final:
                age = edge - start
                if k >= agreed and age < self.longest_doubt:
                    break
                # The next begins where this one ends, or later.
                if k + 1 == len(rows) or starts[rows[k + 1]] > edge:
                    if age < self.hold:
                        break
                    boundary = min(boundary, edge - 1)
            boundary = max(boundary, start)
            settled.append(Settled(i, tokens[i], start, boundary))
            self.next_frame = boundary + 1
        self._settled.extend(settled)
        self._before = [tokens[i] for i in rows[len(settled) :]]
        self.num_open = len(self._before)
        return settled

    def pass_over(self, frame: int) -> None:
        """No segment that is not settled yet begins before that frame."""
        self.next_frame = max(self.next_frame, frame)

    def starts_since(self, frame: int) -> list[int]:
        """First frames of the settled segments that begin there or later, in order."""
        return [each.start for each in self._settled if each.start >= frame]

    def _is_new(self, token: int, start: int) -> bool:
        jitter = self.windows.jitter
        if start < self.next_frame - jitter:
            return False
        if token < 0:
            # All are alike: the one that was seen to begin at the next frame.
            return True
        return not any(
            each.token == token and abs(each.start - start) <= jitter
            for each in self._settled
        )

    def _count_old(self, tokens: list[int], starts: list[int], first: int) -> int:
        """How many tokens of a text, from the first, are settled already.

        A recogniser's times are rough, so that the texts are compared as well: the cut
        is where fewest tokens are on one side only, and none begins much too early.
        """
        settled = [each.token for each in self._settled if each.start >= first]
        # Of each beginning of the text: tokens that only one of the two has.
        costs = [*range(len(tokens) + 1)]
        for i, token in enumerate(settled):
            before, costs = costs, [i + 1]
            for j, other in enumerate(tokens):
                alone = min(before[j + 1], costs[j]) + 1
                costs.append(min(alone, before[j]) if token == other else alone)
        early = [max(self.next_frame - x, 0) / self.windows.jitter for x in starts]
        totals = [a + b for a, b in zip(costs, [*early, 0.0], strict=True)]
        return min(range(len(totals)), key=totals.__getitem__)

    def _count_agreed(self, tokens: list[int]) -> int:
        """How many of the tokens, from the first, the window before had as well."""
        if not self.windows.agreement:
            return len(tokens)
        pairs = zip(tokens, self._before, strict=False)
        return next(
            (k for k, (a, b) in enumerate(pairs) if a != b),
            min(len(tokens), len(self._before)),
        )
