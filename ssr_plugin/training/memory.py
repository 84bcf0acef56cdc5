"""What to do where a batch does not fit into the GPU's memory."""

import contextlib
import textwrap

import torch

# Keys of the YAMLs, the value of each that takes least of it, and what to do.
_MENDS = [
    (
        "batch_seconds",
        None,
        "lower batch_seconds and raise grad_accumulation_factor as much",
    ),
    ("gradient_checkpointing", True, "set gradient_checkpointing: True"),
    ("llm_dtype", "bfloat16", "set llm_dtype: bfloat16"),
]


@contextlib.contextmanager
def told_what_to_lower(hparams):
    """Says which keys to lower where the GPU's memory runs out in the block.

    Arguments
    ---------
    hparams : dict
        Of a stage. Only keys that it has are named, and none that is set so already.

    Raises
    ------
    MemoryError
        In place of torch's own error, which it tells in short and is raised from.

    Example
    -------
    >>> with told_what_to_lower({"batch_seconds": 40.0}):
    ...     raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried ...")
    Traceback (most recent call last):
        ...
    MemoryError: the GPU's memory is too small: lower batch_seconds and raise
    grad_accumulation_factor as much (CUDA out of memory. Tried ...)
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        mends = "; or ".join(
            mend
            for key, least, mend in _MENDS
            if key in hparams and hparams[key] != least
        )
        short = textwrap.shorten(str(error), 200)
        raise MemoryError(
            f"the GPU's memory is too small: {mends} ({short})"
        ) from error
