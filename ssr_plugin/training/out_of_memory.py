"""What to do if a batch does not fit into the GPU's memory."""

import contextlib
import textwrap

import torch

# Keys of the YAMLs, the value of each that takes least memory, and what to do.
_REMEDIES = [
    (
        "batch_seconds",
        None,
        "lower batch_seconds and raise grad_accumulation_factor as much",
    ),
    ("gradient_checkpointing", True, "set gradient_checkpointing: True"),
    ("llm_dtype", "bfloat16", "set llm_dtype: bfloat16"),
]


@contextlib.contextmanager
def explain_out_of_memory(hparams):
    """Says which keys to change if the GPU's memory runs out in the block.

    Arguments
    ---------
    hparams : dict
        Of a stage. Only its own keys are named, and none that is set so already.

    Raises
    ------
    MemoryError
        In place of torch's own error, whose beginning it repeats.

    Example
    -------
    >>> with explain_out_of_memory({"batch_seconds": 40.0}):
    ...     raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried ...")
    Traceback (most recent call last):
        ...
    MemoryError: the GPU's memory is too small: lower batch_seconds and raise
    grad_accumulation_factor as much (CUDA out of memory. Tried ...)
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        remedies = "; or ".join(
            remedy
            for key, frugal_value, remedy in _REMEDIES
            if key in hparams and hparams[key] != frugal_value
        )
        short = textwrap.shorten(str(error), 200)
        raise MemoryError(
            f"the GPU's memory is too small: {remedies} ({short})"
        ) from error
