"""Which number type to compute in: the machine's choice, and autocast left out."""

import contextlib
from collections.abc import Iterator

import torch


def resolve_precision(precision: str, device: str | None = None) -> str:
    """SpeechBrain's name of the number type to compute in.

    Arguments
    ---------
    precision : str
        "fp32", "fp16", "bf16", or "auto": bf16 where the device computes in it, which
        is two to three times faster, fp32 elsewhere.
    device : str or None
        "cpu", "cuda", "cuda:1"; None for the one that SpeechBrain picks.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is none of that name, or it is not for that device.

    Example
    -------
    >>> resolve_precision("fp32"), resolve_precision("auto", "cpu") in ("bf16", "fp32")
    ('fp32', True)
    >>> resolve_precision("fp16", "cpu")
    Traceback (most recent call last):
        ...
    ValueError: precision: fp16 is not for a CPU: take bf16, fp32 or auto
    """
    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise ValueError(f"precision: '{precision}' is none of auto, fp32, bf16, fp16")
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "fp16" and str(device) == "cpu":
        # Else SpeechBrain says so, after the segmenter's training began.
        raise ValueError("precision: fp16 is not for a CPU: take bf16, fp32 or auto")
    if precision != "auto":
        return precision
    if str(device).startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # Older torch does not tell.
    tell = getattr(torch.cpu, "get_capabilities", dict)
    abilities: dict[str, bool] = tell() if device == "cpu" else {}
    fast = ("avx512_bf16", "amx_bf16", "bf16")
    return "bf16" if any(abilities.get(name) for name in fast) else "fp32"


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """A context in which a GPU computes float32 with all its digits.

    By default its convolutions round what they multiply to ten bits (TF32), and where
    SpeechBrain is imported, which switches that on, all matrix products do.

    Example
    -------
    >>> with full_float32():
    ...     torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    (False, False)
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before


def without_autocast(
    device: torch.device | str,
) -> contextlib.AbstractContextManager[object]:
    """A context in which tensors of a device are computed in their own type.

    Example
    -------
    >>> x = torch.eye(2)
    >>> with torch.autocast("cpu", torch.bfloat16), without_autocast("cpu"):
    ...     (x @ x).dtype
    torch.float32
    """
    kind = torch.device(device).type
    if not torch.amp.is_autocast_available(kind):
        return contextlib.nullcontext()
    return torch.autocast(kind, enabled=False)
