"""How much audio goes into a batch, and the learning rate that suits it."""

import logging
import math

import torch

from ssr_plugin.nnet.layers import layer_shape

logger = logging.getLogger(__name__)

#: What ``batch_seconds: auto`` says in a YAML.
AUTO = "auto"
#: The batch that ``lr`` is meant for, s.
REFERENCE = 40.0
# No larger than this: there is nothing more to gain.
_MOST = 1280.0
# A training has at least so many steps: with fewer, the same audio teaches less.
_LEAST_STEPS = 1500
#: Memory that a second of audio takes in stage 1, bytes: 2 to 3 MB were measured with
#: LLMs of 135M to 8B.
STAGE1_MEMORY = 6e6
# The share of a GPU's memory that a batch may take.
_SHARE = 0.5
#: How many times 40 s the learning rate of stage 2 goes by at most: that of adapters is
#: large already.
FINETUNE_GROWTH = 8.0
# Of a second of audio: vectors, transcript, and as much text beside them.
_TOKENS = 12.0
# Numbers of two bytes that each layer of the LLM keeps of a token for its adapters, in
# units of its two widths. With them 1B takes 55 MB a second; 46 were measured.
_OF_WIDTH, _OF_INNER = 30, 10


def finetune_memory(config):
    """Memory that a second of audio takes in stage 2, about.

    Arguments
    ---------
    config : transformers.PretrainedConfig
        Of the LLM.

    Returns
    -------
    float
        Bytes.

    Example
    -------
    >>> from transformers import LlamaConfig
    >>> shape = {"hidden_size": 2048, "intermediate_size": 8192}
    >>> round(finetune_memory(LlamaConfig(num_hidden_layers=16, **shape)) / 1e6)
    55
    """
    config = config.get_text_config()
    inner = layer_shape(config)["hidden_size"]
    numbers = _OF_WIDTH * config.hidden_size + _OF_INNER * inner
    return _TOKENS * config.num_hidden_layers * 2.0 * numbers


def choose_batch(audio_seconds, memory=None, num_processes=1, per_second=STAGE1_MEMORY):
    """The largest batch that costs no quality and fits.

    40 s on CPUs, shared by all processes. On a GPU, twice as much, and again, as long
    as the training has 1,500 steps or more and half the GPU's memory takes it; up to
    1,280 s.

    Arguments
    ---------
    audio_seconds : float
        That the whole training goes through, all epochs together, s.
    memory : float or None
        Of the GPU, bytes; None on a CPU.
    num_processes : int
        Each has batches of its own.
    per_second : float
        Memory that a second of audio takes, bytes.

    Returns
    -------
    float
        Audio of a batch of one process, padding included, s.

    Example
    -------
    >>> hour = 3600.0
    >>> [choose_batch(x * hour, memory=80e9) for x in (1, 50, 10_000)]
    [40.0, 80.0, 1280.0]
    >>> choose_batch(10_000 * hour), choose_batch(10_000 * hour, num_processes=2)
    (40.0, 20.0)
    """
    if memory is None:
        return REFERENCE / num_processes
    batch = REFERENCE
    while (
        2 * batch <= _MOST
        and audio_seconds / (2 * batch * num_processes) >= _LEAST_STEPS
        and 2 * batch * per_second <= _SHARE * memory
    ):
        batch *= 2
    return batch


def scale_learning_rate(lr, batch_seconds, num_processes=1, most_growth=math.inf):
    """The learning rate for another batch than that of 40 s.

    With the square root of the batch, as AdamW's steps want it (Malladi et al., "On the
    SDEs and Scaling Rules for Adaptive Gradient Algorithms", arXiv 2205.10287).

    Arguments
    ---------
    lr : float
        For 40 s.
    batch_seconds : float
        Of one process.
    num_processes : int
    most_growth : float
        How many times 40 s the rate goes by at most.

    Returns
    -------
    float

    Example
    -------
    >>> scale_learning_rate(0.001, 160.0)
    0.002
    >>> scale_learning_rate(0.001, 1280.0, most_growth=4)
    0.002
    """
    growth = batch_seconds * num_processes / REFERENCE
    return lr * min(growth, most_growth) ** 0.5


def check_batch_seconds(value):
    """Refuses what is no size of a batch.

    Raises
    ------
    ValueError
        If it is neither a number above 0 nor "auto".

    Example
    -------
    >>> check_batch_seconds("large")
    Traceback (most recent call last):
        ...
    ValueError: batch_seconds: 'large' is neither a number of seconds above 0 nor auto
    """
    if value != AUTO and not (isinstance(value, int | float) and value > 0):
        raise ValueError(
            f"batch_seconds: '{value}' is neither a number of seconds above 0 nor auto"
        )


def resolve_batch(
    hparams, audio_seconds, device, per_second=STAGE1_MEMORY, most_growth=math.inf
):
    """What ``batch_seconds`` and ``lr`` of a YAML come to.

    With a number for ``batch_seconds`` both are taken as they are.

    Arguments
    ---------
    hparams : dict
        ``batch_seconds``, ``lr`` and ``number_of_epochs``.
    audio_seconds : float
        Of the training data, s.
    device : torch.device or str
    per_second : float
        Of :func:`choose_batch`.
    most_growth : float
        Of :func:`scale_learning_rate`.

    Returns
    -------
    dict
        ``batch_seconds`` and ``lr``.

    Raises
    ------
    ValueError
        If ``batch_seconds`` is neither a number nor "auto".

    Example
    -------
    >>> hparams = {"batch_seconds": "auto", "lr": 0.001, "number_of_epochs": 10}
    >>> resolve_batch(hparams, 360_000.0, "cpu")
    {'batch_seconds': 40.0, 'lr': 0.001}
    """
    batch_seconds, lr = hparams["batch_seconds"], hparams["lr"]
    check_batch_seconds(batch_seconds)
    if batch_seconds != AUTO:
        return {"batch_seconds": batch_seconds, "lr": lr}
    device, memory, num_processes = torch.device(device), None, 1
    if torch.distributed.is_initialized():
        num_processes = torch.distributed.get_world_size()
    if device.type == "cuda":
        # Not what is free: a run that is continued must choose the same.
        memory = torch.cuda.get_device_properties(device).total_memory
    total = audio_seconds * hparams["number_of_epochs"]
    batch_seconds = choose_batch(total, memory, num_processes, per_second)
    if memory is not None:
        lr = scale_learning_rate(lr, batch_seconds, num_processes, most_growth)
        logger.info(
            "Batches of %g s of audio, lr %.3g (of 40 s: %.3g)",
            batch_seconds,
            lr,
            hparams["lr"],
        )
    return {"batch_seconds": batch_seconds, "lr": lr}
