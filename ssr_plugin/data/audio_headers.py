"""Which files are audio, and how long they are."""

import soundfile

from ssr_plugin.data.ffmpeg import FFMPEG_SUFFIXES
from ssr_plugin.data.samples import open_audio

#: Endings of the file types that this libsndfile or ffmpeg reads. Those of ffmpeg are
#: here even if it is not installed, so that such a file gives an error and is not
#: skipped in silence. RAW has no header.
AUDIO_SUFFIXES = FFMPEG_SUFFIXES.union(
    {f".{name.lower()}" for name in soundfile.available_formats() if name != "RAW"},
    {".aif", ".aifc", ".oga", ".opus", ".snd", ".sph"},
)


def audio_files(folder):
    """The audio files that lie directly in a folder, sorted by name.

    Arguments
    ---------
    folder : pathlib.Path
        Where to look; sub-folders are left alone.

    Returns
    -------
    list of pathlib.Path

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("b.flac", "a.WAV", "a.txt", ".a.wav"):
    ...     (folder / name).touch()
    >>> [path.name for path in audio_files(folder)]
    ['a.WAV', 'b.flac']
    """
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
    )


def audio_duration(path):
    """Length of an audio file in seconds.

    It is read in the header where libsndfile reads the file; else ffmpeg decodes it.

    Arguments
    ---------
    path : str

    Returns
    -------
    float
        Seconds; 0 for a well-formed file without a sample.

    Raises
    ------
    ssr_plugin.data.samples.AudioError
        If it is missing or unreadable.

    Example
    -------
    >>> path = str(getfixture("tmp_path") / "a.wav")
    >>> soundfile.write(path, [0.0] * 8000, 16000)
    >>> audio_duration(path)
    0.5
    """
    with open_audio(path, header_only=True) as file:
        return file.frames / file.samplerate
