"""Long audio cut where it is quiet."""

from torch import Tensor

# Over which loudness is measured, s.
_FRAME = 0.05
# Length of the pause that is looked for, s.
_PAUSE = 0.3
# Samples below that are silence.
_AUDIBLE = 10 ** (-70 / 20)


def cut_at_pauses(wav: Tensor, longest: int, sample_rate: int) -> list[tuple[int, int]]:
    """Parts of a recording, none longer than so many samples.

    Each ends in the quietest place of the last third of what it may hold.

    Arguments
    ---------
    wav : torch.Tensor
        [S]
    longest : int
        Samples.
    sample_rate : int
        Hz

    Returns
    -------
    list of (int, int)
        First sample of each part, and the one after its last; none of no audio.

    Example
    -------
    >>> import torch
    >>> wav = torch.ones(400)
    >>> wav[250:290] = 0.0
    >>> cut_at_pauses(wav, 300, sample_rate=100)
    [(0, 265), (265, 400)]
    """
    parts, first = [], 0
    while len(wav) - first > longest:
        last = first + longest
        begin = first + 2 * longest // 3
        size = max(round(_FRAME * sample_rate), 1)
        energy = wav[begin:last].float().square()
        frames = energy[: len(energy) // size * size].view(-1, size).mean(1)
        width = min(max(round(_PAUSE / _FRAME), 1), len(frames))
        quiet = frames.unfold(0, width, 1).mean(1)
        cut = begin + round((int(quiet.argmin()) + width / 2) * size)
        parts.append((first, cut))
        first = cut
    if len(wav) > first:
        parts.append((first, len(wav)))
    return parts


def is_silent(wav: Tensor) -> bool:
    """Whether a recording holds nothing that could be heard: below -70 dB of its range.

    Example
    -------
    >>> import torch
    >>> is_silent(torch.zeros(100)), is_silent(torch.ones(100) / 100)
    (True, False)
    """
    return not len(wav) or bool(wav.abs().max() < _AUDIBLE)
