"""A text LLM that reads speech: what users import."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import huggingface_hub
import torch
from speechbrain.utils.distributed import infer_device
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, TextIteratorStreamer

from ssr_plugin.alignment.record import Alignment
from ssr_plugin.connectors.base import Connector
from ssr_plugin.data.audio import AudioError
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.inference import pretrained
from ssr_plugin.inference.chat import Message, render_chat
from ssr_plugin.inference.embedder import Embedder
from ssr_plugin.inference.growing_prompt import GrowingPrompt
from ssr_plugin.inference.posterior_gate import gate_of
from ssr_plugin.inference.prompts import Contents, Prompt, embed_prompt, parse_prompts
from ssr_plugin.inference.speech import Recording, Speech, are_many, is_speech
from ssr_plugin.inference.speech_stream import (
    SpeechStream,
    StreamSettings,
    read_stream,
)
from ssr_plugin.llm.choices import score_choices
from ssr_plugin.llm.lm_fusion import LMFusion
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.llm.tokens import tokenize_inside
from ssr_plugin.segmenters.base import Segmenter

if TYPE_CHECKING:
    from ssr_plugin.build import SegmenterPair

    # PEFT takes long to import, and most models are not tuned.
    from ssr_plugin.llm.tuning import TunedLLM

# How many tokens are written if nobody says.
_NEW_TOKENS = 128


class SpeechLM(nn.Module):
    """Encoder, segmenter, connector and LLM, ready for use.

    ``wav`` is a path, ``(samples, rate)``, a dict or decoder as Hugging Face
    ``datasets`` gives them, or what :meth:`embed` gave. A prompt is a string, or a list
    of strings and speech; there a path is a ``pathlib.Path``, since a string is text.
    Each method takes one, or a list of many (of recordings also a column of
    ``datasets``), and gives one result or a list; what is done together gives what is
    done alone.

    Speech in a prompt is what the connector alone hears. LM fusion, where the LLM's
    expectation is multiplied in, is :meth:`embed`'s to ask for; :meth:`transcribe` does
    so by itself.

    Threads may share a model: one may embed while another has the LLM write.

    Arguments
    ---------
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    llm : ssr_plugin.llm.text_llm.TextLLM
        As the connector learnt from it.
    connector : torch.nn.Module
    segmenters : dict
        "forced" and "predicted", as :func:`ssr_plugin.build.segmenters` gives them.
    settings : dict
        What ``speech_lm.json`` keeps besides: see
        :mod:`ssr_plugin.inference.pretrained`.
    tuned : ssr_plugin.llm.tuning.TunedLLM or None
        The LLM after stage 2.

    Attributes
    ----------
    embedder : ssr_plugin.inference.embedder.Embedder
        What turns audio into :class:`Speech`.
    metrics : dict or None
        What was measured when it was made.

    Example
    -------
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> wav = (torch.rand(16000) - 0.5, 16000)
    >>> speech = lm.embed(wav)
    >>> speech.vectors.shape[1], speech.segmentation
    (16, 'predicted')
    >>> answer = lm.generate(["Question: ", wav, "\\nAnswer:"], max_new_tokens=3)
    >>> isinstance(answer, str)
    True
    >>> lm.score(["Said: ", speech], " the cat") < 0
    True
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        llm: TextLLM,
        connector: Connector,
        segmenters: "Mapping[str, Segmenter | None] | SegmenterPair",
        settings: dict[str, Any],
        tuned: "TunedLLM | None" = None,
    ) -> None:
        super().__init__()
        lm_fusion = LMFusion(**settings["lm_fusion"])
        gate = gate_of(settings.get("gate"))
        self.embedder = Embedder(encoder, segmenters, connector, llm, lm_fusion, gate)
        self.llm = llm
        self.settings = settings
        self.tuned = tuned
        self.metrics: dict[str, Any] | None = None
        self.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        revision: str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "float32",
        encoder_dtype: str = "auto",
        encoder_source: str | None = None,
        llm_source: str | None = None,
        token: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        segmenter: str | None = None,
        segmenter_options: Mapping[str, Any] | None = None,
        quantization: str | None = None,
    ) -> "SpeechLM":
        """Loads a model.

        Only JSON and safetensors are read, and only classes that are registered here
        are used: nothing that comes with a model is run.

        Arguments
        ---------
        source : str
            Hub id, ``id@revision``, or folder: that of a run, or of
            :meth:`save_pretrained`.
        revision : str or None
            Commit, tag or branch on the hub.
        device : str or None
            By default a GPU if there is one.
        dtype : str or torch.dtype
            Of the LLM.
        encoder_dtype : str
            Of :class:`ssr_plugin.encoders.encoder.SpeechEncoder`.
        encoder_source, llm_source : str or None
            Where they are, if not where the model says. They must be the same models.
            The LLM's may be a GGUF file, which gives its layers; its table and
            tokenizer are read where the model says.
        token : str or None
            For private models of the hub.
        cache_dir : path-like or None
            Where files of the hub are kept.
        segmenter : str or None
            Another for audio alone than the model's own: a name, as "asr", or the
            folder of a trained one.
        segmenter_options : dict or None
            Of segmenters, by name: ``{"asr": {"source": "openai/whisper-base"}}``.
        quantization : str or None
            "4bit" or "8bit": the LLM's linear layers, by bitsandbytes (extra
            ``[quantized]``). Its table stays as the connector learnt it.

        Returns
        -------
        SpeechLM

        Raises
        ------
        ValueError
            If there is no such model, or it is damaged, or names a component that
            nobody registered, or encoder or LLM are not those it was trained with, or
            its LLM cannot be quantised.
        """
        device = device or infer_device()
        folder = pretrained.find_folder(source, revision, token, cache_dir)
        components = pretrained.load_components(
            folder,
            dtype,
            encoder_dtype,
            encoder_source,
            llm_source,
            segmenter,
            segmenter_options,
            quantization,
            device,
        )
        lm = cls(**vars(components))
        lm.metrics = pretrained.read_metrics(folder)
        return lm.to(device)

    @classmethod
    def from_hparams(
        cls,
        source: str | os.PathLike[str],
        savedir: str | os.PathLike[str] | None = None,
        run_opts: dict[str, Any] | None = None,
        **options: Any,
    ) -> "SpeechLM":
        """Loads a model the way SpeechBrain's interfaces do.

        No YAML is read: what the model is made of is told by its JSON.

        Arguments
        ---------
        source : str
            Hub id or folder.
        savedir : path-like or None
            Where files of the hub are kept, in place of the hub's own cache.
        run_opts : dict or None
            ``{"device": "cuda:0"}``; other options of SpeechBrain have no say.
        **options
            Of :meth:`from_pretrained`.
        """
        device = (run_opts or {}).get("device")
        return cls.from_pretrained(
            source, **{"device": device, "cache_dir": savedir, **options}
        )

    def save_pretrained(self, folder: str | os.PathLike[str], **options: Any) -> None:
        """Writes it: see :func:`ssr_plugin.inference.pretrained.save_speech_lm`."""
        pretrained.save_speech_lm(folder, self, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> huggingface_hub.CommitInfo:
        """Publishes it: see :func:`ssr_plugin.inference.pretrained.push_speech_lm`."""
        return pretrained.push_speech_lm(repo_id, self, **options)

    def __repr__(self) -> str:
        """What it is made of, in a few lines."""
        encoder, llm = self.encoder, self.llm
        size = sum(p.numel() for p in self.connector.parameters())
        segmenter = self.settings["segmenter"]
        rows = {
            "encoder": f"{encoder.source}, layer {encoder.backbone.layer}, width "
            f"{encoder.width}, {encoder.frame_rate:g} Hz",
            "segmenter": segmenter["name"] if segmenter else "none for audio alone",
            "connector": f"{self.settings['connector']['name']}, {size:,} parameters",
            "LLM": f"{llm.source}, width {llm.hidden_size}, {llm.vocab_size:,} tokens, "
            f"{'base model' if self.tuned is None else f'tuned ({self.tuned.kind})'}",
            "device": f"{self.device}, "
            f"{str(llm.embedding.weight.dtype).removeprefix('torch.')}",
        }
        lines = (f"  {name + ':':<11}{text}" for name, text in rows.items())
        return "\n".join(["SpeechLM(", *lines, ")"])

    @property
    def encoder(self) -> SpeechEncoder:
        """The embedder's."""
        return self.embedder.encoder

    @property
    def segmenters(self) -> nn.ModuleDict:
        """The embedder's: "forced", and "predicted" where there is one."""
        return self.embedder.segmenters

    @property
    def connector(self) -> nn.Module:
        """The embedder's."""
        return self.embedder.connector

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.embedder.device

    @property
    def model(self) -> PreTrainedModel:
        """What writes: the transformers model, tuned if it was."""
        return self.llm.load_model() if self.tuned is None else self.tuned.model

    def train(self, mode: bool = True) -> "SpeechLM":
        """Stays in eval mode: it is for use."""
        return super().train(False)

    # --- Speech to vectors -------------------------------------------------------

    @overload
    def embed(
        self,
        wav: list[Any],
        alignment: Sequence[Alignment | None] | None = None,
        batch_seconds: float | None = None,
        lm_fusion: bool = False,
    ) -> list[Speech]: ...

    @overload
    def embed(
        self,
        wav: Recording | Speech,
        alignment: Alignment | None = None,
        batch_seconds: float | None = None,
        lm_fusion: bool = False,
    ) -> Speech: ...

    def embed(
        self,
        wav: Any,
        alignment: Any = None,
        batch_seconds: float | None = None,
        lm_fusion: bool = False,
    ) -> Any:
        """Speech as vectors in the LLM's embedding space.

        The embedder's: see :meth:`ssr_plugin.inference.embedder.Embedder.embed`.

        Arguments
        ---------
        wav : speech, or list of speech
        alignment : ssr_plugin.alignment.record.Alignment, list of them, or None
            With one, segments are forced; without, found in the audio alone.
        batch_seconds : float or None
            Audio that goes through together, padding included, s. None takes what suits
            the device.
        lm_fusion : bool
            Whether what the LLM expects is multiplied into what the connector hears.

        Returns
        -------
        Speech, or list of Speech
        """
        return self.embedder.embed(wav, alignment, batch_seconds, lm_fusion)

    def embed_each(
        self,
        wavs: Iterable[Recording],
        batch_seconds: float | None = None,
        lm_fusion: bool = False,
    ) -> Iterator[Speech | AudioError]:
        """Speech as vectors, one recording after another, whatever others are like.

        See :meth:`ssr_plugin.inference.embedder.Embedder.embed_each`.
        """
        return self.embedder.embed_each(wavs, batch_seconds, lm_fusion)

    def embed_cuts(
        self,
        wavs: Sequence[Recording],
        alignments: Sequence[Sequence[Alignment | None]],
        batch_seconds: float | None = None,
        lm_fusion: bool | Sequence[bool] = False,
    ) -> list[list[Speech]]:
        """Speech read in several ways, each recording encoded once.

        See :meth:`ssr_plugin.inference.embedder.Embedder.embed_cuts`.
        """
        return self.embedder.embed_cuts(wavs, alignments, batch_seconds, lm_fusion)

    # --- Speech that is still going on -------------------------------------------

    def stream_speech(
        self,
        chunks: Iterable[Any],
        sample_rate: int | None = None,
        lm_fusion: bool = False,
        settings: StreamSettings | None = None,
        end_pause: float | None = None,
    ) -> Iterator[Speech]:
        """Speech as vectors while it is spoken, piece by piece as they are settled.

        Memory does not grow with the speech. See
        :class:`ssr_plugin.inference.speech_stream.SpeechStream`, which takes chunks one
        by one.

        Arguments
        ---------
        chunks : iterable of array-like
            [S] samples of one channel, of any size: float in -1..1, int16 or int32.
        sample_rate : int or None
            Theirs, Hz; by default the encoder's.
        lm_fusion : bool
            Whether what the LLM expects is multiplied into what the connector hears.
        settings : ssr_plugin.inference.speech_stream.StreamSettings or None
            How late and how well; None takes what suits the segmenter.
        end_pause : float or None
            Ends when nobody has spoken for so long, s, after somebody has. None: when
            there are no more chunks.

        Yields
        ------
        Speech
            With a vector or more; times are those of the stream.

        Raises
        ------
        ValueError
            If there is no segmenter for audio alone, or it cannot work on a stream.

        Example
        -------
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> prompt = lm.growing_prompt()
        >>> prompt.append("Said: ")
        >>> for speech in lm.stream_speech(torch.rand(40, 800) - 0.5):
        ...     prompt.append(speech)
        >>> isinstance(prompt.generate(max_new_tokens=3), str)
        True
        """
        stream = SpeechStream(self.embedder, sample_rate, lm_fusion, settings)
        return read_stream(stream, chunks, end_pause)

    def growing_prompt(self) -> GrowingPrompt:
        """A prompt that the LLM reads while it grows: text, and speech as it settles.

        Returns
        -------
        ssr_plugin.inference.growing_prompt.GrowingPrompt
        """
        return GrowingPrompt(self)

    # --- Text out ----------------------------------------------------------------

    @overload
    def transcribe(
        self,
        wav: list[Any],
        prompt: str | None = None,
        alignment: Sequence[Alignment | None] | None = None,
        lm_fusion: bool | None = None,
        **options: Any,
    ) -> list[str]: ...

    @overload
    def transcribe(
        self,
        wav: Recording | Speech,
        prompt: str | None = None,
        alignment: Alignment | None = None,
        lm_fusion: bool | None = None,
        **options: Any,
    ) -> str: ...

    def transcribe(
        self,
        wav: Any,
        prompt: str | None = None,
        alignment: Any = None,
        lm_fusion: bool | None = None,
        **options: Any,
    ) -> Any:
        """What was said.

        Arguments
        ---------
        wav : speech, or list of speech
            What was embedded already is not embedded anew: its text is its own, made
            with LM fusion or without.
        prompt : str or None
            None takes the tokens that are nearest to the vectors: fast, and the better
            way unless the LLM was tuned to transcribe. A text ("\\n") lets the LLM
            write after vectors and text.
        alignment
            Of :meth:`embed`.
        lm_fusion : bool or None
            Whether what the LLM expects is multiplied into what the connector hears:
            fewer errors, but some of the text may be guessed. None does so without a
            prompt; with one, the LLM reads what it was tuned on: the connector alone.
        **options
            Of :meth:`generate`, with a prompt.

        Returns
        -------
        str, or list of str
        """
        single = not are_many(wav)
        wavs = [wav] if single else list(wav)
        alignments = [alignment] if single else alignment
        if lm_fusion is None:
            lm_fusion = prompt is None
        speeches = self.embed(wavs, alignments, lm_fusion=lm_fusion)
        if prompt is None:
            texts = [speech.text for speech in speeches]
        else:
            prompts: list[Contents] = [[speech, prompt] for speech in speeches]
            texts = [text.strip() for text in self.generate(prompts, **options)]
        return texts[0] if single else texts

    # How many texts come of a prompt depends on the number.
    @overload
    def generate(
        self,
        prompt: Prompt | list[Contents],
        batch_size: int = 16,
        *,
        num_return_sequences: int,
        **options: Any,
    ) -> Any: ...

    @overload
    def generate(
        self, prompt: list[Contents], batch_size: int = 16, **options: Any
    ) -> list[str]: ...

    @overload
    def generate(self, prompt: Prompt, batch_size: int = 16, **options: Any) -> str: ...

    def generate(
        self, prompt: Prompt | list[Contents], batch_size: int = 16, **options: Any
    ) -> Any:
        """What the LLM writes after a prompt.

        Arguments
        ---------
        prompt : prompt, or list of prompts
        batch_size : int
            Prompts that go through the LLM together.
        **options
            Of ``transformers.GenerationMixin.generate``; ``max_new_tokens`` is 128 if
            neither they nor a ``generation_config`` say.

        Returns
        -------
        str, or list of str
            With ``num_return_sequences`` above 1, a list of str for each prompt.
        """
        prompts, single = parse_prompts(prompt)
        embeds = self._embed_prompts(prompts)
        count = _sequences(options)
        texts: list[str] = []
        for first in range(0, len(embeds), batch_size):
            ids = self.write(embeds[first : first + batch_size], options)
            texts += self.llm.tokenizer.batch_decode(ids, skip_special_tokens=True)
        if count > 1:
            grouped = [texts[i : i + count] for i in range(0, len(texts), count)]
            return grouped[0] if single else grouped
        return texts[0] if single else texts

    def stream(self, prompt: Prompt, **options: Any) -> Iterator[str]:
        """What the LLM writes after one prompt, piece by piece as it is written.

        It is written by a thread of its own, so that the model may be used meanwhile.

        Arguments
        ---------
        prompt : prompt
        **options
            Of :meth:`generate`.

        Yields
        ------
        str

        Example
        -------
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> whole = lm.generate("the cat", max_new_tokens=5)
        >>> "".join(lm.stream("the cat", max_new_tokens=5)) == whole
        True
        """
        prompts, single = parse_prompts(prompt)
        if not single:
            raise ValueError("only one prompt at a time can be streamed")
        return self.stream_text(self._embed_prompts(prompts)[0], **options)

    def stream_text(self, embeds: torch.Tensor, **options: Any) -> Iterator[str]:
        """:meth:`stream` after a prompt that is embedded already.

        Arguments
        ---------
        embeds : torch.Tensor
            [L, H], of :meth:`embed_prompts`.
        **options
            Of :meth:`generate`.

        Yields
        ------
        str
        """
        # Loaded once, before two threads ask for it.
        _ = self.model
        streamer = TextIteratorStreamer(self.llm.tokenizer, skip_special_tokens=True)
        errors: list[Exception] = []

        def write() -> None:
            try:
                self.write([embeds], {**options, "streamer": streamer})
            except Exception as error:
                errors.append(error)
                streamer.end()

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        yield from streamer
        thread.join()
        if errors:
            raise errors[0]

    @overload
    def chat(
        self,
        messages: str | list[Message] | list[list[Message]],
        *,
        num_return_sequences: int,
        **options: Any,
    ) -> Any: ...

    @overload
    def chat(self, messages: list[list[Message]], **options: Any) -> list[str]: ...

    @overload
    def chat(self, messages: str | list[Message], **options: Any) -> str: ...

    def chat(
        self, messages: str | list[Message] | list[list[Message]], **options: Any
    ) -> Any:
        """What the LLM answers in a conversation, by its own chat template.

        Arguments
        ---------
        messages : str, list of dict, or list of lists of dict
            Of :func:`ssr_plugin.inference.chat.render_chat`; of a list of lists each is
            a conversation of its own.
        **options
            Of :meth:`generate`.

        Returns
        -------
        str, or list of str

        Raises
        ------
        ValueError
            If the LLM has no chat template, or speech is not where it is said to be.
        TypeError
            If it is no conversation.
        """
        many = isinstance(messages, list) and bool(messages)
        many = many and all(isinstance(talk, list) for talk in messages)
        talks: list[Any] = [*messages] if many else [messages]
        prompts: list[Contents] = [render_chat(self.llm, talk) for talk in talks]
        texts = self.generate(prompts, **options)
        return texts if many else texts[0]

    @overload
    def score(
        self,
        context: Prompt,
        continuation: str,
        per_token: bool = False,
        batch_size: int = 16,
    ) -> float: ...

    @overload
    def score(
        self,
        context: list[Contents],
        continuation: str | list[str],
        per_token: bool = False,
        batch_size: int = 16,
    ) -> list[float]: ...

    @overload
    def score(
        self,
        context: Prompt,
        continuation: list[str],
        per_token: bool = False,
        batch_size: int = 16,
    ) -> list[float]: ...

    @torch.no_grad()
    def score(
        self,
        context: Prompt | list[Contents],
        continuation: str | list[str],
        per_token: bool = False,
        batch_size: int = 16,
    ) -> float | list[float]:
        """How likely a text is after a context.

        Arguments
        ---------
        context : prompt, or list of prompts
            May be "".
        continuation : str, or list of str
            One for each context; with a single context, several to compare.
        per_token : bool
            Whether to divide by the number of the continuation's tokens.
        batch_size : int
            Texts that go through the LLM together, and a context with them once.

        Returns
        -------
        float, or list of float
            Log-likelihood, nats: the sum over the tokens.

        Raises
        ------
        ValueError
            If the numbers do not match, or a continuation is empty.

        Example
        -------
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> both = lm.score("the cat", [" sat", " saw"])
        >>> abs(both[0] - lm.score("the cat", " sat")) < 1e-4
        True
        """
        prompts, one_context = parse_prompts(context)
        single = one_context and isinstance(continuation, str)
        texts = [continuation] if isinstance(continuation, str) else list(continuation)
        contexts = self._embed_prompts(prompts)
        if not one_context and len(contexts) != len(texts):
            raise ValueError(
                f"{len(contexts)} contexts and {len(texts)} continuations: give one "
                f"for each"
            )
        tokens = [tokenize_inside(self.llm.tokenizer, text) for text in texts]
        if not all(tokens):
            raise ValueError("a continuation is empty: there is nothing to score")
        choices = [tokens] if one_context else [[ids] for ids in tokens]
        scored = score_choices(
            self.model, self.llm.embed, contexts, choices, batch_size=batch_size
        )
        scores = [score for row in scored for score in row]
        if per_token:
            scores = [s / len(t) for s, t in zip(scores, tokens, strict=True)]
        return scores[0] if single else scores

    # --- Prompts -----------------------------------------------------------------

    @overload
    def embed_prompts(self, prompt: list[Contents]) -> list[torch.Tensor]: ...

    @overload
    def embed_prompts(self, prompt: Prompt) -> torch.Tensor: ...

    def embed_prompts(
        self, prompt: Prompt | list[Contents]
    ) -> torch.Tensor | list[torch.Tensor]:
        """Prompts as what the LLM reads in place of token ids.

        They are the ``prompt_embeds`` of vLLM and the ``inputs_embeds`` of
        transformers.

        Arguments
        ---------
        prompt : prompt, or list of prompts

        Returns
        -------
        torch.Tensor, or list of torch.Tensor
            [L, H]
        """
        prompts, single = parse_prompts(prompt)
        embeds = self._embed_prompts(prompts)
        return embeds[0] if single else embeds

    def _embed_prompts(self, prompts: list[list[Any]]) -> list[torch.Tensor]:
        """[L, H] of each prompt; all speech goes through together."""
        recordings = [x for prompt in prompts for x in prompt if is_speech(x)]
        speeches = iter(self.embed(recordings))
        return [
            embed_prompt(
                self.llm, [next(speeches) if is_speech(x) else x for x in prompt]
            )
            for prompt in prompts
        ]

    @torch.no_grad()
    def write(
        self, embeds: list[torch.Tensor], options: Mapping[str, Any]
    ) -> torch.Tensor:
        """What the LLM writes after prompts that are embedded already, as tokens.

        Arguments
        ---------
        embeds : list of torch.Tensor
            [L, H] each, of :meth:`embed_prompts`.
        options : dict
            Of :meth:`generate`.

        Returns
        -------
        torch.Tensor
            [B * sequences, L] int, the new ones alone.
        """
        options = dict(options)
        if not {"max_new_tokens", "max_length", "generation_config"} & set(options):
            options["max_new_tokens"] = _NEW_TOKENS
        end = self.llm.tokenizer.eos_token_id
        if self.llm.tokenizer.pad_token_id is None and end is not None:
            options.setdefault("pad_token_id", end)
        ones = [
            torch.ones(len(x), dtype=torch.long, device=self.device) for x in embeds
        ]
        # Position ids are counted from the mask.
        model: Any = self.model
        ids: torch.Tensor = model.generate(
            inputs_embeds=pad_sequence(embeds, batch_first=True, padding_side="left"),
            attention_mask=pad_sequence(ones, batch_first=True, padding_side="left"),
            **options,
        )
        return ids


def _sequences(options: dict[str, Any]) -> int:
    """How many texts are wanted of each prompt."""
    config = options.get("generation_config")
    given = options.get("num_return_sequences")
    return given or getattr(config, "num_return_sequences", None) or 1
