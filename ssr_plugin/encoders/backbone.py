"""The pretrained network of a speech encoder: its encoder part, up to one layer."""

import contextlib
import functools
import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as hf_logging

from ssr_plugin.hub import check_weights
from ssr_plugin.nnet.device_memory import encoder_memory
from ssr_plugin.sources import address

# Of no use outside pretraining, so published checkpoints may lack it.
_PRETRAINING_ONLY = "masked_spec_embed"
# Frames a second inside the layers, Hz.
_USUAL_RATE = 50.0


def load_backbone(
    source: str | os.PathLike[str], config: PretrainedConfig
) -> PreTrainedModel:
    """Loads a speech encoder's network in float32; of an encoder-decoder, the encoder.

    Arguments
    ---------
    source : str
        Hub id or folder.
    config : transformers.PretrainedConfig
        The model's configuration.

    Returns
    -------
    transformers.PreTrainedModel

    Raises
    ------
    ValueError
        If the model has no encoder, or the checkpoint lacks some of its weights.
    """
    check_weights(source)
    options: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": False}
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(config, trust_remote_code=False)
    except ValueError as error:
        raise ValueError(
            f"'{source}' ({config.model_type}) is no encoder that AutoModel knows"
        ) from error
    loader = AutoModel
    if config.is_encoder_decoder:
        encoder = model.get_encoder()
        if encoder is model:
            raise ValueError(f"'{source}' ({config.model_type}) has no encoder")
        # Made alone, so that the decoder's weights stay on disk.
        loader, config = type(encoder), encoder.config
        prefix = {id(m): name for name, m in model.named_modules()}[id(encoder)]
        options["key_mapping"] = {rf"^({model.base_model_prefix}\.)?{prefix}\.": ""}
    try:
        with _without_load_report():
            network, report = loader.from_pretrained(
                **address(source), config=config, output_loading_info=True, **options
            )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"cannot load the weights of '{source}': {error}") from error
    missing = [k for k in report["missing_keys"] if not k.endswith(_PRETRAINING_ONLY)]
    if missing:
        raise ValueError(
            f"the weights of '{source}' do not belong to its config.json: "
            f"{len(missing)} are missing, such as {min(missing)}"
        )
    loaded: PreTrainedModel = network
    return loaded


@contextlib.contextmanager
def _without_load_report() -> Iterator[None]:
    """Hides the list of weights that are left out on purpose."""
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)


class HiddenLayer(nn.Module):
    """An encoder's network cut off above one layer.

    Arguments
    ---------
    network : transformers.PreTrainedModel
        Cut in place: the layers above are dropped.
    layer : int
        0 is what the first layer reads, k > 0 what the k-th gives, and the number of
        layers, or -1, the network's own output (after its last norm, if it has one).
        Smaller numbers count from the end.

    Raises
    ------
    ValueError
        If there is no such layer.
    """

    def __init__(self, network: PreTrainedModel, layer: int) -> None:
        super().__init__()
        layers = _find_layers(network)
        count = len(layers)
        if not -count - 1 <= layer <= count:
            raise ValueError(
                f"layer {layer} of the encoder does not exist: it has {count} layers, "
                f"so give 0 to {count}, or -1 (the last) to -{count + 1}"
            )
        self.layer = layer if layer >= 0 else count + 1 + layer
        self.network = network
        self._seen: Tensor | None = None
        self.takes_mask = (
            "attention_mask" in inspect.signature(network.forward).parameters
        )
        if self.layer < count:
            del layers[max(self.layer, 1) :]
            if getattr(network, "adapter", None) is not None:
                # It reads the last layer only, and changes the frame rate.
                network.register_module("adapter", None)
                network.config.add_adapter = False
            if self.layer:
                layers[-1].register_forward_hook(self._see_output)
            else:
                layers[0].register_forward_pre_hook(self._see_input, with_kwargs=True)
        self.is_last = self.layer == count
        config = network.config
        adapted = self.is_last and getattr(config, "add_adapter", False)
        self.width = config.output_hidden_size if adapted else config.hidden_size

    def _see_input(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._seen = args[0] if args else kwargs["hidden_states"]

    def _see_output(
        self, module: nn.Module, args: tuple[Any, ...], output: Any
    ) -> None:
        self._seen = output[0] if isinstance(output, tuple) else output

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The chosen layer's hidden states.

        Arguments
        ---------
        inputs : dict
            The network's arguments.

        Returns
        -------
        torch.Tensor
            [B, T, D]
        """
        output: Tensor = self.network(**inputs, return_dict=True).last_hidden_state
        if self.is_last:
            return output
        seen, self._seen = self._seen, None
        assert seen is not None
        return seen

    @contextlib.contextmanager
    def first_positions(self, count: int) -> Iterator[None]:
        """Lets a network of fixed length run on its first positions only, in the block.

        Raises
        ------
        ValueError
            If the network keeps its positions otherwise than Whisper does.
        """
        whole = getattr(self.network, "embed_positions", None)
        config = self.network.config
        if whole is None or not hasattr(config, "max_source_positions"):
            raise ValueError(
                f"{type(self.network).__name__} has no table of positions to shorten: "
                f"use window='full'"
            )
        length = config.max_source_positions
        try:
            config.max_source_positions = count
            self.network.embed_positions = nn.Embedding.from_pretrained(
                whole.weight[:count]
            )
            yield
        finally:
            config.max_source_positions = length
            self.network.embed_positions = whole

    @functools.lru_cache(maxsize=1 << 16)  # noqa: B019 one network lives all along
    def output_length(self, steps: int) -> int:
        """Frames that the network makes of so many steps of its input.

        Arguments
        ---------
        steps : int
            Samples or spectrum frames.

        Returns
        -------
        int
        """
        for name in (
            "_get_feat_extract_output_lengths",
            "_get_subsampling_output_length",
        ):
            if hasattr(self.network, name):
                # One alone: some of them take no batch.
                length = getattr(self.network, name)(torch.tensor(steps))
                # Some tell the length after their convolutions first.
                length = length[-1] if isinstance(length, tuple) else length
                return max(int(length), 0)
        return steps

    def memory(self, steps_per_second: float, window: float) -> float:
        """What a pass without gradient keeps alive at once, by a second of audio.

        Arguments
        ---------
        steps_per_second : float
            Of its input.
        window : float
            Audio that attends to itself, s.

        Returns
        -------
        float
            Bytes; see :func:`ssr_plugin.nnet.device_memory.encoder_memory`.
        """
        config, modules = self.network.config, list(self.network.modules())
        frame_rate = self.output_length(round(steps_per_second * window)) / window
        # An adapter behind the layers lowers it.
        frame_rate = max(frame_rate, _USUAL_RATE)
        first = next((m for m in modules if isinstance(m, nn.Conv1d)), None)
        channels, stride = (first.out_channels, first.stride[0]) if first else (0, 1)
        widths = [m.out_features for m in modules if isinstance(m, nn.Linear)]
        return encoder_memory(
            frame_rate,
            config.hidden_size,
            max(widths, default=config.hidden_size),
            config.num_attention_heads,
            round(window * frame_rate),
            channels * steps_per_second / stride,
        )


def _find_layers(network: PreTrainedModel) -> nn.ModuleList:
    """The network's stack of layers."""
    stacks = [
        module
        for module in network.modules()
        if isinstance(module, nn.ModuleList)
        # Stacks of convolutions have none.
        and any(isinstance(m, nn.Linear) for m in module.modules())
    ]
    if not stacks:
        raise ValueError(f"{type(network).__name__} has no layers to choose from")
    count = network.config.num_hidden_layers

    # The configuration of an encoder-decoder may count the decoder's layers.
    def likeness(stack: nn.ModuleList) -> tuple[bool, int]:
        return len(stack) == count, sum(p.numel() for p in stack.parameters())

    return max(stacks, key=likeness)
