"""Frames in 8 bits: each channel of an utterance is rounded by a scale of its own.

Encoders have channels that are many times as large as others. Of whisper-base, one
scale for each frame has three times the error (``benchmarks/frame_types.py``).
"""

import numpy as np
import numpy.typing as npt

#: Types in which frames are kept on disk: the values of ``cache_dtype``.
KINDS = ("float16", "int8")
_MOST = 127


def check_cache_dtype(kind: str) -> None:
    """Refuses a type in which frames are not kept.

    Arguments
    ---------
    kind : str

    Raises
    ------
    ValueError
        If it is none of :data:`KINDS`.

    Example
    -------
    >>> check_cache_dtype("int4")
    Traceback (most recent call last):
        ...
    ValueError: cache_dtype: 'int4' is unknown; it may be float16, int8
    """
    if kind not in KINDS:
        raise ValueError(
            f"cache_dtype: '{kind}' is unknown; it may be {', '.join(KINDS)}"
        )


def round_frames(
    frames: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """Frames as whole numbers, and what to multiply them by.

    Arguments
    ---------
    frames : numpy.ndarray
        [T, D], finite.

    Returns
    -------
    values : numpy.ndarray
        [T, D] int8, -127 to 127.
    scale : numpy.ndarray
        [D] float16.

    Example
    -------
    >>> values, scale = round_frames(np.array([[1.0, -200.0], [-0.25, 100.0]]))
    >>> values.tolist()
    [[127, -127], [-32, 63]]
    >>> restore_frames(values, scale).tolist()
    [[1.0, -200.0], [-0.251953125, 99.25]]
    """
    frames = frames.astype(np.float32)
    largest = np.abs(frames).max(axis=0, initial=0.0)
    scale = (largest / _MOST).astype(np.float16)
    # What is too small for a scale becomes 0.
    divisor = np.where(scale > 0, scale.astype(np.float32), np.inf)
    values = np.rint(frames / divisor).clip(-_MOST, _MOST)
    return values.astype(np.int8), scale


def restore_frames(
    values: npt.NDArray[np.int8], scale: npt.NDArray[np.float16]
) -> npt.NDArray[np.float16]:
    """The frames that :func:`round_frames` rounded.

    Arguments
    ---------
    values : numpy.ndarray
        [T, D] int8.
    scale : numpy.ndarray
        [D] float16.

    Returns
    -------
    numpy.ndarray
        [T, D] float16; each off by half of its channel's scale at most, and by what
        float16 rounds.

    Raises
    ------
    ValueError
        If the scale is not of these frames.
    """
    if scale.shape != values.shape[1:]:
        raise ValueError(f"a scale of {list(scale.shape)} for {list(values.shape)}")
    return (values * scale.astype(np.float32)).astype(np.float16)
