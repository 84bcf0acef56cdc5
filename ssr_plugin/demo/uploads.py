"""What people send to the page, and how much of it is taken."""

import dataclasses
import math
import os
import pathlib

import numpy as np
import numpy.typing as npt

from ssr_plugin.data.audio import AudioError
from ssr_plugin.data.samples import open_audio


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much one person may ask of the page.

    Arguments
    ---------
    max_seconds : float
        Longest recording, s. No more than that is decoded, whatever a file promises.
    max_megabytes : float
        Largest file, MB.
    max_characters : int
        Longest transcript; a question may be half as long.
    max_new_tokens : int
        Most tokens that the LLM writes for one question.
    max_waiting : int
        Most people who wait for the model; more are told to come back.

    Raises
    ------
    ValueError
        If one is not above 0.

    Example
    -------
    >>> Limits(max_seconds=60).max_megabytes
    20
    >>> Limits(max_seconds=0)
    Traceback (most recent call last):
        ...
    ValueError: max_seconds is 0: it must be above 0
    """

    max_seconds: float = 30
    max_megabytes: float = 20
    max_characters: int = 2000
    max_new_tokens: int = 128
    max_waiting: int = 16

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} is {value:g}: it must be above 0")

    @property
    def max_bytes(self) -> int:
        """Largest file, bytes."""
        return int(self.max_megabytes * 1e6)

    def check_text(self, text: str, what: str, share: float = 1.0) -> str:
        """A text without blanks around it, if it is not too long.

        Arguments
        ---------
        text : str
        what : str
            What messages call it.
        share : float
            Of :attr:`max_characters`.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            If it is too long.

        Example
        -------
        >>> Limits(max_characters=4).check_text(" cat ", "the transcript")
        'cat'
        >>> Limits(max_characters=4).check_text("the cat", "the transcript")
        Traceback (most recent call last):
            ...
        ValueError: the transcript has 7 characters; this page takes 4
        """
        text, most = text.strip(), int(share * self.max_characters)
        if len(text) > most:
            raise ValueError(
                f"{what} has {len(text)} characters; this page takes {most}"
            )
        return text


def is_inside(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Whether a path, with all links followed, lies in a folder.

    Example
    -------
    >>> is_inside("/tmp/up/a.wav", "/tmp/up"), is_inside("/tmp/up/../b.wav", "/tmp/up")
    (True, False)
    """
    try:
        real = pathlib.Path(path).resolve()
    except (OSError, ValueError, RuntimeError):
        # A NUL byte, or links in a circle.
        return False
    return real.is_relative_to(pathlib.Path(folder).resolve())


def read_upload(
    path: str | os.PathLike[str], limits: Limits, folder: str | os.PathLike[str]
) -> tuple[npt.NDArray[np.float32], int]:
    """The samples of a recording that somebody sent.

    Arguments
    ---------
    path : path-like
    limits : Limits
    folder : path-like
        Where uploads lie: nothing else is opened.

    Returns
    -------
    samples : numpy.ndarray
        [S] float32 in -1..1, the mean of the channels.
    rate : int
        Hz.

    Raises
    ------
    ssr_plugin.data.audio.AudioError
        If it is none of the uploads, too large, too long, or no audio. The message
        names no folder.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", [0.1] * 16000, 8000)
    >>> samples, rate = read_upload(folder / "a.wav", Limits(), folder)
    >>> len(samples), rate
    (16000, 8000)
    >>> read_upload(folder / "a.wav", Limits(max_seconds=1), folder)
    Traceback (most recent call last):
        ...
    ssr_plugin.data.samples.AudioError: the recording is longer than 1 s, which is the \
most that this page takes: cut it, and try again
    """
    path = pathlib.Path(path)
    if not is_inside(path, folder) or not path.is_file():
        raise AudioError("the recording is not here any more: send it again")
    if path.stat().st_size > limits.max_bytes:
        raise AudioError(
            f"the file is larger than {limits.max_megabytes:g} MB, which is the most "
            f"that this page takes"
        )
    try:
        return _read(path, limits.max_seconds)
    except AudioError as error:
        # Messages name files by their paths, which are nobody's business.
        raise AudioError(str(error).replace(str(path), path.name)) from error


def _read(
    path: pathlib.Path, max_seconds: float
) -> tuple[npt.NDArray[np.float32], int]:
    # No more is decoded than is read, by ffmpeg neither.
    with open_audio(path) as file:
        rate = file.samplerate
        most = math.floor(max_seconds * rate)
        block = file.read(most + 1, dtype="float32", always_2d=True)
    if len(block) > most:
        raise AudioError(
            f"the recording is longer than {max_seconds:g} s, which is the most that "
            f"this page takes: cut it, and try again"
        )
    samples = block.mean(axis=1)
    if not len(samples):
        raise AudioError(f"{path} holds no samples")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path} holds samples that are no numbers")
    return samples, rate
