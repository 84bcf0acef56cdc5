"""Recordings as a command line names them, and their transcripts beside them."""

import glob
import pathlib
import sys

from ssr_plugin.data.audio_headers import AUDIO_SUFFIXES, audio_files

#: Stands for the audio file on standard input.
STDIN = pathlib.Path("-")


def find_audio(names):
    """The audio files that names stand for, in order.

    Arguments
    ---------
    names : list of str
        Files with any suffix; folders, for all audio files in them and in subfolders;
        globs, for the audio files that match; or "-", for standard input.

    Returns
    -------
    list of pathlib.Path
        May contain :data:`STDIN`.

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
    recordings = []
    for name in names:
        path = pathlib.Path(name)
        if path == STDIN:
            matches = [path]
        elif path.is_dir():
            folders = [path, *(x for x in path.rglob("*") if x.is_dir())]
            matches = sorted(x for folder in folders for x in audio_files(folder))
        elif any(c in name for c in "*?[") and not path.exists():
            paths = map(pathlib.Path, glob.glob(name, recursive=True))
            matches = sorted(x for x in paths if x.suffix.lower() in AUDIO_SUFFIXES)
        else:
            matches = [path]
        if not matches:
            raise ValueError(f"there are no audio files in '{name}'")
        recordings += matches
    if recordings.count(STDIN) > 1:
        raise ValueError("- stands for standard input, which can be read only once")
    return recordings


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
    candidates = [path.with_suffix(suffix) for suffix in (".txt", ".lab")]
    for transcript_file in candidates:
        if transcript_file.is_file():
            return " ".join(transcript_file.read_text(encoding="utf-8").split())
    for transcript_file in sorted(path.parent.glob("*.trans.txt")):
        for line in transcript_file.read_text(encoding="utf-8").splitlines():
            id, _, text = line.partition(" ")
            if id == path.stem:
                return text
    raise ValueError(
        f"no transcript: give --text, or put it into {candidates[0].name} or "
        f"{candidates[1].name} beside it"
    )
