"""A text LLM that is tuned: by adapters or as a whole, with the original at hand."""

import copy
import functools
import json
import pathlib
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from ssr_plugin import hub
from ssr_plugin.files import atomic_path
from ssr_plugin.json_files import read_json
from ssr_plugin.llm.packing import read_states
from ssr_plugin.llm.text_llm import is_base_model

KINDS = ("none", "lora", "full")
ADAPTER_SETTINGS, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Settings of adapters that are read, by our names for them. All others must be as PEFT
# has them by default: some import code, or change the LLM in other ways.
_READ = {
    "r": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "target_modules": "target_modules",
}
# Those that tell where adapters come from, or what PEFT finds out by itself.
_NOTES = {
    "base_model_name_or_path",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "peft_version",
    "revision",
    "task_type",
}
# What a folder of transformers has beside weights.
_MODEL_FILES = ("config.json", "generation_config.json", "model.safetensors.index.json")
# Endings of files that may hold pickles.
_PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")


class TunedLLM(nn.Module):
    """An LLM on its way from what it was to one that listens.

    It serves wherever a :class:`ssr_plugin.llm.text_llm.TextLLM` is only read from
    (:func:`ssr_plugin.llm.generation.transcribe`, losses, scores), and then the tuned
    model is what reads and writes. Input embeddings are never tuned, since the vectors
    of speech aim at them, nor is an output layer that shares them.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
        The original. Low-rank adapters are put into its own model: from then on, that
        is the tuned one outside of :meth:`base_model`.
    kind : str
        "lora": low-rank adapters (Hu et al., arXiv 2106.09685) by PEFT. "full": all
        else in a copy, which takes the memory of a second LLM. "none": nothing.
    r : int
        Rank of the adapters.
    alpha : float
        Their strength: what they give is multiplied by alpha / r.
    dropout : float
        Of what the adapters read.
    target_modules : str or list of str
        Names of the linear layers that get one; "all-linear" is all in the LLM's
        layers.

    Attributes
    ----------
    trained : set of str
        Names of the parameters that are tuned. ``state_dict`` has no others.
    whole_weights : dict or None
        What :meth:`save` writes in place of :meth:`weights`, where the model holds a
        part of them alone.

    Raises
    ------
    ValueError
        If there is no such kind, or the LLM has no such modules.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> tuned = TunedLLM(TextLLM(getfixture("tiny_llm_folder")), "lora", r=2)
    >>> sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    1024
    >>> with tuned.base_model() as llm:
    ...     logits = llm.load_model()(torch.tensor([[4, 5]])).logits
    >>> torch.equal(tuned.model(torch.tensor([[4, 5]])).logits, logits)  # at first
    True
    """

    def __init__(
        self,
        llm,
        kind="lora",
        r=16,
        alpha=32,
        dropout=0.0,
        target_modules="all-linear",
    ):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"tuning is '{kind}'; it may be {', '.join(KINDS)}")
        model = llm.load_model()
        if _adapter_layers(model):
            raise ValueError(f"the LLM '{llm.source}' has adapters in it already")
        self.kind = kind
        self.llm = llm
        self.source = llm.source
        self.tokenizer = llm.tokenizer
        self.vocab_size, self.hidden_size = llm.vocab_size, llm.hidden_size
        self.copy = self.whole_weights = None
        if kind == "lora":
            self._config = _add_adapters(llm, r, alpha, dropout, target_modules)
        if kind == "full":
            self.copy = _copy(model)
        self.trained = {n for n, p in self.named_parameters() if p.requires_grad}
        self.register_state_dict_post_hook(_leave_frozen_out)
        self.register_load_state_dict_post_hook(_do_without_frozen)
        self.train(False)

    @property
    def model(self):
        """The transformers model that is tuned."""
        return self.llm.load_model() if self.copy is None else self.copy

    @property
    def start_id(self):
        """As the original's."""
        return self.llm.start_id

    def load_model(self):
        """:attr:`model`, as a TextLLM gives its own."""
        return self.model

    def embed(self, ids):
        """As the original's."""
        return self.llm.embed(ids)

    def table(self):
        """As the original's."""
        return self.llm.table()

    def forward(self, embeds, layout, wanted, packed):
        """The tuned model's states, as :func:`ssr_plugin.llm.packing.read_states`.

        Arguments
        ---------
        embeds : torch.Tensor
            [R, L, H]
        layout : ssr_plugin.llm.packing.Layout
        wanted : torch.LongTensor
            [Q], slots.
        packed : bool
            Whether sequences share rows.

        Returns
        -------
        torch.Tensor
            [Q, K]
        """
        return read_states(self.model, embeds, layout, wanted, packed)

    def train(self, mode=True):
        """As usual for the tuned model; the original stays in eval mode."""
        super().train(mode)
        self.model.train(mode and self.kind != "none")
        return self

    def base_model(self):
        """The LLM as it came, in a ``with`` block and in this thread.

        See :meth:`ssr_plugin.llm.text_llm.TextLLM.base_model`.
        """
        return self.llm.base_model()

    def weights(self):
        """What :meth:`save` writes, by the names that it has there.

        Returns
        -------
        dict
            Name -> torch.Tensor.
        """
        if self.kind == "full":
            return self.copy.state_dict()
        return _adapter_weights(self.model)

    def save(self, folder):
        """Writes what was tuned: PEFT's two files, or a transformers folder.

        A fully tuned LLM is written with its input embeddings, so that transformers
        alone can load it; of an adapter nothing but itself is.

        Arguments
        ---------
        folder : path-like
            Each file in it appears whole or not at all.

        Raises
        ------
        ValueError
            If nothing is tuned.
        """
        folder = pathlib.Path(folder)
        if self.kind == "none":
            raise ValueError("nothing is tuned: there is nothing to be saved")
        weights = self.whole_weights or self.weights()
        if self.kind == "full":
            _save_model(self.copy, weights, folder)
            return
        settings = {**self._config.to_dict(), "inference_mode": True}
        with atomic_path(folder / ADAPTER_WEIGHTS) as path:
            save_file({k: v.contiguous().cpu() for k, v in weights.items()}, path)
        with atomic_path(folder / ADAPTER_SETTINGS) as path:
            text = json.dumps(settings, indent=2, sort_keys=True, default=sorted)
            path.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, llm, folder):
        """Reads what :meth:`save` wrote, frozen. Nothing that is read is executed.

        Arguments
        ---------
        llm : ssr_plugin.llm.text_llm.TextLLM
            The original that was tuned.
        folder : path-like
            With safetensors; pickles are refused.

        Returns
        -------
        TunedLLM

        Raises
        ------
        ValueError
            If the folder has no such files, or they are damaged, of another LLM, or
            ask for what is not supported. The message names the file.
        """
        folder = pathlib.Path(folder)
        for path in sorted(folder.glob("*")):
            if path.suffix in _PICKLES:
                raise ValueError(
                    f"{path} may hold code and is not loaded: save it as safetensors"
                )
        if (folder / ADAPTER_SETTINGS).is_file():
            tuned = _load_adapters(cls, llm, folder)
        elif (folder / "config.json").is_file():
            tuned = _load_model(cls, llm, folder)
        else:
            raise ValueError(
                f"'{folder}' holds no tuned LLM: it has neither {ADAPTER_SETTINGS} nor "
                f"config.json"
            )
        return tuned.requires_grad_(False)


def _leave_frozen_out(tuned, state, prefix, metadata):
    """Drops what is not tuned from a state dict."""
    for key in [key for key in state if key.startswith(prefix)]:
        if key.removeprefix(prefix) not in tuned.trained:
            del state[key]


def _do_without_frozen(tuned, keys):
    """Does not ask a state dict for what is not tuned."""
    names = tuple(tuned.trained)
    keys.missing_keys[:] = [key for key in keys.missing_keys if key.endswith(names)]


# --- Adapters ----------------------------------------------------------------------


def _adapter_layers(model):
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def _add_adapters(llm, r, alpha, dropout, target_modules):
    """Puts adapters into an LLM's own model; returns their settings."""
    model = llm.load_model()
    names = {
        name.rpartition(".")[2]
        for name, module in model.get_decoder().named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    try:
        if not isinstance(target_modules, str):
            target_modules = list(target_modules)
            unknown = {x for x in target_modules if x.rpartition(".")[2] not in names}
            if unknown:
                raise ValueError(f"no module is named {', '.join(sorted(unknown))}")
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=r,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=target_modules,
        )
        get_peft_model(model, config)
        _let_threads_switch(model, llm.adapter_key)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"the LLM '{llm.source}' cannot be given such adapters: {error} "
            f"(target_modules: all-linear, or some of {', '.join(sorted(names))})"
        ) from error
    return config


def _let_threads_switch(model, key):
    """Adapters that each thread switches off for itself.

    PEFT's own switch is one for all threads: what one of them writes would change where
    another reads with the base model.
    """
    for layer in _adapter_layers(model):
        layer.__class__ = _switched_class(type(layer))
        layer.adapter_key = key


@functools.cache
def _switched_class(layer_class):
    """A class of PEFT's layers that asks whether the thread uses the base model."""

    class Switched(layer_class):
        @property
        def disable_adapters(self):
            return super().disable_adapters or is_base_model(self.adapter_key)

    Switched.__name__ = Switched.__qualname__ = layer_class.__name__
    return Switched


def _adapter_weights(model):
    """The weights of a model's adapters by the names that PEFT saves them under."""
    return {
        f"base_model.model.{name}".replace(".default.", "."): weight.detach()
        for name, weight in model.named_parameters()
        if ".lora_" in name
    }


def _load_adapters(cls, llm, folder):
    """A TunedLLM with the adapters of a folder."""
    options = _read_adapter_settings(folder / ADAPTER_SETTINGS)
    path = folder / ADAPTER_WEIGHTS
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is missing or damaged: {error}") from error
    # A rank that is not that of the weights would only be found out after as much
    # memory had been taken.
    if {len(x) for name, x in weights.items() if ".lora_A." in name} != {options["r"]}:
        raise ValueError(f"{path} does not belong to its {ADAPTER_SETTINGS}")
    try:
        tuned = cls(llm, "lora", **options)
    except ValueError as error:
        raise ValueError(f"{folder / ADAPTER_SETTINGS}: {error}") from error
    wanted = _adapter_weights(tuned.model)
    if _shapes(weights) != _shapes(wanted):
        raise ValueError(f"{path} has not the weights of adapters of '{llm.source}'")
    for name, weight in wanted.items():
        weight.copy_(weights[name])
    return tuned


def _shapes(tensors):
    return {name: tensor.shape for name, tensor in tensors.items()}


_FORM = {"peft_type": str, "r": int, "lora_alpha": float, "lora_dropout": float}


def _read_adapter_settings(path):
    """The few settings of adapters that are read, checked: options of TunedLLM."""
    try:
        settings = read_json(path, _FORM)
        if settings["peft_type"] != "LORA":
            raise ValueError(f"peft_type is {settings['peft_type']!r}, not LORA")
        options = {name: settings.pop(key) for key, name in _READ.items()}
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged, or of adapters that are not supported "
            f"({type(error).__name__}: {error})"
        ) from error
    usual = LoraConfig().to_dict() | {"peft_type": "LORA"}
    for key, value in settings.items():
        if key not in _NOTES and value not in (usual.get(key), None, {}, []):
            raise ValueError(f"{path} sets {key}, which is not supported")
    numbers = (options["r"], options["alpha"], options["dropout"])
    modules = options["target_modules"]
    if (
        not isinstance(options["r"], int)
        or not all(isinstance(x, int | float) and x >= 0 for x in numbers)
        or not isinstance(modules, list)
        or not all(isinstance(name, str) for name in modules)
    ):
        raise ValueError(f"{path} is damaged: {options}")
    return options


# --- A whole LLM -------------------------------------------------------------------


def _copy(model):
    """A copy to be trained, with the original's own, frozen input embeddings."""
    table = model.get_input_embeddings().weight
    tuned = copy.deepcopy(model, {id(table): table})
    for parameter in tuned.parameters():
        parameter.requires_grad_(parameter is not table)
    return tuned


def _save_model(model, weights, folder):
    """Writes a transformers folder, each file whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        model.save_pretrained(partial, state_dict=weights)
        # The settings, by which a folder is found, come last.
        paths = sorted(pathlib.Path(partial).iterdir(), key=_is_settings)
        for path in paths:
            path.replace(folder / path.name)


def _is_settings(path):
    return path.name == "config.json"


def _load_model(cls, llm, folder):
    """A TunedLLM with the whole LLM of a folder, whose settings are the original's."""
    for path in folder.iterdir():
        known = path.suffix == ".safetensors" or path.name in _MODEL_FILES
        if not known:
            raise ValueError(f"{path} does not belong to a tuned LLM: move it away")
    try:
        # Refuses an index that names files elsewhere.
        hub.safetensors_map(folder)
        original = llm.load_model()
        model, report = type(original).from_pretrained(
            folder,
            config=copy.deepcopy(original.config),
            dtype=llm.dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        wrong = [name for names in report.values() for name in names]
        if wrong:
            raise ValueError(f"missing or misplaced: {', '.join(map(str, wrong[:5]))}")
        table = original.get_input_embeddings().weight
        if not torch.equal(model.get_input_embeddings().weight.to(table), table):
            raise ValueError("its input embeddings are not the original's")
    except (OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise ValueError(
            f"the weights in {folder} are damaged, or not of an LLM tuned from "
            f"'{llm.source}': {error}"
        ) from error
    tuned = cls(llm, "full")
    tuned.copy.load_state_dict(model.state_dict())
    return tuned
