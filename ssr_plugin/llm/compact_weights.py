"""An LLM's layers in fewer bits; its table of input embeddings stays as it is.

Vectors of speech are like the LLM's own embeddings, to which the connector learnt to
come near. So the table is read in full precision of the original, whatever becomes of
the layers.
"""

from __future__ import annotations

import logging
import os
import pathlib
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from ssr_plugin import hub

#: Of :func:`quantized_options`.
QUANTIZATIONS = ("4bit", "8bit")
GGUF = ".gguf"
# The most that a table may differ from that of a GGUF file, of its norm: 2-bit blocks
# differ by a fourth, other models' tables by more than 1.
_MOST_DIFFERENT = 0.6


def check_quantization(kind: str | None, config: PretrainedConfig, source: str) -> None:
    """Refuses what cannot be.

    Arguments
    ---------
    kind : str or None
        "4bit", "8bit", or None: nothing is asked for.
    config : transformers.PretrainedConfig
        The LLM's.
    source : str
        The LLM's, for the message.

    Raises
    ------
    ValueError
        If there is no such kind, or the LLM is quantised already.
    ImportError
        If bitsandbytes is not installed.

    Example
    -------
    >>> from transformers import LlamaConfig
    >>> check_quantization("2bit", LlamaConfig(), "llm")
    Traceback (most recent call last):
        ...
    ValueError: quantization is '2bit'; it may be 4bit, 8bit
    """
    if kind is None:
        return
    if kind not in QUANTIZATIONS:
        raise ValueError(
            f"quantization is '{kind}'; it may be {', '.join(QUANTIZATIONS)}"
        )
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(f"the LLM '{source}' is quantised already: leave it out")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "quantization needs bitsandbytes: pip install ssr-plugin[quantized]"
        ) from error


def quantized_options(
    kind: str, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """What ``from_pretrained`` takes to quantise the linear layers as it loads them.

    By bitsandbytes, on a GPU or a CPU: 4-bit NormalFloat in blocks (Dettmers et al.,
    "QLoRA", arXiv 2305.14314), or 8-bit integers, outliers apart ("LLM.int8()", arXiv
    2208.07339). Embeddings and output layer are left as they are.

    Arguments
    ---------
    kind : str
        "4bit" or "8bit".
    dtype : torch.dtype
        Computed in.
    device : torch.device

    Returns
    -------
    dict
    """
    if kind == "8bit":
        config = BitsAndBytesConfig(load_in_8bit=True)
        # It computes in float16, and says so at each layer.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_use_double_quant=True,
        )
    return {"quantization_config": config, "device_map": {"": device}}


@torch.no_grad()
def check_quantized(model: PreTrainedModel, table: torch.Tensor, source: str) -> None:
    """Makes sure that a quantised model has its table in full, and runs.

    Arguments
    ---------
    model : transformers.PreTrainedModel
    table : torch.Tensor
        [V, H], the original's.
    source : str
        The LLM's, for the message.

    Raises
    ------
    ValueError
        If not: its table was quantised, too, or bitsandbytes does not compute layers
        of its widths on this device.
    """
    weight: Any = model.get_input_embeddings().weight
    if weight.dtype != table.dtype or not torch.equal(weight.to(table.device), table):
        raise ValueError(
            f"'{source}' cannot be quantised: its input embeddings would be, too, and "
            f"vectors of speech aim at them"
        )
    try:
        model(inputs_embeds=weight[None, :2])
    except (AssertionError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"'{source}' cannot be quantised so on this machine: bitsandbytes does not "
            f"compute its layers ({type(error).__name__}: {error})"
        ) from error


def let_gradients_through(model: PreTrainedModel) -> None:
    """Has a quantised model give the gradients that adapters in it learn from.

    On some CPUs, once it is read from, bitsandbytes packs layers of 4 bits for speed.
    Such a layer gives no gradient of what it reads, and raises no error.

    Arguments
    ---------
    model : transformers.PreTrainedModel
    """
    # Any: attributes of bitsandbytes' layers.
    layers: Any = model.modules()
    for layer in layers:
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
            # To save them, weights are unpacked.
            layer.state_dict()


# --- GGUF ----------------------------------------------------------------------------


def is_gguf(source: str | os.PathLike[str]) -> bool:
    """Whether a source names a file of llama.cpp's.

    Example
    -------
    >>> is_gguf("llama-q4_k_m.gguf"), is_gguf("meta-llama/Llama-3.2-1B")
    (True, False)
    """
    return str(source).endswith(GGUF)


def find_gguf(source: str | os.PathLike[str]) -> pathlib.Path:
    """The path of a GGUF file.

    Arguments
    ---------
    source : str
        A path, or ``owner/name/file.gguf`` on the hub.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If there is none.

    Example
    -------
    >>> find_gguf("/no/llama.gguf")
    Traceback (most recent call last):
        ...
    ValueError: there is no file '/no/llama.gguf'
    """
    path = pathlib.Path(source)
    if path.is_file():
        return path
    owner, _, rest = str(source).partition("/")
    name, _, file = rest.partition("/")
    found = None
    if owner and name and file:
        found = hub.find_file(f"{owner}/{name}", file)
    if found is None:
        raise ValueError(f"there is no file '{source}'")
    return pathlib.Path(found)


def load_gguf(
    path: pathlib.Path,
    config: PretrainedConfig,
    table: torch.nn.Parameter,
    dtype: torch.dtype,
    source: str,
) -> PreTrainedModel:
    """An LLM whose layers are those of a GGUF file.

    transformers gives each weight the value that its few bits stand for: the memory is
    that of ``dtype``.

    Arguments
    ---------
    path : pathlib.Path
    config : transformers.PretrainedConfig
        The original's.
    table : torch.nn.Parameter
        The original's input embeddings, which take the place of the file's.
    dtype : torch.dtype
    source : str
        The original's, for messages.

    Returns
    -------
    transformers.PreTrainedModel

    Raises
    ------
    ValueError
        If the file is damaged, of a kind of LLM that transformers does not read, or of
        another LLM than the original.
    ImportError
        If gguf is not installed.
    """
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "a GGUF file needs the package gguf: pip install ssr-plugin[gguf]"
        ) from error
    try:
        # Any: transformers types this class, and not what it gives.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(path.parent),
            gguf_file=path.name,
            config=config,
            dtype=dtype,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:
        # Each reader of a damaged or foreign file fails in its own way.
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} cannot be read as the weights of '{source}' "
            f"({type(error).__name__}: {reason})"
        ) from error
    model, report = loaded
    wrong = [name for names in report.values() for name in names]
    if wrong:
        raise ValueError(
            f"{path} has not the weights of '{source}': missing or misplaced are "
            f"{', '.join(map(str, wrong[:5]))}"
        )
    embedding = model.get_input_embeddings()
    known, found = table.detach().float(), embedding.weight.detach().float()
    if found.shape != known.shape or not (
        (found.to(known.device) - known).norm() <= _MOST_DIFFERENT * known.norm()
    ):
        raise ValueError(
            f"{path} is not of '{source}': its input embeddings are others"
        )
    model = model.to(table.device)
    embedding.weight = table
    model.tie_weights()
    found_model: PreTrainedModel = model
    return found_model
