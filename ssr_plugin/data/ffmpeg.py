"""Audio that libsndfile does not read (m4a, webm, mp4, ...), by the program ffmpeg.

The program is run without a shell, with nothing on its standard input, and may open
files alone: no network, and no format that names other files or addresses (playlists).
"""

import contextlib
import os
import re
import shutil
import struct
import subprocess
import tempfile

import numpy as np

#: Endings of the file types that libsndfile does not read and ffmpeg does.
FFMPEG_SUFFIXES = frozenset(
    {".aac", ".ac3", ".amr", ".ape", ".dts", ".eac3", ".m4a", ".m4b", ".mka", ".mp2"}
    | {".mpc", ".tta", ".wma", ".wv"}
    | {".3g2", ".3gp", ".asf", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"}
    | {".mpg", ".webm", ".wmv"}
)
#: What to install if it is needed and missing.
INSTALL = "pip install ssr-plugin[ffmpeg], or install the program ffmpeg"

# The formats, as ffmpeg names them; each keeps its sound in the file itself.
_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,ogg,tta,w64,wav,wv"
)
# Of an AU file: magic number, where samples begin, bytes of them, type, rate, channels.
_AU_HEADER = struct.Struct(">4s5I")
# So many frames are read at once, and so much of what the program complains of.
_CHUNK, _MOST_ERRORS = 1 << 18, 1 << 16


def find_ffmpeg():
    """The program: the system's, or else that of the package ``imageio-ffmpeg``.

    Returns
    -------
    str or None
        Its path; None if there is none.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        try:
            import imageio_ffmpeg

            program = imageio_ffmpeg.get_ffmpeg_exe()
        except (ImportError, RuntimeError):
            return None
    return program


class FFmpegError(ValueError):
    """What the program says of a file that it cannot read to its end."""


class FFmpegFile:
    """A file's first sound track, read as it is decoded: memory does not grow with it.

    It is read as a ``soundfile.SoundFile`` is, but only forwards. When it is closed
    before its end, the program is stopped.

    Arguments
    ---------
    program : str
        Of :func:`find_ffmpeg`.
    path : path-like
    count : bool
        Whether all of it is decoded at once, only to count its frames.

    Attributes
    ----------
    samplerate : int
        Hz.
    channels : int
    frames : int
        That were decoded so far: all of them once nothing more is read.

    Raises
    ------
    FFmpegError
        With the program's reason, if it cannot read the file.
    OSError
        If the program cannot be run.
    """

    #: The names that libsndfile has for what the program writes.
    format, subtype = "AU", "FLOAT"
    extra_info = ""

    def __init__(self, program, path, count=False):
        # Big-endian, as AU files are. To count samples, one byte for each is enough.
        codec, size = ("pcm_s8", 1) if count else ("pcm_f32be", 4)
        # A damaged file is an error; else it would give noise or a gap.
        line = [program, "-v", "error", "-xerror", "-nostdin"]
        line += ["-protocol_whitelist", "file,pipe", "-format_whitelist", _FORMATS]
        # "file:": a name may look like an option or an address.
        line += ["-i", f"file:{os.fspath(path)}", "-map", "0:a:0"]
        line += ["-f", "au", "-c:a", codec, "pipe:1"]
        self.frames = 0
        with contextlib.ExitStack() as stack:
            # A file: nobody empties a pipe while samples are read.
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
            self._process = stack.enter_context(
                subprocess.Popen(line, **pipes, stderr=self._errors)
            )
            stack.callback(self._process.kill)
            self.samplerate, self.channels = self._read_header()
            self._frame_bytes = size * self.channels
            while count and self._read_bytes(_CHUNK * self._frame_bytes):
                pass
            self._stack = stack.pop_all()

    def _read_header(self):
        # The length in it is left open.
        header = self._process.stdout.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            self._check_end()
            raise FFmpegError("it holds no sound")
        _, offset, _, _, rate, channels = _AU_HEADER.unpack(header)
        self._process.stdout.read(offset - _AU_HEADER.size)
        return rate, channels

    def _read_bytes(self, size):
        content = self._process.stdout.read(size)
        if len(content) < size:
            self._check_end()
        self.frames += len(content) // self._frame_bytes
        return content

    def _check_end(self):
        if self._process.wait():
            self._errors.seek(0)
            text = self._errors.read(_MOST_ERRORS).decode(errors="replace")
            raise FFmpegError(_first_error(text))

    def read(self, frames=-1, dtype="float32", always_2d=True):
        """The next samples, [S, channels] float32; fewer than asked at the end."""
        blocks = []
        while frames:
            count = _CHUNK if frames < 0 else min(frames, _CHUNK)
            content = self._read_bytes(count * self._frame_bytes)
            count = len(content) // self._frame_bytes
            if not count:
                break
            frames -= count if frames > 0 else 0
            samples = np.frombuffer(content, ">f4", count * self.channels)
            blocks.append(samples.astype(dtype).reshape(count, self.channels))
        if len(blocks) == 1:
            return blocks[0]
        return np.concatenate([np.zeros((0, self.channels), dtype), *blocks])

    def seek(self, frames):
        """Skips samples, up to this one, counted from the start of the file.

        Returns
        -------
        int
            Where it is: less than ``frames`` if the file ends before.
        """
        while (left := frames - self.frames) > 0 and len(self.read(min(left, _CHUNK))):
            pass
        return self.frames

    def close(self):
        """Stops the program, if it is still at work."""
        self._stack.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def _first_error(stderr):
    """The first line of its error output, which is nearest to the cause.

    Example
    -------
    >>> _first_error("[in#0 @ 0x5638361d0200] moov atom not found\\nError opening")
    'moov atom not found'
    """
    if "matches no streams" in stderr:
        return "it holds no sound"
    return re.sub(r"^(\[[^\]]*\] *)+", "", stderr.strip()).partition("\n")[0]
