"""The conditions of an evaluation that come with this package.

| condition | what is spoken is |
|---|---|
| ``none`` | left out |
| ``written`` | the text as the set writes it, with case and marks |
| ``text`` | the reference transcript as text: the best to hope for |
| ``cascade`` | the segmenter's own hypothesis, as text |
| ``predicted`` | vectors, of segments found in the audio alone |
| ``forced`` | vectors, of segments cut with the help of the reference transcript |
| ``predicted_lm_fusion`` | as ``predicted``, with what the LLM expects multiplied in |
| ``forced_lm_fusion`` | as ``forced``, with what the LLM expects multiplied in |
| ``base`` | as ``text``, read by the LLM as it was before it was tuned |
| ``base_none`` | left out, read by the LLM as it was before it was tuned |

An extension's own is added to the registry's table ``conditions``.
"""

from collections.abc import Iterable, Sequence

import torch

from ssr_plugin.evaluation.harness.condition import (
    Condition,
    transcript_input,
    transcript_tokens,
)
from ssr_plugin.evaluation.harness.items import Content, Item, SpokenText
from ssr_plugin.inference.speech import Speech
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.registry import get_registry


class Nothing(Condition):
    """The spoken content of the context is left out."""

    name = "none"
    title = "left out"
    order = 0

    def why_unavailable(self, lm: SpeechLM, items: Sequence[Item]) -> str | None:
        """See :meth:`Condition.why_unavailable`."""
        if not any(_spoken_context(item) for item in items):
            return "nothing is said before the choices"
        return super().why_unavailable(lm, items)

    def content_input(
        self, lm: SpeechLM, content: SpokenText, speech: Speech | None
    ) -> str | Speech:
        """See :meth:`Condition.content_input`."""
        return transcript_input(lm, "")


class Written(Condition):
    """The text as the set writes it."""

    name = "written"
    title = "the text as the set writes it"
    order = 10

    def why_unavailable(self, lm: SpeechLM, items: Sequence[Item]) -> str | None:
        """See :meth:`Condition.why_unavailable`."""
        spoken = (content for item in items for content in _spoken_context(item))
        if not any(content.written is not None for content in spoken):
            return "the set has the transcript alone"
        return super().why_unavailable(lm, items)

    def content_input(
        self, lm: SpeechLM, content: SpokenText, speech: Speech | None
    ) -> str | Speech:
        """See :meth:`Condition.content_input`."""
        return content.text if content.written is None else content.written


class Text(Condition):
    """The reference transcript, as the tokens that the connector was taught by."""

    name = "text"
    title = "the transcript as text, the best to hope for"
    order = 20


class Cascade(Condition):
    """The segmenter's own hypothesis, as text."""

    name = "cascade"
    title = "the segmenter's own hypothesis, as text"
    order = 30
    segmentation = "predicted"
    uses_transcripts = False
    why_unanswered = "the segmenter does not say what it hears"

    def can_answer(self, item: Item, speech: Sequence[Speech]) -> bool:
        """See :meth:`Condition.can_answer`: the segmenter must say what it hears."""
        return all(x.hypothesis is not None or not len(x) for x in speech)

    def content_input(
        self, lm: SpeechLM, content: SpokenText, speech: Speech | None
    ) -> str | Speech:
        """See :meth:`Condition.content_input`."""
        return transcript_input(
            lm, content.text if speech is None else self.reading(speech)
        )

    def choice_input(
        self, lm: SpeechLM, choice: Content, speech: Speech | None
    ) -> tuple[list[int], torch.Tensor | None]:
        """See :meth:`Condition.choice_input`."""
        if speech is None:
            return super().choice_input(lm, choice, None)
        return transcript_tokens(lm, self.reading(speech)), None

    def reading(self, speech: Speech) -> str:
        """See :meth:`Condition.reading`."""
        return speech.hypothesis or ""


class Predicted(Condition):
    """Vectors of segments that are found in the audio alone.

    A choice that is heard is scored by the tokens that its vectors read as.
    """

    name = "predicted"
    title = "vectors, segments found in the audio alone"
    order = 40
    segmentation = "predicted"
    uses_transcripts = False

    def choice_input(
        self, lm: SpeechLM, choice: Content, speech: Speech | None
    ) -> tuple[list[int], torch.Tensor | None]:
        """See :meth:`Condition.choice_input`."""
        if speech is None:
            return super().choice_input(lm, choice, None)
        return speech.tokens, speech.vectors


class Forced(Condition):
    """Vectors of segments that are cut with the help of the transcript.

    A choice that is heard is scored by the tokens of its transcript.
    """

    name = "forced"
    title = "vectors, segments cut with the help of the reference transcript"
    order = 50
    segmentation = "forced"


class PredictedLMFusion(Predicted):
    """As ``predicted``, with LM fusion."""

    name = "predicted_lm_fusion"
    title = "as predicted, what the LLM expects multiplied into what is heard"
    order = 60
    lm_fusion = True


class ForcedLMFusion(Forced):
    """As ``forced``, with LM fusion."""

    name = "forced_lm_fusion"
    title = "as forced, what the LLM expects multiplied into what is heard"
    order = 70
    lm_fusion = True


class Base(Text):
    """As ``text``, read by the LLM as it was before it was tuned."""

    name = "base"
    title = "the transcript as text, read by the LLM before it was tuned"
    order = 80
    base_model = True
    unconditional = "base_none"


class BaseNothing(Nothing):
    """As ``none``, read by the LLM as it was before it was tuned."""

    name = "base_none"
    title = "left out, read by the LLM before it was tuned"
    order = 90
    base_model = True
    unconditional = "base_none"


def _spoken_context(item: Item) -> list[SpokenText]:
    """The spoken contents of an item's context."""
    return [content for content in item.context if isinstance(content, SpokenText)]


def make_conditions(names: Iterable[str]) -> list[Condition]:
    """Conditions by their names.

    Arguments
    ---------
    names : list of str

    Returns
    -------
    list of Condition
        In the order in which they are shown.

    Raises
    ------
    ValueError
        If there is none of that name.

    Example
    -------
    >>> [condition.name for condition in make_conditions(["forced", "text"])]
    ['text', 'forced']
    """
    table = get_registry().conditions
    return sort_conditions({name: table.get(name)() for name in names}.values())


def sort_conditions(conditions: Iterable[Condition]) -> list[Condition]:
    """Conditions in the order in which they are shown, each name once."""
    by_name = {condition.name: condition for condition in conditions}
    return sorted(
        by_name.values(), key=lambda condition: (condition.order, condition.name)
    )


def choose_conditions(
    conditions: Iterable[Condition], lm: SpeechLM, items: Sequence[Item]
) -> tuple[list[Condition], list[str]]:
    """The conditions in which a model can be asked about some items.

    Arguments
    ---------
    conditions : list of Condition
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    items : list of Item

    Returns
    -------
    conditions : list of Condition
    notes : list of str
        Why others are missing.

    Raises
    ------
    ValueError
        If there are none.
    """
    available: list[Condition] = []
    missing: dict[str, list[str]] = {}
    for condition in conditions:
        reason = condition.why_unavailable(lm, items)
        if reason is None:
            available.append(condition)
        else:
            missing.setdefault(reason, []).append(condition.name)
    notes = [f"no {', '.join(names)}: {reason}" for reason, names in missing.items()]
    if not available:
        raise ValueError(f"no condition is left: {'; '.join(notes)}")
    return available, notes
