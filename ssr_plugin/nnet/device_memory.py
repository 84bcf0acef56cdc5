"""How much goes through a network at once, by the memory of its device."""

import math

import torch

# Share of the free memory that a pass may take: the arithmetic below is rough, and what
# runs beside it needs some, too.
_SHARE = 0.5
# Audio of a pass, padding included, s: one window, and what keeps any GPU busy.
_LEAST, _MOST = 30.0, 1920.0
# Tensors as large as the first convolution's output that are alive at once: its own,
# and those of the norm and the activation behind it, which are not made in place.
_FIRST_LAYER = 8
# Tensors [T, D] (states, norms, queries, keys, values, ...) and [T, 4 D] of a layer.
_NARROW, _WIDE = 12, 3
# Score matrices of a layer, where attention makes them whole: raw, masked, softmax.
_SCORES = 3


def free_memory(device: torch.device) -> int:
    """What a process can still take of a CUDA device.

    Arguments
    ---------
    device : torch.device

    Returns
    -------
    int
        Bytes; with what this process keeps for itself without using it.
    """
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + unused


def encoder_memory(
    frame_rate: float,
    width: int,
    inner_width: int,
    heads: int,
    window_frames: int,
    first_layer: float,
) -> float:
    """What a speech encoder keeps alive at once, by a second of audio.

    An upper bound: layers run one after another, without gradient, in float32, and
    attention keeps its scores. Their number does not matter.

    Arguments
    ---------
    frame_rate : float
        Hz, inside the layers.
    width, inner_width : int
        Of a layer and of its feed-forward part.
    heads : int
    window_frames : int
        Frames that attend to each other.
    first_layer : float
        Numbers that the first convolution gives for a second of audio: its channels,
        times its steps a second.

    Returns
    -------
    float
        Bytes.

    Example
    -------
    >>> whisper_base = encoder_memory(50, 512, 2048, 8, 1500, 512 * 100)
    >>> round(whisper_base / 1e6)
    11
    """
    layer = _NARROW * width + _WIDE * inner_width + _SCORES * heads * window_frames
    return 4.0 * (frame_rate * layer + _FIRST_LAYER * first_layer)


def seconds_per_pass(free: float, per_second: float) -> float:
    """Audio that goes through an encoder at once.

    Arguments
    ---------
    free : float
        Free memory, bytes.
    per_second : float
        As :func:`encoder_memory` gives it, bytes.

    Returns
    -------
    float
        Seconds, padding included: 30 times a power of two, so that a little more or
        less of free memory changes nothing; 30 at least, 1,920 at most.

    Example
    -------
    >>> seconds_per_pass(70e9, 11e6), seconds_per_pass(1e9, 11e6)
    (1920.0, 30.0)
    """
    fitting = max(_SHARE * free / per_second, _LEAST)
    doublings = math.floor(math.log2(fitting / _LEAST))
    return float(min(_LEAST * 2**doublings, _MOST))
