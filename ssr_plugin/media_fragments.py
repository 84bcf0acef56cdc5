"""Parts of files, written as paths: some time of a recording, some bytes of a file.

Corpora cut hours of audio into utterances by a list of times, or keep many recordings
in one file. Such a part is a path with a *media fragment* behind it, as W3C's Media
Fragments URI 1.0 writes times: ``talk.opus#t=1.5,4.25``. So it goes wherever paths go:
into manifests, caches and messages. Nothing is cut and written before it is used.
"""

from __future__ import annotations

import dataclasses
import os
import re

_NUMBER = r"\d+(?:\.\d+)?"
_FRAGMENT = re.compile(
    rf"(?P<path>.+)#(?=[a-z])"
    rf"(?:bytes=(?P<offset>\d+),(?P<size>\d+)(?:&|$))?"
    rf"(?:t=(?P<start>{_NUMBER}),(?P<end>{_NUMBER})(?:&|$))?"
    rf"(?:channel=(?P<channel>\d+))?$",
    re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class MediaFragment:
    """A file, or a part of it.

    Arguments
    ---------
    path : str
        The file.
    start, end : float or None
        In its audio, s; None is all.
    offset, size : int or None
        Where in the file the audio is, in bytes; None is all of it.
    channel : int or None
        Which of the audio's, from 0; None is the mean of all.

    Example
    -------
    >>> str(MediaFragment("talk.opus", 1.5, 4.25))
    'talk.opus#t=1.5,4.25'
    >>> MediaFragment.parse("a.tar#bytes=512,900&channel=1")
    MediaFragment(path='a.tar', start=None, end=None, offset=512, size=900, channel=1)
    >>> MediaFragment.parse("no part #1.wav").is_part
    False
    """

    path: str
    start: float | None = None
    end: float | None = None
    offset: int | None = None
    size: int | None = None
    channel: int | None = None

    @classmethod
    def parse(cls, path: str | os.PathLike[str]) -> MediaFragment:
        """Reads a path, with or without a fragment."""
        path = os.fspath(path)
        match = _FRAGMENT.fullmatch(path)
        if match is None:
            return cls(path)
        start, end = match["start"], match["end"]
        offset, size, channel = match["offset"], match["size"], match["channel"]
        return cls(
            match["path"],
            None if start is None else float(start),
            None if end is None else float(end),
            None if offset is None else int(offset),
            None if size is None else int(size),
            None if channel is None else int(channel),
        )

    @property
    def is_cut(self) -> bool:
        """Whether the audio is cut: it is some time or one channel of what is there."""
        return self.start is not None or self.channel is not None

    @property
    def is_part(self) -> bool:
        """Whether it is anything but a whole file."""
        return self.is_cut or self.offset is not None

    def __str__(self) -> str:
        words = []
        if self.offset is not None:
            words.append(f"bytes={self.offset},{self.size}")
        if self.start is not None and self.end is not None:
            words.append(f"t={_seconds(self.start)},{_seconds(self.end)}")
        if self.channel is not None:
            words.append(f"channel={self.channel}")
        return f"{self.path}#{'&'.join(words)}" if words else self.path


def _seconds(value: float) -> str:
    """To the microsecond, without zeros at its end."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
