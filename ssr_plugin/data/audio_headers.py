"""Audio files seen from outside: which files are audio, and how long they are."""

import soundfile

#: Endings of the file types that this libsndfile reads; RAW has no header to read.
AUDIO_SUFFIXES = frozenset(
    {f".{name.lower()}" for name in soundfile.available_formats() if name != "RAW"}
    | {".aif", ".aifc", ".oga", ".opus", ".snd", ".sph"}
)

# libsndfile's count for a stream whose header leaves the length open (2^63 - 1).
_OPEN_LENGTH = 1 << 62


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
    """Length of an audio file in seconds, from its header.

    Arguments
    ---------
    path : str
        A file of any type that libsndfile reads.

    Returns
    -------
    float
        Seconds; 0 for a well-formed file without a sample.

    Raises
    ------
    soundfile.LibsndfileError
        If it is no audio.
    ValueError
        If its header does not tell.

    Example
    -------
    >>> path = str(getfixture("tmp_path") / "a.wav")
    >>> soundfile.write(path, [0.0] * 8000, 16000)
    >>> audio_duration(path)
    0.5
    """
    info = soundfile.info(path)
    if info.frames >= _OPEN_LENGTH:  # FLAC from a pipe, which soundfile cannot decode
        raise ValueError(f"the header of {path} leaves the length open; encode it anew")
    return info.frames / info.samplerate
