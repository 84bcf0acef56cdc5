"""A text LLM: tokenizer and input embeddings at once, the rest when asked for."""

import contextlib
import contextvars
import functools
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from ssr_plugin import hub
from ssr_plugin.llm.compact_weights import (
    check_quantization,
    check_quantized,
    find_gguf,
    load_gguf,
    quantized_options,
)
from ssr_plugin.llm.embeddings import read_input_embedding
from ssr_plugin.nnet.dtypes import parse_dtype
from ssr_plugin.sources import address

# Keys of the LLMs that this thread uses as they came. A thread sees its own value.
_AS_BASE: contextvars.ContextVar[frozenset[object]] = contextvars.ContextVar(
    "_AS_BASE", default=frozenset()
)


def is_base_model(key: object) -> bool:
    """Whether this thread uses an LLM as it came: see :meth:`TextLLM.base_model`.

    Arguments
    ---------
    key : object
        The LLM's ``adapter_key``.
    """
    return key in _AS_BASE.get()


class TextLLM(nn.Module):
    """A frozen causal LM of which only the input embeddings are in memory at first.

    Its vocabulary is never resized and its tokenizer gets no new token.

    Arguments
    ---------
    source : str
        Hub id or folder of any Hugging Face causal LM.
    dtype : str or torch.dtype
        Type of the embeddings and of the model ("float32", "bfloat16", ...). An 8B
        model's table of 128k tokens takes 2.1 GB in float32, half in bfloat16.
    quantization : str or None
        "4bit" or "8bit" quantises the linear layers when the model is loaded
        (:mod:`ssr_plugin.llm.compact_weights`).
    gguf : str or None
        A GGUF file of the same LLM, whose layers the model gets.

    Attributes
    ----------
    tokenizer : transformers.PreTrainedTokenizerFast
    config : transformers.PretrainedConfig
        The text model's configuration.
    hidden_size : int
        H, the width of the input embeddings.
    vocab_size : int
        V, the rows of the table (may exceed the tokenizer's tokens).
    bos_id : int or None
        The token that the LLM's tokenizer puts before every text (Llama, Gemma, OPT);
        ``None`` where it puts none (GPT-2, Qwen), whatever its ``bos_token`` says.
    fingerprint : str
        Of :func:`ssr_plugin.hub.whole_fingerprint`, found out when first asked for.

    Raises
    ------
    ValueError
        If the source is not to be found, is no causal LM, its tokenizer gives no
        character offsets, or it cannot be quantised.

    Example
    -------
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> llm.embed(torch.tensor([[3, 4, 5]])).shape
    torch.Size([1, 3, 16])
    >>> llm.load_model().training
    False
    """

    embedding: nn.Embedding

    def __init__(
        self,
        source: str | os.PathLike[str],
        dtype: str | torch.dtype = "float32",
        quantization: str | None = None,
        gguf: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self.source = str(source)
        self.dtype = parse_dtype(dtype)
        full_config = hub.load_config(self.source)
        self._full_config = full_config
        if quantization is not None and gguf is not None:
            raise ValueError("a GGUF file is quantised already: leave quantization out")
        check_quantization(quantization, full_config, self.source)
        self._quantization = quantization
        self._gguf = None if gguf is None else find_gguf(gguf)
        self.config: PretrainedConfig = full_config.get_text_config()
        self.tokenizer = load_tokenizer(self.source)
        self.model: PreTrainedModel | None = None
        #: By which adapters that are put into the model know whose they are.
        self.adapter_key = object()
        try:
            embedding = read_input_embedding(self.source, full_config, self.dtype)
        except ValueError as error:
            if "Unrecognized configuration class" not in str(error):
                raise
            raise ValueError(
                f"'{source}' ({full_config.model_type}) is no causal language model"
            ) from error
        # The rest of its weights may be elsewhere until the model is loaded.
        hub.check_weights(self.source, whole=False)
        if embedding is None and (quantization or gguf):
            raise ValueError(
                f"the input embeddings of '{source}' cannot be read alone, in full "
                f"precision (its weights are no safetensors, or unusually named): save "
                f"it with save_pretrained first"
            )
        if embedding is None:
            warnings.warn(
                f"the input embeddings of '{source}' cannot be read alone (its weights "
                f"are no safetensors, or unusually named): the whole model is loaded. "
                f"Save it with save_pretrained to avoid that",
                stacklevel=2,
            )
            self.load_model()
        else:
            self.embedding = embedding.requires_grad_(False)
            self.eval()
        self.vocab_size, self.hidden_size = self.embedding.weight.shape
        self.bos_id = _bos_id(self.tokenizer)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells the model's weights, settings and tokenizer from others."""
        fingerprint: str = hub.whole_fingerprint(self.source)
        return fingerprint

    @torch.no_grad()
    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Looks tokens up, as the LLM does before its first layer.

        Giving the result to the LLM as ``inputs_embeds`` gives what the ids give.

        Arguments
        ---------
        ids : torch.LongTensor
            Token ids, [...].

        Returns
        -------
        torch.Tensor
            [..., H]
        """
        embedded: torch.Tensor = self.embedding(ids)
        return embedded

    @torch.no_grad()
    def table(self) -> torch.Tensor:
        """All embeddings in the convention of :meth:`embed`, [V, H]."""
        weight = self.embedding.weight
        if type(self.embedding) is nn.Embedding:
            # A plain embedding's table is its weight: no copy of what may be 2 GB.
            return weight.detach()
        return self.embed(torch.arange(self.vocab_size, device=weight.device))

    def load_model(self) -> PreTrainedModel:
        """The causal LM itself, frozen; loaded at the first call, then kept.

        Returns
        -------
        transformers.PreTrainedModel
        """
        if self.model is None:
            model = self._load()
            self.model = model.requires_grad_(False)
            # One table in memory, not two.
            self.embedding = model.get_input_embeddings()
            self.eval()
        return self.model

    def _load(self) -> Any:
        # Any: transformers types this class, and not the model that it makes.
        model: Any
        if self._gguf is not None:
            table: Any = self.embedding.weight
            arguments = (self._full_config, table, self.dtype, self.source)
            return load_gguf(self._gguf, *arguments)
        hub.check_weights(self.source)
        options = {}
        if self._quantization is not None:
            device = self.embedding.weight.device
            options = quantized_options(self._quantization, self.dtype, device)
        model = AutoModelForCausalLM.from_pretrained(
            **address(self.source),
            config=self._full_config,
            dtype=self.dtype,
            trust_remote_code=False,
            **options,
        )
        if self._quantization is not None:
            check_quantized(model, self.embedding.weight, self.source)
        elif hasattr(self, "embedding"):
            model = model.to(self.embedding.weight.device)
        return model

    @contextlib.contextmanager
    def base_model(self) -> Iterator["TextLLM"]:
        """The LLM as it came, in the block: no adapters that it got, no dropout.

        That holds for the thread that enters the block. Another thread may have the
        tuned LLM write meanwhile; neither waits for the other.

        Yields
        ------
        TextLLM

        Example
        -------
        >>> llm = TextLLM(getfixture("tiny_llm_folder"))
        >>> with llm.base_model() as base:
        ...     base is llm
        True
        """
        training: list[dict[str, Any]] = []
        if self.model is not None and self.model.training:
            training = [vars(x) for x in self.model.modules() if x.training]
        token = _AS_BASE.set(_AS_BASE.get() | {self.adapter_key})
        # Each step of a training comes by here: eval() looks at each attribute that it
        # sets, which with a thousand modules takes longer than a layer of the LLM.
        for attributes in training:
            attributes["training"] = False
        try:
            yield self
        finally:
            _AS_BASE.reset(token)
            for attributes in training:
                attributes["training"] = True

    @property
    def start_id(self) -> int:
        """The token to start a text with where the LLM predicts the first token too.

        The start-of-text token that its tokenizer knows, used by itself or not, or the
        end-of-text token where it knows none, as is usual in evaluating LLMs (Gao et
        al., the LM Evaluation Harness).

        Raises
        ------
        ValueError
            If the tokenizer has neither.
        """
        start: int | None = self.tokenizer.bos_token_id
        start = self.tokenizer.eos_token_id if start is None else start
        if start is None:
            raise ValueError(
                f"the tokenizer of '{self.source}' has neither a start-of-text nor an "
                f"end-of-text token: set its bos_token"
            )
        return start

    def train(self, mode: bool = True) -> "TextLLM":
        """Stays in eval mode: the LLM is frozen."""
        return super().train(False)


def load_tokenizer(source: str) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a model.

    Arguments
    ---------
    source : str
        Hub id or folder.

    Returns
    -------
    transformers.PreTrainedTokenizerFast

    Raises
    ------
    ValueError
        If there is none, or it gives no character offsets.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            **address(source), trust_remote_code=False
        )
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(
            f"'{source}' has no tokenizer that can be loaded (tokenizer.json, or a "
            f"SentencePiece model with the sentencepiece package installed): {error}"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(
            f"the tokenizer of '{source}' ({type(tokenizer).__name__}) gives no "
            f"character offsets, which the segmenter needs: use a model that has a "
            f"fast tokenizer (tokenizer.json)"
        )
    return tokenizer


def _bos_id(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """The special token that the LLM's own tokenizer puts before a text, if any."""
    first: int = tokenizer("a").input_ids[0]
    return first if first in tokenizer.all_special_ids else None
