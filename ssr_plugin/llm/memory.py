"""How much an LLM reads at once, by the memory of the device that it is on."""

import torch

from ssr_plugin.nnet.layers import layer_shape

# Positions on a CPU: larger batches are no faster there.
_ON_CPU = 4096
# The most on a GPU, and the share of its memory that they may take.
_MOST, _SHARE = 32768, 0.05


def positions_at_once(model):
    """Positions that go through an LLM at once where no gradient is kept.

    It depends on the kind of device alone, not on what else is in its memory, so that a
    run that is repeated reads the same batches.

    Arguments
    ---------
    model : transformers.PreTrainedModel

    Returns
    -------
    int

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> positions_at_once(TextLLM(getfixture("tiny_llm_folder")).load_model())
    4096
    """
    weight = model.get_input_embeddings().weight
    if weight.device.type != "cuda":
        return _ON_CPU
    memory = torch.cuda.get_device_properties(weight.device).total_memory
    config = model.config.get_text_config()
    size = bytes_per_position(config, weight.element_size())
    return int(min(max(_SHARE * memory / size, 1), _MOST))


def bytes_per_position(config, itemsize):
    """What a position takes: its keys and values, and what one layer computes.

    Arguments
    ---------
    config : transformers.PretrainedConfig
        The text model's.
    itemsize : int
        Bytes of a number.

    Returns
    -------
    int

    Example
    -------
    >>> from transformers import LlamaConfig
    >>> bytes_per_position(LlamaConfig(), 2) // 1024  # 7B, in kB
    640
    """
    shape = layer_shape(config)
    kept = 2 * config.num_hidden_layers * shape["num_kv_heads"] * shape["head_size"]
    return itemsize * (kept + 8 * config.hidden_size + 3 * shape["hidden_size"])
