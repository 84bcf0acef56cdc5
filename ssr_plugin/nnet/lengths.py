"""Lengths as SpeechBrain's users and this package's give them, and padding to one."""

from collections.abc import Sequence

import torch


def send_padded(
    waveforms: Sequence[torch.Tensor], device: torch.device
) -> torch.Tensor:
    """Waveforms as a batch on its way to a device: a GPU fetches it by itself.

    Only from memory that is pinned does it copy while the host goes on; and such memory
    is used again, while what is new must first be found, page by page.

    Arguments
    ---------
    waveforms : sequence of torch.Tensor
        [S] each, on the CPU; at least one.
    device : torch.device

    Returns
    -------
    torch.Tensor
        [B, S], zeros beyond a waveform's length.

    Example
    -------
    >>> send_padded([torch.ones(1), torch.ones(2)], torch.device("cpu")).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    size = len(waveforms), max(map(len, waveforms))
    batch = torch.zeros(size, pin_memory=device.type == "cuda")
    for row, wav in zip(batch, waveforms, strict=True):
        row[: len(wav)] = wav
    return batch.to(device, non_blocking=True)


def absolute_lengths(
    lengths: torch.Tensor | Sequence[int | float], total: int | None = None
) -> torch.Tensor:
    """Lengths as counts of steps.

    SpeechBrain gives each length as a share of the padded length, such as
    ``[1.0, 0.5]``; this package counts steps, such as ``[16000, 8000]``. Floating-point
    numbers are taken for the first, whole numbers for the second.

    Arguments
    ---------
    lengths : torch.Tensor or sequence of int or float
        [B]
    total : int or None
        The padded length, in steps; None where it is not known, so that only counts
        will do.

    Returns
    -------
    torch.Tensor
        [B] int

    Raises
    ------
    ValueError
        If floating-point lengths are not shares, 0 to 1, or cannot be told from counts.

    Example
    -------
    >>> absolute_lengths(torch.tensor([1.0, 0.5]), 16000).tolist()
    [16000, 8000]
    >>> absolute_lengths([16000, 8000]).tolist()
    [16000, 8000]
    >>> absolute_lengths(torch.tensor([16000.0]), 16000)
    Traceback (most recent call last):
        ...
    ValueError: lengths are [16000.0]: give whole numbers of steps, or, as SpeechBrain
    does, shares of the padded length from 0 to 1
    """
    lengths = torch.as_tensor(lengths)
    if not lengths.is_floating_point():
        return lengths
    if total is None:
        raise ValueError(
            "lengths are floating-point numbers: here whole numbers of steps are "
            "needed, since the padded length is not known"
        )
    # Not a number is refused too.
    if not bool(((lengths >= 0) & (lengths <= 1)).all()):
        raise ValueError(
            f"lengths are {lengths.tolist()}: give whole numbers of steps, or, as "
            f"SpeechBrain does, shares of the padded length from 0 to 1"
        )
    return (lengths.double() * total).round().long()


def bucketed_length(length: int, multiple: int = 64) -> int:
    """A padded length: of few different ones, at most an eighth longer, or a multiple.

    Kernels are made anew for each new shape, and recorded steps are of one shape.

    Example
    -------
    >>> [bucketed_length(length) for length in (0, 1, 64, 65, 513, 1500)]
    [0, 64, 64, 128, 576, 1536]
    """
    while 16 * multiple <= length:
        multiple *= 2
    return -(-length // multiple) * multiple
