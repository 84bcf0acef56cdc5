"""Which files are audio, and how long they are."""

import soundfile

from ssr_plugin.data.ffmpeg import FFMPEG_SUFFIXES
from ssr_plugin.data.samples import (
    AudioError,
    decode,
    likely_frames,
    open_audio,
    what_is_missing,
)

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
    An MP3 is decoded, too, because its header is a guess, and so is any file that is
    small for what its header promises.

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
        If it is missing, unreadable or cut short
        (:func:`ssr_plugin.data.samples.what_is_missing`).

    Example
    -------
    >>> path = str(getfixture("tmp_path") / "a.wav")
    >>> soundfile.write(path, [0.0] * 8000, 16000)
    >>> audio_duration(path)
    0.5
    """
    with open_audio(path, header_only=True) as file:
        num_frames = file.frames
        if file.format == "MP3" or num_frames > likely_frames(file, path):
            num_frames = sum(map(len, decode(file, path)))
        missing = what_is_missing(file, path, num_frames)
        if missing:
            raise AudioError(f"{path} {missing}: replace the file, or leave it out")
        return num_frames / file.samplerate
