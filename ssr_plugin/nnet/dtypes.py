"""Number types by the names that a YAML gives them."""

import torch

NAMES = ("float32", "bfloat16", "float16")


def parse_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A floating-point type from its name.

    Arguments
    ---------
    dtype : str or torch.dtype

    Returns
    -------
    torch.dtype

    Raises
    ------
    ValueError
        If it is none of those that models are run in.

    Example
    -------
    >>> parse_dtype("bfloat16")
    torch.bfloat16
    >>> parse_dtype("bf16")
    Traceback (most recent call last):
        ...
    ValueError: dtype is 'bf16'; it may be float32, bfloat16 or float16
    """
    name = str(dtype).removeprefix("torch.")
    if name not in NAMES:
        raise ValueError(
            f"dtype is '{dtype}'; it may be {', '.join(NAMES[:-1])} or {NAMES[-1]}"
        )
    parsed: torch.dtype = getattr(torch, name)
    return parsed
