"""An LLM's input embeddings, read alone: the rest of its weights stays on disk."""

import os
from collections.abc import Iterable

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from ssr_plugin import hub


def read_input_embedding(
    source: str | os.PathLike[str], config: PretrainedConfig, dtype: torch.dtype
) -> nn.Embedding | None:
    """Loads the module that a causal LM looks its input embeddings up in.

    It is the model's own module, so that a scale it applies (Gemma) is applied.

    Arguments
    ---------
    source : str
        Hub id or folder.
    config : transformers.PretrainedConfig
        The model's configuration.
    dtype : torch.dtype
        Type of the table in memory.

    Returns
    -------
    torch.nn.Embedding or None
        ``None`` if only loading the whole model can give it: its weights are no
        safetensors, or name the table in a way that is not understood.

    Raises
    ------
    ValueError
        If the file that holds the table is missing, or has another shape than the
        configuration says.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    embedding: nn.Embedding = model.get_input_embeddings()
    files = hub.safetensors_map(source)
    key = find_embedding_key(model, files or ())
    if key is None or not _fill_buffers(model, embedding):
        return None
    path = hub.find_file(source, files[key])
    if path is None:
        raise ValueError(
            f"'{source}' lacks {files[key]}, which holds its input embeddings ({key})"
        )
    with safe_open(path, "pt") as file:
        weight = file.get_tensor(key)
    if weight.shape != embedding.weight.shape:
        raise ValueError(
            f"{path}: {key} has shape {list(weight.shape)}, but config.json "
            f"means {list(embedding.weight.shape)}: the two do not belong together"
        )
    embedding.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    return embedding


def find_embedding_key(model: PreTrainedModel, keys: Iterable[str]) -> str | None:
    """The name under which a checkpoint holds a model's input embeddings.

    A checkpoint saved from the bare model lacks the prefix that the causal LM puts
    before each name; one saved from a larger model has a prefix more; one with tied
    embeddings may hold the table as the output layer's weight only.

    Arguments
    ---------
    model : transformers.PreTrainedModel
        The causal LM; may be on the meta device.
    keys : iterable of str
        The checkpoint's tensor names.

    Returns
    -------
    str or None
        ``None`` if no name, or more than one, would do.
    """
    wanted = [_parameter_name(model, model.get_input_embeddings())]
    if model.get_output_embeddings() is not None and _is_tied(model):
        wanted.append(_parameter_name(model, model.get_output_embeddings()))
    keys = set(keys)
    for name in wanted:
        suffix = name
        while suffix.count("."):
            matches = [k for k in keys if k == suffix or k.endswith(f".{suffix}")]
            if suffix in matches or len(matches) == 1:
                return suffix if suffix in matches else matches[0]
            if matches:
                break
            suffix = suffix.partition(".")[2]
    return None


def _parameter_name(model: PreTrainedModel, module: nn.Module) -> str:
    """The name of a module's weight within the model."""
    names = {id(m): name for name, m in model.named_modules()}
    return f"{names[id(module)]}.weight"


def _is_tied(model: PreTrainedModel) -> bool:
    """Whether the output layer's weight is the input embeddings' table."""
    return bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))


def _fill_buffers(model: PreTrainedModel, embedding: nn.Embedding) -> bool:
    """Gives the module's buffers (a scale) their values; False if they stay unknown."""
    for name, buffer in list(embedding.named_buffers(recurse=False)):
        # NaN shows afterwards whether the model's initialisation set the buffer.
        filled = torch.full(buffer.shape, torch.nan, dtype=buffer.dtype)
        embedding.register_buffer(name, filled, persistent=False)
    model._init_weights(embedding)
    return not any(buffer.isnan().any() for buffer in embedding.buffers())
