"""Audio that libsndfile does not read (m4a, webm, mp4, ...), by the program ffmpeg.

The program is run without a shell, with nothing on its standard input, and may open
files alone: no network, and no format that names other files or addresses (playlists).
"""

import io
import os
import re
import shutil
import subprocess

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


def convert(program, path, codec="pcm_f32be", seconds=None):
    """A file's first sound track as a file that libsndfile reads.

    Arguments
    ---------
    program : str
        Of :func:`find_ffmpeg`.
    path : path-like
    codec : str
        How samples are written, in ffmpeg's words; big-endian, as AU files are.
    seconds : float or None
        Only so much of it, from its start; None for all.

    Returns
    -------
    io.BytesIO
        An AU file. Its header leaves the length open; libsndfile finds it.

    Raises
    ------
    ValueError
        With the program's reason, if it cannot read the file to its end.
    OSError
        If the program cannot be run.
    """
    # A damaged file is an error; else it would give noise or a gap.
    line = [program, "-v", "error", "-xerror", "-nostdin"]
    line += ["-protocol_whitelist", "file,pipe", "-format_whitelist", _FORMATS]
    # "file:": a name may look like an option or an address.
    line += ["-i", f"file:{os.fspath(path)}", "-map", "0:a:0"]
    line += [] if seconds is None else ["-t", str(seconds)]
    line += ["-f", "au", "-c:a", codec, "pipe:1"]
    process = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True)
    if process.returncode:
        raise ValueError(_first_error(process.stderr.decode(errors="replace")))
    return io.BytesIO(process.stdout)


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
