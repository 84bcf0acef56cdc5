"""What an audio file holds, whatever its type: read without torch."""

import contextlib
import dataclasses
import io
import logging
import os
import pathlib
import re
import tempfile

import numpy as np
import soundfile

from ssr_plugin.data.ffmpeg import (
    FFMPEG_SUFFIXES,
    INSTALL,
    FFmpegError,
    FFmpegFile,
    find_ffmpeg,
)
from ssr_plugin.data.resampling import check_rate
from ssr_plugin.media_fragments import MediaFragment

logger = logging.getLogger(__name__)

#: How much shorter a recording may be than its header says, s: encoders add silence,
#: and not all headers tell of it.
LENGTH_TOLERANCE = 0.2
#: Fewest bytes in a second of audio. A header that promises more is not believed.
LEAST_BYTE_RATE = 2000
# Of such a file samples are read in blocks of so many frames: it costs no memory.
_BLOCK = 1 << 20
# What libsndfile says of a header that promises more bytes than there are.
_MISSING_BYTES = re.compile(
    r"(?:data|SSND|Data Size|Riff size|riff) *: (\d+) \(should be (\d+)\)"
)
# Programs that write to a pipe put this or more for a size they do not know.
_OPEN_SIZE = 0x7F000000
# The last page of an Ogg file begins in so many bytes at its end.
_OGG_PAGE = 65307
# libsndfile counts this many frames or more (2^63 - 1) where the header leaves the
# length open; it cannot decode such a stream (FLAC from a pipe).
_OPEN_LENGTH = 1 << 62


class AudioError(ValueError):
    """A file without usable audio; the message names it and says what to do."""


@dataclasses.dataclass(frozen=True)
class StoredAudio(os.PathLike):
    """An audio file inside a larger file, such as a shard; read where paths are.

    As a path it is the larger file's: if that changes, so did the audio.

    Arguments
    ---------
    path : str
        The larger file.
    offset, size : int
        Where in it the audio is, in bytes.
    name : str
        What messages call the audio.

    Example
    -------
    >>> path = getfixture("tmp_path") / "two"
    >>> _ = path.write_bytes(b"onetwo")
    >>> audio = StoredAudio(str(path), 3, 3, "2.flac")
    >>> audio.read_bytes(), str(audio)
    (b'two', '...two: 2.flac')
    """

    path: str
    offset: int
    size: int
    name: str

    def __fspath__(self):
        return self.path

    def __str__(self):
        return f"{self.path}: {self.name}"

    def last(self, size):
        """The same, but for all before its last bytes."""
        skipped = max(self.size - size, 0)
        return dataclasses.replace(
            self, offset=self.offset + skipped, size=self.size - skipped
        )

    def read_bytes(self):
        """The bytes of the audio file.

        Raises
        ------
        AudioError
            If they cannot be read.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except OSError as error:
            raise AudioError(f"cannot read {self} ({error})") from error
        if len(content) < self.size:
            raise AudioError(f"{self.path} is cut short before the end of {self.name}")
        return content


class AudioPart:
    """Some time of an open file, or one of its channels: read as a file is.

    Arguments
    ---------
    file : soundfile.SoundFile or ssr_plugin.data.ffmpeg.FFmpegFile
        The whole.
    fragment : ssr_plugin.media_fragments.MediaFragment
        What of it.
    header_only : bool
        Of :func:`open_audio`.

    Raises
    ------
    AudioError
        If the file ends before the part does.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [[0.1, 0.2]] * 8000, 8000)
    >>> with soundfile.SoundFile(path) as file:
    ...     part = AudioPart(file, MediaFragment(str(path), 0.25, 0.5, channel=1))
    ...     part.frames, part.read(dtype="float32").shape
    (2000, (2000, 1))
    """

    format = "PART"
    # What libsndfile says of the whole.
    extra_info = ""

    def __init__(self, file, fragment, header_only=False):
        self._file = file
        self._channel = fragment.channel
        self.samplerate = file.samplerate
        self.subtype = file.subtype
        self.channels = file.channels if fragment.channel is None else 1
        if fragment.channel is not None and fragment.channel >= file.channels:
            raise AudioError(
                f"{fragment} is of channel {fragment.channel}, counted from 0, and the "
                f"file has {file.channels}: correct it, or leave it out"
            )
        # How long the whole is shows when it has been decoded.
        is_open = isinstance(file, FFmpegFile) and not header_only
        self._first, self._last = 0, None if is_open else file.frames
        if fragment.start is not None:
            self._first = round(fragment.start * file.samplerate)
            self._last = round(fragment.end * file.samplerate)
            # The length of an MP3 is a guess.
            if file.format != "MP3" and not is_open:
                missing = (self._last - file.frames) / file.samplerate
                if missing > LENGTH_TOLERANCE or self._first > file.frames:
                    raise AudioError(
                        f"{fragment} is not in the file, which is "
                        f"{file.frames / file.samplerate:.2f} s long: correct the "
                        f"times, or leave it out"
                    )
                self._last = min(self._last, file.frames)
        self._position = None

    @property
    def frames(self):
        """Its length; where that is not known, what was decoded so far."""
        last = self._file.frames if self._last is None else self._last
        return max(last - self._first, 0)

    def read(self, frames=-1, dtype="float32", always_2d=True):
        """The next samples, [S, channels]."""
        if self._position is None:
            self._file.seek(self._first)
            self._position = 0
        if self._last is not None:
            left = self.frames - self._position
            frames = left if frames < 0 else min(frames, left)
        block = self._file.read(frames, dtype=dtype, always_2d=True)
        self._position += len(block)
        if self._channel is not None:
            block = block[:, [self._channel]]
        return block


@contextlib.contextmanager
def open_audio(source, name=None, header_only=False):
    """Opens an audio file: by libsndfile, or else by ffmpeg where that is installed.

    Arguments
    ---------
    source : path-like or bytes
        A file, a part of one (:mod:`ssr_plugin.media_fragments`), or the bytes of one.
    name : str or None
        What messages call it; its path by default.
    header_only : bool
        Whether only its rate, channels and length are wanted, not its samples.

    Yields
    ------
    soundfile.SoundFile, ssr_plugin.data.ffmpeg.FFmpegFile or AudioPart
        With a ``frames`` that is its length; of what only ffmpeg can read, and is read
        as it is decoded, what was decoded so far.

    Raises
    ------
    AudioError
        If it is missing or unreadable.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [0.1] * 8000, 16000)
    >>> with open_audio(path) as file:
    ...     file.samplerate, file.frames
    (16000, 8000)
    """
    name = _name(source, name)
    source, fragment = _resolve(source)
    if not isinstance(source, bytes) and not pathlib.Path(source).is_file():
        raise AudioError(f"there is no audio file {name}")
    if isinstance(source, StoredAudio):
        source = source.read_bytes()
    try:
        with _open(source, name, header_only) as file:
            _check_rate(file.samplerate, name)
            yield AudioPart(file, fragment, header_only) if fragment.is_cut else file
    except (soundfile.SoundFileError, FFmpegError, OSError) as error:
        raise _unreadable(name, _error_text(error)) from error


def _resolve(source):
    """Where the bytes of an audio file are, and which part of its audio is meant."""
    if isinstance(source, bytes | StoredAudio):
        return source, MediaFragment("")
    fragment = MediaFragment.parse(source)
    if fragment.offset is not None:
        stored = StoredAudio(
            fragment.path, fragment.offset, fragment.size, os.fspath(source)
        )
        return stored, fragment
    return fragment.path if fragment.is_part else source, fragment


def _check_rate(rate, name):
    try:
        check_rate(rate)
    except ValueError as error:
        raise AudioError(
            f"{name} has {error}: its header is damaged; replace the file, or leave it "
            f"out"
        ) from error


@contextlib.contextmanager
def _open(source, name, header_only):
    try:
        file = soundfile.SoundFile(_openable(source))
        reason = None
        if file.frames >= _OPEN_LENGTH:
            file.close()
            reason = "the header leaves the length open"
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: .raw
        reason = _error_text(error)
    if reason is None:
        with file:
            yield file
        return
    program = find_ffmpeg()
    if program is None:
        if pathlib.Path(name).suffix.lower() in FFMPEG_SUFFIXES:
            raise AudioError(f"cannot read {name} without ffmpeg: {INSTALL}")
        raise _unreadable(name, reason, f"; if other programs play it, {INSTALL}")
    with _as_file(source) as path:
        try:
            file = FFmpegFile(program, path, count=header_only)
        except FFmpegError as error:
            raise _unreadable(name, f"{reason}; ffmpeg: {error}") from error
        with file:
            yield file


def _openable(source):
    if isinstance(source, bytes):
        return io.BytesIO(source)
    # soundfile would encode a name itself, and fail where it is not UTF-8.
    return source if os.name == "nt" else os.fsencode(source)


def _name(source, name):
    if name is None and isinstance(source, bytes):
        return "audio in memory"
    if name is None and isinstance(source, StoredAudio):
        return str(source)
    return name or os.fspath(source)


def _error_text(error):
    if isinstance(error, soundfile.LibsndfileError):
        return f"libsndfile: {error.error_string.rstrip('.')}"
    if isinstance(error, FFmpegError):
        return f"ffmpeg: {error}"
    return str(error)


def _unreadable(name, reason, hint=""):
    return AudioError(
        f"cannot read {name} ({reason}): replace the file, or leave it out{hint}"
    )


@contextlib.contextmanager
def _as_file(source):
    """A file with these bytes: in a stream ffmpeg cannot read an index at its end."""
    if not isinstance(source, bytes):
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "audio"
        path.write_bytes(source)
        yield path


def likely_frames(file, source):
    """How many frames an open file may hold, by its size.

    Arguments
    ---------
    file : soundfile.SoundFile
        Of :func:`open_audio`.
    source : path-like or bytes
        What was opened.

    Returns
    -------
    int
    """
    if isinstance(file, AudioPart | FFmpegFile):
        return file.frames
    source, _ = _resolve(source)
    if isinstance(source, bytes):
        size = len(source)
    elif isinstance(source, StoredAudio):
        size = source.size
    else:
        size = os.path.getsize(source)
    return int(size / LEAST_BYTE_RATE * file.samplerate)


def decode(file, source, size=None):
    """Decodes an open file to its true end, whatever its header says.

    Arguments
    ---------
    file : soundfile.SoundFile
        Of :func:`open_audio`.
    source : path-like or bytes
        What was opened.
    size : int or None
        Frames at once. None: all, unless the header promises much too much, or only
        ffmpeg can read it.

    Yields
    ------
    numpy.ndarray
        [S, channels] float32
    """
    # Between two blocks there is a seek, after which MP3s differ in the last bit.
    size = size or max(likely_frames(file, source), _BLOCK)
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        yield block


def what_is_missing(file, source, num_frames):
    """What an open file lacks of what its header promises.

    A recording is short if it lacks more than :data:`LENGTH_TOLERANCE`, or if an Ogg
    file ends inside a page. A size that a program left open promises nothing.

    Arguments
    ---------
    file : soundfile.SoundFile
        Of :func:`open_audio`.
    source : path-like or bytes
        What was opened.
    num_frames : int
        Frames that are there.

    Returns
    -------
    str or None
        In words; None if it is whole.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.1] * 16000, 16000)
    >>> content = path.read_bytes()[:16044]
    >>> with open_audio(content) as file:
    ...     what_is_missing(file, content, file.frames)
    'is cut short, or its header is wrong: 1.00 s by its header, 0.50 s are there'
    """
    seconds = num_frames / file.samplerate
    promised = file.frames / file.samplerate
    for said, there in _MISSING_BYTES.findall(file.extra_info):
        if 0 < int(there) < int(said) < _OPEN_SIZE:
            promised = max(promised, seconds * int(said) / int(there))
    if promised > seconds + LENGTH_TOLERANCE:
        return (
            f"is cut short, or its header is wrong: {promised:.2f} s by its header, "
            f"{seconds:.2f} s are there"
        )
    if file.format == "OGG" and _ends_inside_a_page(source):
        return f"is cut short: it ends inside a page, after {seconds:.2f} s"
    return None


def _ends_inside_a_page(source):
    """Whether the last page of an Ogg file is not whole."""
    source, _ = _resolve(source)
    if isinstance(source, bytes):
        tail = source[-_OGG_PAGE:]
    elif isinstance(source, StoredAudio):
        tail = source.last(_OGG_PAGE).read_bytes()
    else:
        with open(source, "rb") as file:
            file.seek(max(os.path.getsize(source) - _OGG_PAGE, 0))
            tail = file.read()
    # RFC 3533: 27 bytes, the last of which counts segments; then their lengths.
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    if len(page) < 27:
        return True
    lengths = page[27 : 27 + page[26]]
    return len(page) < 27 + page[26] + sum(lengths)


def mono_blocks(file, source, name=None, whole=False, size=None):
    """The samples of an open file, its channels averaged, to its true end.

    Arguments
    ---------
    file : soundfile.SoundFile
        Of :func:`open_audio`.
    source : path-like or bytes
        What was opened.
    name, whole
        Of :func:`read_mono`.
    size : int or None
        Of :func:`decode`.

    Yields
    ------
    numpy.ndarray
        [S] float32

    Raises
    ------
    AudioError
        As :func:`read_mono`; what is missing shows at the end.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [[0.25, 0.75]] * 8000, 16000)
    >>> with open_audio(path) as file:
    ...     [len(block) for block in mono_blocks(file, path, size=5000)]
    [5000, 3000]
    """
    name = _name(source, name)
    num_frames = 0
    for block in decode(file, source, size):
        samples = block.mean(axis=1)
        if not np.isfinite(samples).all():
            raise AudioError(f"{name} holds samples that are no numbers: replace it")
        num_frames += len(samples)
        yield samples
    if not num_frames:
        raise AudioError(f"{name} holds no samples: leave it out")
    missing = what_is_missing(file, source, num_frames)
    if missing and whole:
        raise AudioError(f"{name} {missing}: replace the file, or leave it out")
    if missing:
        logger.warning("%s %s; what is there is used", name, missing)


def read_mono(source, name=None, whole=False):
    """Reads the samples of an audio file and averages its channels.

    Arguments
    ---------
    source : path-like or bytes
        Of :func:`open_audio`.
    name : str or None
    whole : bool
        Whether a recording that is cut short (:func:`what_is_missing`) is refused, as
        it must be where a transcript tells what is said in it. Else what is there is
        read, and the log warns.

    Returns
    -------
    samples : numpy.ndarray
        [S] float32 in -1..1.
    rate : int
        Hz.

    Raises
    ------
    AudioError
        If it is missing, unreadable or empty, or holds samples that are no numbers; if
        it must be whole and is not.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [[0.25, 0.75]] * 8000, 16000)
    >>> samples, rate = read_mono(path.read_bytes())
    >>> samples.shape, float(samples[0]), rate
    ((8000,), 0.5, 16000)
    """
    with open_audio(source, name) as file:
        samples = np.concatenate([*mono_blocks(file, source, name, whole)])
        return samples, file.samplerate


# Endings of files by what libsndfile calls their type.
_ENDINGS = {
    "OGG": ".ogg",
    "FLAC": ".flac",
    "WAV": ".wav",
    "MP3": ".mp3",
    "MPEG": ".mp3",
}


def encoded_audio(path):
    """An audio file as it is stored; cut audio as FLAC.

    Arguments
    ---------
    path : path-like
        A file, or a part of one (:mod:`ssr_plugin.media_fragments`).

    Returns
    -------
    content : bytes
        As it is, where it is a whole file, or the bytes of one in a larger file. Some
        time or one channel is encoded anew, with nothing lost but what goes beyond 16
        bits (24, where the file has them).
    suffix : str
        The ending that a file of this type has: ".flac".

    Raises
    ------
    AudioError
        If it cannot be read.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, [0.25] * 8000, 8000)
    >>> encoded_audio(path)[1], encoded_audio(f"{path}#t=0.5,0.75")[1]
    ('.wav', '.flac')
    """
    fragment = MediaFragment.parse(path)
    try:
        if not fragment.is_part:
            path = pathlib.Path(path)
            return path.read_bytes(), path.suffix.lower()
        source, _ = _resolve(path)
        if not fragment.is_cut:
            with open_audio(path, header_only=True) as file:
                ending = _ENDINGS.get(file.format, f".{file.format.lower()}")
            return source.read_bytes(), ending
    except OSError as error:
        raise AudioError(f"cannot read {path} ({error})") from error
    with open_audio(path) as file:
        samples, rate = np.concatenate([*decode(file, path)]), file.samplerate
        wide = file.subtype in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")
    content = io.BytesIO()
    soundfile.write(
        content, samples, rate, format="FLAC", subtype="PCM_24" if wide else "PCM_16"
    )
    return content.getvalue(), ".flac"
