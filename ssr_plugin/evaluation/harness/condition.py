"""What every condition is: a way in which an LLM gets at what is said in an item."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from ssr_plugin.evaluation.harness.items import (
    ChoiceItem,
    Content,
    Item,
    SpokenText,
    has_audio,
)
from ssr_plugin.inference.prompts import Contents
from ssr_plugin.inference.speech import Speech
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.llm.tokens import tokenize_inside
from ssr_plugin.segmenters.base import TranscriptSegmenter

if TYPE_CHECKING:
    # PEFT takes long to import, and most models are not tuned.
    from ssr_plugin.llm.tuning import TunedLLM


class Condition:
    """One way to read the spoken contents of an item: an arm of the experiment.

    The same items are put to the same LLM in each condition, token for token, so that
    conditions differ in nothing but what stands for speech. A subclass is registered by
    name in the table ``conditions``; most of them set a few attributes and say in
    :meth:`content_input` what the LLM is given. It has no options.

    A content that has no audio, in an item that has some elsewhere, is read as its
    transcript by the conditions that listen.

    Attributes
    ----------
    name : str
        By which it is registered, asked for and coloured
        (:data:`ssr_plugin.metrics.colours.CONDITION_COLOURS`).
    title : str
        What stands for speech, in a few words for the report.
    order : int
        Conditions are shown from the lowest to the highest.
    segmentation : str or None
        "predicted" or "forced": how segments are cut where it listens; None where it
        does not.
    lm_fusion : bool
        Whether what the LLM expects is multiplied into what the connector hears.
    base_model : bool
        Whether the LLM reads as it was before it was tuned.
    uses_transcripts : bool
        Whether it needs the transcript of what is said in the choices.
    why_unanswered : str
        Why there are items that :meth:`can_answer` leaves out, for the report.
    unconditional : str
        The condition whose log-likelihoods the metric ``pmi`` takes off: the same LLM,
        to which nothing is said.

    Example
    -------
    >>> from ssr_plugin.evaluation.harness.items import SpokenText
    >>> class Shouted(Condition):
    ...     name, title, order = "shouted", "its transcript in capitals", 90
    ...     def content_input(self, lm, content, speech):
    ...         return transcript_input(lm, content.text.upper())
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> item = ChoiceItem("1", (SpokenText("the cat"), " sat"), (" a", " b"), 0)
    >>> [getattr(x, "text", x) for x in Shouted().fill_context(lm, item, [])]
    ['THE CAT', ' sat']
    """

    name: str
    title: str
    order: int = 100
    segmentation: str | None = None
    lm_fusion: bool = False
    base_model: bool = False
    uses_transcripts: bool = True
    why_unanswered: str = "some items cannot be read so"
    unconditional: str = "none"

    @property
    def listens(self) -> bool:
        """Whether it hears audio."""
        return self.segmentation is not None

    def why_unavailable(self, lm: SpeechLM, items: Sequence[Item]) -> str | None:
        """Why a model cannot be asked about some items so.

        Arguments
        ---------
        lm : ssr_plugin.inference.speech_lm.SpeechLM
        items : list of Item

        Returns
        -------
        str or None
            The reason, for the report; None if it can.
        """
        if self.listens and not all(item.recordings() for item in items):
            return "there is nothing to hear: the set is read as text alone"
        if self.segmentation == "predicted" and "predicted" not in lm.segmenters:
            return "this model has no segmenter for audio alone"
        if self.lm_fusion and not lm.embedder.can_fuse:
            return "this model has no LM fusion"
        if self.base_model and lm.tuned is None:
            return "the LLM was not tuned"
        if self.uses_transcripts and any(map(_is_untold, items)):
            return "the set does not tell all that is said"
        return None

    def can_answer(self, item: Item, speech: Sequence[Speech]) -> bool:
        """Whether it can read an item, as it turns out once it was heard.

        Arguments
        ---------
        item : Item
        speech : list of Speech
            What was heard in each of :meth:`Item.recordings`.
        """
        return True

    @contextlib.contextmanager
    def reader(self, lm: SpeechLM) -> Iterator["TextLLM | TunedLLM"]:
        """The LLM that reads, in the block.

        Arguments
        ---------
        lm : ssr_plugin.inference.speech_lm.SpeechLM

        Yields
        ------
        ssr_plugin.llm.text_llm.TextLLM or ssr_plugin.llm.tuning.TunedLLM
        """
        if lm.tuned is None:
            yield lm.llm
        elif self.base_model:
            with lm.tuned.base_model() as llm:
                yield llm
        else:
            yield lm.tuned

    # --- What the LLM is given -------------------------------------------------------

    def content_input(
        self, lm: SpeechLM, content: SpokenText, speech: Speech | None
    ) -> str | Speech:
        """What stands for a spoken content of the context.

        Arguments
        ---------
        lm : ssr_plugin.inference.speech_lm.SpeechLM
        content : SpokenText
        speech : Speech or None
            What was heard in it; None where it has no audio, or the condition does not
            listen.

        Returns
        -------
        str or Speech
            A content of a prompt: by default the vectors, or those of the transcript's
            tokens.
        """
        return transcript_input(lm, content.text) if speech is None else speech

    def choice_input(
        self, lm: SpeechLM, choice: Content, speech: Speech | None
    ) -> tuple[list[int], torch.Tensor | None]:
        """The tokens by which a choice is scored, and what is read in their place.

        Arguments
        ---------
        lm : ssr_plugin.inference.speech_lm.SpeechLM
        choice : str or SpokenText
        speech : Speech or None
            As in :meth:`content_input`.

        Returns
        -------
        tokens : list of int
            By default those of the transcript.
        vectors : torch.Tensor or None
            [K, H], one for each: by default those of what was heard, so that each token
            is scored given the vectors before it. None reads the tokens.
        """
        if isinstance(choice, str):
            return tokenize_inside(lm.llm.tokenizer, choice), None
        tokens = transcript_tokens(lm, choice.text)
        return tokens, None if speech is None else speech.vectors

    def reading(self, speech: Speech) -> str:
        """As what text a recording is read, for the report."""
        return speech.text

    def fill_context(
        self, lm: SpeechLM, item: Item, speech: Sequence[Speech]
    ) -> Contents:
        """An item's context as a prompt.

        Arguments
        ---------
        lm : ssr_plugin.inference.speech_lm.SpeechLM
        item : Item
        speech : list of Speech
            What was heard in each of :meth:`Item.recordings`; empty where the condition
            does not listen.

        Returns
        -------
        list of (str or Speech)
        """
        pairs = zip(item.context, self._speech_of(item.context, speech), strict=True)
        return [
            x if isinstance(x, str) else self.content_input(lm, x, spoken)
            for x, spoken in pairs
        ]

    def fill_choices(
        self, lm: SpeechLM, item: ChoiceItem, speech: Sequence[Speech]
    ) -> list[tuple[list[int], torch.Tensor | None]]:
        """What :meth:`choice_input` gives of each choice of an item.

        Arguments
        ---------
        lm, speech
            Of :meth:`fill_context`.
        item : ChoiceItem

        Returns
        -------
        list of (list of int, torch.Tensor or None)
        """
        count = sum(map(has_audio, item.choices))
        spoken = self._speech_of(item.choices, speech[len(speech) - count :])
        return [
            self.choice_input(lm, choice, x)
            for choice, x in zip(item.choices, spoken, strict=True)
        ]

    def _speech_of(
        self, contents: Sequence[Content], speech: Sequence[Speech]
    ) -> list[Speech | None]:
        """Of each content what was heard in it, if anything was."""
        waiting = iter(speech)
        return [next(waiting, None) if has_audio(x) else None for x in contents]


def transcript_input(lm: SpeechLM, text: str) -> Speech:
    """A text in the place of speech: the embeddings of a transcript's tokens.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    text : str
        May be empty.

    Returns
    -------
    Speech
        Without times.
    """
    tokens = transcript_tokens(lm, text)
    vectors = lm.llm.embed(torch.tensor(tokens, dtype=torch.long, device=lm.device))
    return Speech(vectors, tokens, text, [], [], "none", None, 0.0)


def transcript_tokens(lm: SpeechLM, text: str) -> list[int]:
    """A transcript's tokens, as the connector was taught to read them."""
    segmenter = lm.segmenters["forced"]
    assert isinstance(segmenter, TranscriptSegmenter)
    return segmenter.tokenize(text)[0] if text.strip() else []


def _is_untold(item: Item) -> bool:
    """Whether an item has a choice whose transcript the set does not tell."""
    return isinstance(item, ChoiceItem) and any(
        isinstance(choice, SpokenText) and not choice.text for choice in item.choices
    )
