"""DinoSR's published checkpoint as a folder that transformers loads.

DinoSR (Liu et al., "DinoSR: Self-Distillation and Online Clustering for Self-supervised
Speech Representation Learning", arXiv 2305.10005) was published as a checkpoint of
fairseq. Its network is data2vec's: convolutions with layer norm, five positional
convolutions one after another, layers with the norm behind. So transformers'
``Data2VecAudioModel`` computes the same. fairseq is not needed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import pickle
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    Wav2Vec2FeatureExtractor,
)

# (kernel, stride) of the convolutions of wav2vec 2.0 and all that follow it.
_CONVOLUTIONS = [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]
# Width of an attention head in all models of fairseq's.
_HEAD = 64
_SAMPLE_RATE = 16000
# Names in the checkpoint, and what transformers calls them.
_NAMES = [
    (r"mask_emb", "masked_spec_embed"),
    (r"layer_norm\.(\w+)", r"feature_projection.layer_norm.\1"),
    (r"post_extract_proj\.(\w+)", r"feature_projection.projection.\1"),
    (
        r"feature_extractor\.conv_layers\.(\d+)\.0\.(\w+)",
        r"feature_extractor.conv_layers.\1.conv.\2",
    ),
    (
        r"feature_extractor\.conv_layers\.(\d+)\.2\.1\.(\w+)",
        r"feature_extractor.conv_layers.\1.layer_norm.\2",
    ),
    (
        r"encoder\.pos_conv\.(\d+)\.0\.(\w+)",
        r"encoder.pos_conv_embed.layers.\1.conv.\2",
    ),
    (r"encoder\.layer_norm\.(\w+)", r"encoder.layer_norm.\1"),
    (
        r"encoder\.layers\.(\d+)\.self_attn\.([kvq]_proj|out_proj)\.(\w+)",
        r"encoder.layers.\1.attention.\2.\3",
    ),
    (
        r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.(\w+)",
        r"encoder.layers.\1.layer_norm.\2",
    ),
    (
        r"encoder\.layers\.(\d+)\.fc1\.(\w+)",
        r"encoder.layers.\1.feed_forward.intermediate_dense.\2",
    ),
    (
        r"encoder\.layers\.(\d+)\.fc2\.(\w+)",
        r"encoder.layers.\1.feed_forward.output_dense.\2",
    ),
    (
        r"encoder\.layers\.(\d+)\.final_layer_norm\.(\w+)",
        r"encoder.layers.\1.final_layer_norm.\2",
    ),
]
# What served the pretraining alone: the teacher, its codebooks, and their prediction.
_PRETRAINING = re.compile(
    r"_ema|_codebook(_cnts)?\d+|heads\.\d+\.(weight|bias)|final_proj\.(weight|bias)"
    r"|_pre_encoder_(cnn|ln|proj)"
)
# Settings of the checkpoint that the network must have.
_WANTED = {
    "extractor_mode": "layer_norm",
    "layer_norm_first": False,
    "activation_fn": "gelu",
    "layer_type": "transformer",
}


def convert_dinosr(
    checkpoint: str | os.PathLike[str], folder: str | os.PathLike[str]
) -> Data2VecAudioModel:
    """Writes a folder that :class:`ssr_plugin.encoders.encoder.SpeechEncoder` loads.

    It is the student, whose frames downstream work reads.

    Arguments
    ---------
    checkpoint : path-like
        The published file. Nothing in it is executed.
    folder : path-like
        Gets the model and its feature extractor.

    Returns
    -------
    transformers.Data2VecAudioModel

    Raises
    ------
    ValueError
        If the file holds more than numbers and settings, or another network, or lacks
        a weight of it, or has one too many; the message names it.
    """
    weights, settings, task = read_checkpoint(checkpoint)
    try:
        model = build_model(weights, settings)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    folder = pathlib.Path(folder)
    extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=_SAMPLE_RATE,
        do_normalize=bool(task.get("normalize", True)),
        return_attention_mask=True,
    )
    extractor.save_pretrained(folder)
    model.save_pretrained(folder)
    return model


def read_checkpoint(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What a checkpoint of fairseq holds.

    Arguments
    ---------
    path : path-like

    Returns
    -------
    weights : dict
        Of the model, by fairseq's names.
    settings, task : dict
        Of the model and of the training, empty where the file does not tell.

    Raises
    ------
    ValueError
        If it is no such file, or holds objects that could run code.
    """
    try:
        # Old ones keep their settings in a Namespace, which holds values alone.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is no checkpoint, or holds more than numbers and settings, and is "
            f"not loaded ({reason}). If you trust it, load it where fairseq is "
            f"installed, and save what is of use: torch.save({{'model': x['model'], "
            f"'cfg': {{'model': dict(x['cfg']['model'])}}}}, 'weights.pt')"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is damaged, or no checkpoint: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ValueError(f"{path} is no checkpoint of fairseq: it has no 'model'")
    whole = content.get("cfg")
    whole = whole if isinstance(whole, dict) else {}
    settings = whole.get("model") or content.get("args") or {}
    if isinstance(settings, argparse.Namespace):
        settings = vars(settings)
    task = whole.get("task") or {}
    return content["model"], dict(settings), dict(task)


def build_model(
    weights: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> Data2VecAudioModel:
    """The network of a checkpoint, with its weights.

    Arguments
    ---------
    weights : dict
        By fairseq's names.
    settings : dict or None
        The checkpoint's. They tell strides and the number of heads; without, those are
        wav2vec 2.0's, and heads are 64 wide.

    Returns
    -------
    transformers.Data2VecAudioModel
        In float32, in eval mode.

    Raises
    ------
    ValueError
        If it is another network than DinoSR's, or a weight is missing, unknown or of
        another shape.
    """
    settings = settings or {}
    for key, wanted in _WANTED.items():
        if settings.get(key, wanted) != wanted:
            raise ValueError(
                f"its {key} is {settings[key]!r}; DinoSR's is {wanted!r}, and no other "
                f"is converted"
            )
    if any(name.startswith("w2v_encoder.") for name in weights):
        raise ValueError("it is fine-tuned: give the pretrained model")
    named, unknown = _rename(weights)
    if unknown:
        raise ValueError(
            f"it is not DinoSR's network, or of another version: {len(unknown)} "
            f"unknown entries, such as {unknown[0]}"
        )
    with torch.device("meta"):
        model: Data2VecAudioModel = Data2VecAudioModel(_configuration(named, settings))
    wanted = {name: x.shape for name, x in model.state_dict().items()}
    missing, others = sorted(wanted.keys() - named), sorted(named.keys() - wanted)
    if missing or others:
        if missing:
            told = f"lacks {missing[0]}, as transformers calls it"
        else:
            old_names = {_new_name(name): name for name in weights}
            told = f"has no place for {old_names[others[0]]}"
        raise ValueError(f"its weights are not all there, or too many: it {told}")
    for name, shape in wanted.items():
        if named[name].shape != shape:
            raise ValueError(
                f"{name} has shape {list(named[name].shape)}, not {list(shape)}"
            )
    model.load_state_dict({k: x.float() for k, x in named.items()}, assign=True)
    model.eval()
    return model


def _new_name(name: str) -> str | None:
    for pattern, replacement in _NAMES:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    return None


def _rename(weights: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Weights by transformers' names, and what is neither those nor of pretraining."""
    named, unknown = {}, []
    for name, value in weights.items():
        new_name = _new_name(name)
        if new_name is not None and isinstance(value, Tensor):
            named[new_name] = value
        elif not _PRETRAINING.fullmatch(name):
            unknown.append(name)
    return named, unknown


def _configuration(
    named: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> Data2VecAudioConfig:
    """Sizes as the weights have them; what they do not tell, by the settings."""

    def count(pattern: str) -> int:
        return sum(bool(re.fullmatch(pattern, name)) for name in named)

    def weight(name: str) -> Tensor:
        if name not in named:
            raise ValueError(f"its weights are not all there: it lacks {name}")
        return named[name]

    num_convolutions = count(r"feature_extractor\.conv_layers\.\d+\.conv\.weight")
    convolutions = [
        weight(f"feature_extractor.conv_layers.{i}.conv.weight")
        for i in range(num_convolutions)
    ]
    position = weight("encoder.pos_conv_embed.layers.0.conv.weight")
    width, group_width, position_kernel = position.shape
    inner = weight("encoder.layers.0.feed_forward.intermediate_dense.weight")
    heads = settings.get("encoder_attention_heads", max(width // _HEAD, 1))
    kernels = [x.shape[2] for x in convolutions]
    return Data2VecAudioConfig(
        hidden_size=width,
        num_hidden_layers=count(r"encoder\.layers\.\d+\.layer_norm\.weight"),
        num_attention_heads=heads,
        intermediate_size=inner.shape[0],
        conv_dim=[x.shape[0] for x in convolutions],
        conv_kernel=kernels,
        conv_stride=_strides(settings.get("conv_feature_layers"), kernels),
        conv_bias="feature_extractor.conv_layers.0.conv.bias" in named,
        num_conv_pos_embeddings=count(
            r"encoder\.pos_conv_embed\.layers\.\d+\.conv\.weight"
        ),
        conv_pos_kernel_size=position_kernel,
        num_conv_pos_embedding_groups=width // group_width,
    )


def _strides(text: str | None, kernels: list[int]) -> list[int]:
    """Strides of the convolutions, as fairseq writes them: "[(512,10,5)] + ..." """
    if text is None:
        if kernels != [kernel for kernel, _ in _CONVOLUTIONS]:
            raise ValueError(
                "its convolutions are not wav2vec 2.0's, and it has no settings (cfg) "
                "that tell their strides"
            )
        return [stride for _, stride in _CONVOLUTIONS]
    found: list[tuple[int, int]] = []
    for part in text.split("+"):
        match = re.fullmatch(
            r"\s*\[((?:\s*\(\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\)\s*,?)+)\]\s*(?:\*\s*(\d+))?\s*",
            part,
        )
        if match is None:
            raise ValueError(f"its conv_feature_layers cannot be read: {text!r}")
        triples = re.findall(r"\(\s*\d+\s*,\s*(\d+)\s*,\s*(\d+)\s*\)", match[1])
        found += [(int(k), int(s)) for k, s in triples] * int(match[2] or 1)
    if [kernel for kernel, _ in found] != kernels:
        raise ValueError(
            f"its conv_feature_layers, {text!r}, are not those of its weights"
        )
    return [stride for _, stride in found]
