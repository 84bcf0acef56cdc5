"""Recordings as a command line names them, and their transcripts beside them."""

import glob
import pathlib
import sys

from ssr_plugin.data.audio_headers import AUDIO_SUFFIXES, audio_files

#: What stands for the audio file whose bytes come in on standard input.
STDIN = pathlib.Path("-")


def find_audio(names):
    """The audio files that are meant, in order.

    Arguments
    ---------
    names : list of str
        Files, whatever their ending; folders, for the audio files anywhere below;
        globs, for those that they match; or "-", for standard input.

    Returns
    -------
    list of pathlib.Path
        Among them :data:`STDIN`.

    Raises
    ------
    ValueError
        If a folder or a glob holds none, or standard input is to be read twice.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("b.flac", "a.wav", "a.txt"):
    ...     (folder / name).touch()
    >>> [path.name for path in find_audio([str(folder), "other.mp3"])]
    ['a.wav', 'b.flac', 'other.mp3']
    """
    found = []
    for name in names:
        path = pathlib.Path(name)
        if path == STDIN:
            own = [path]
        elif path.is_dir():
            folders = [path, *(x for x in path.rglob("*") if x.is_dir())]
            own = sorted(x for folder in folders for x in audio_files(folder))
        elif any(c in name for c in "*?[") and not path.exists():
            paths = map(pathlib.Path, glob.glob(name, recursive=True))
            own = sorted(x for x in paths if x.suffix.lower() in AUDIO_SUFFIXES)
        else:
            own = [path]
        if not own:
            raise ValueError(f"there are no audio files in '{name}'")
        found += own
    if found.count(STDIN) > 1:
        raise ValueError("- stands for standard input, which can be read only once")
    return found


def read_stdin():
    """The audio file on standard input, to its end.

    Returns
    -------
    bytes
    """
    return sys.stdin.buffer.read()


def read_transcript(path):
    """The transcript that lies beside a recording.

    Arguments
    ---------
    path : pathlib.Path
        Of the audio. Its transcript is in a file of the same name that ends in .txt or
        .lab, or in a line "id text" of a file ``*.trans.txt`` (LibriSpeech).

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is none.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "1-2.trans.txt").write_text("1-2-0 GOOD MORNING\\n1-2-1 YES\\n")
    >>> read_transcript(folder / "1-2-1.flac")
    'YES'
    """
    if path == STDIN:
        raise ValueError("standard input has no transcript beside it: give --text")
    own = [path.with_suffix(suffix) for suffix in (".txt", ".lab")]
    for place in own:
        if place.is_file():
            return " ".join(place.read_text(encoding="utf-8").split())
    for place in sorted(path.parent.glob("*.trans.txt")):
        for line in place.read_text(encoding="utf-8").splitlines():
            id, _, text = line.partition(" ")
            if id == path.stem:
                return text
    raise ValueError(
        f"no transcript: give --text, or put it into {own[0].name} or {own[1].name} "
        f"beside it"
    )
