"""What a model hears in a recording, and what its LLM says to a question about it."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import StoppingCriteria

from ssr_plugin.alignment.base import Aligner, AlignmentItem
from ssr_plugin.alignment.record import Alignment, AlignmentError
from ssr_plugin.evaluation.harness.condition import Condition, transcript_tokens
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.inference.chat import render_chat
from ssr_plugin.inference.prompts import embed_prompt
from ssr_plugin.inference.speech import Speech
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.nnet.stopwatch import Stopwatch
from ssr_plugin.segmenters.base import SegmentationError

#: The conditions that the page offers, where a model and a recording have them.
CONDITIONS = ("none", "text", "cascade", "predicted", "predicted_lm_fusion", "forced")
#: Where in a prompt the recording and the question go.
AUDIO, QUESTION = "{audio}", "{question}"


@dataclasses.dataclass(frozen=True)
class Heard:
    """What was heard in one recording.

    Arguments
    ---------
    samples : numpy.ndarray
        [S] float32.
    rate : int
        Hz.
    transcript : str
        As it was typed; empty if it was not.
    speeches : dict
        (segmentation, LM fusion) -> Speech: as the recording was read.
    notes : list of str
        Why it was not read in some way.
    parts : dict
        What took how long, s, in order.
    """

    samples: npt.NDArray[np.float32]
    rate: int
    transcript: str
    speeches: dict[tuple[str, bool], Speech]
    notes: list[str]
    parts: dict[str, float]

    @property
    def seconds(self) -> float:
        """Length of the recording, s."""
        return len(self.samples) / self.rate

    @property
    def predicted(self) -> Speech | None:
        """As the connector alone hears it, of segments found in the audio alone."""
        return self.speeches.get(("predicted", False))

    @property
    def forced(self) -> Speech | None:
        """As the connector alone hears it, of segments cut with the transcript."""
        return self.speeches.get(("forced", False))

    @property
    def hypothesis(self) -> str | None:
        """What the segmenter reads; None where it does not spell."""
        return None if self.predicted is None else self.predicted.hypothesis


def hear(
    lm: SpeechLM,
    samples: npt.NDArray[np.float32],
    rate: int,
    transcript: str = "",
    aligner: Aligner | None = None,
) -> Heard:
    """Reads a recording in all the ways that a model can.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    samples : numpy.ndarray
        [S] float32 in -1..1.
    rate : int
        Hz.
    transcript : str
        What is said, if it is known: segments are cut with its help, too.
    aligner : ssr_plugin.alignment.base.Aligner or None
        Finds when it was said; without one there are no forced segments.

    Returns
    -------
    Heard

    Example
    -------
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> heard = hear(lm, np.random.rand(16000).astype("float32") - 0.5, 16000)
    >>> heard.seconds, list(heard.speeches), sorted(heard.parts)[:2]
    (1.0, [('predicted', False), ('predicted', True)], ['connector', 'encoder'])
    """
    notes: list[str] = []
    timed = Stopwatch("cpu")
    alignment = None
    if transcript and aligner is not None:
        with timed("aligner"):
            alignment = _align(aligner, samples, rate, transcript, notes)
    ways: list[tuple[str, bool]] = []
    if lm.embedder.predicting is None:
        notes.append(
            "this model has no segmenter for audio alone: type the transcript, so that "
            "segments are cut with its help"
        )
    else:
        ways.append(("predicted", False))
        if lm.embedder.can_fuse:
            ways.append(("predicted", True))
    if alignment is not None:
        ways.append(("forced", False))
    with lm.embedder.timed() as stopwatch:
        try:
            speeches = _embed(lm, samples, rate, ways, alignment)
        except SegmentationError as error:
            notes.append(f"no forced segments: {_reason(error)}")
            ways = [way for way in ways if way[0] != "forced"]
            speeches = _embed(lm, samples, rate, ways, None)
    parts = timed.seconds() | stopwatch.seconds()
    return Heard(samples, rate, transcript, speeches, notes, parts)


def _align(
    aligner: Aligner,
    samples: npt.NDArray[np.float32],
    rate: int,
    transcript: str,
    notes: list[str],
) -> Alignment | None:
    item = AlignmentItem("this", "", transcript, samples=samples, sample_rate=rate)
    (result,) = aligner.align([item])
    if isinstance(result, AlignmentError):
        notes.append(f"no forced segments: {result.reason}")
        return None
    return result


def _reason(error: SegmentationError) -> str:
    """An error's reason without the name of the utterance, which has none here."""
    return str(error).removeprefix("this: ")


def _embed(
    lm: SpeechLM,
    samples: npt.NDArray[np.float32],
    rate: int,
    ways: Sequence[tuple[str, bool]],
    alignment: Alignment | None,
) -> dict[tuple[str, bool], Speech]:
    if not ways:
        return {}
    alignments = [alignment if kind == "forced" else None for kind, _ in ways]
    (speeches,) = lm.embed_cuts(
        [(samples, rate)], [alignments], lm_fusion=[fusion for _, fusion in ways]
    )
    return dict(zip(ways, speeches, strict=True))


# --- What the LLM can be given -----------------------------------------------------


def available(heard: Heard | None) -> list[Condition]:
    """The conditions in which the LLM can be asked about a recording.

    Arguments
    ---------
    heard : Heard or None
        None before there is one.

    Returns
    -------
    list of ssr_plugin.evaluation.harness.condition.Condition
        In the order in which they are shown.

    Example
    -------
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> heard = hear(lm, np.random.rand(16000).astype("float32") - 0.5, 16000, "a cat")
    >>> [condition.name for condition in available(heard)]
    ['none', 'text', 'predicted', 'predicted_lm_fusion']
    """
    return [
        condition
        for condition in make_conditions(CONDITIONS)
        if heard is not None and _can_be(condition, heard)
    ]


def _can_be(condition: Condition, heard: Heard) -> bool:
    if condition.name == "none":
        return True
    if not condition.listens:
        return bool(heard.transcript)
    speech = _speech_of(condition, heard)
    return speech is not None and (
        condition.name != "cascade" or speech.hypothesis is not None
    )


def _speech_of(condition: Condition, heard: Heard) -> Speech | None:
    if condition.segmentation is None:
        return None
    return heard.speeches.get((condition.segmentation, condition.lm_fusion))


def check_template(template: str) -> str:
    """A prompt in which a recording and a question have their places.

    Arguments
    ---------
    template : str
        With ``{audio}`` and ``{question}``, once each.

    Returns
    -------
    str
        The same.

    Raises
    ------
    ValueError
        If one is missing, or is there twice.

    Example
    -------
    >>> check_template("{audio} {question}")
    '{audio} {question}'
    >>> check_template("{question}")
    Traceback (most recent call last):
        ...
    ValueError: the prompt '{question}' must have {audio} once: where the recording goes
    """
    for slot, what in ((AUDIO, "recording"), (QUESTION, "question")):
        if template.count(slot) != 1:
            raise ValueError(
                f"the prompt '{template}' must have {slot} once: where the {what} goes"
            )
    return template


def default_template(lm: SpeechLM) -> str:
    """A prompt that suits an LLM: a turn of a conversation, or a text that goes on.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM

    Returns
    -------
    str
    """
    return f"{AUDIO}\n{QUESTION}" if _chats(lm) else f"{AUDIO} {QUESTION}"


def _chats(lm: SpeechLM) -> bool:
    return lm.llm.tokenizer.chat_template is not None


def fill_prompt(
    lm: SpeechLM, heard: Heard, condition: Condition, template: str, question: str
) -> list[str | Speech]:
    """What the LLM is given: the recording in some condition, and the question.

    An LLM with a chat template gets them as the user's turn.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    heard : Heard
    condition : ssr_plugin.evaluation.harness.condition.Condition
        Of :func:`available`.
    template : str
        Of :func:`check_template`.
    question : str
        As it was typed: nothing in it is a place.

    Returns
    -------
    list of str or Speech
        A prompt's contents.

    Example
    -------
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> heard = hear(lm, np.random.rand(16000).astype("float32") - 0.5, 16000)
    >>> predicted = available(heard)[1]
    >>> prompt = fill_prompt(lm, heard, predicted, "Hear {audio}! {question}", "Who?")
    >>> [x if isinstance(x, str) else x.segmentation for x in prompt]
    ['Hear ', 'predicted', '! Who?']
    """
    spoken = condition.content_input(
        lm, SpokenText(heard.transcript), _speech_of(condition, heard)
    )
    texts = (text.replace(QUESTION, question) for text in template.split(AUDIO))
    before, after = texts
    contents = [before, spoken, after] if before else [spoken, after]
    if _chats(lm):
        return render_chat(lm.llm, [{"role": "user", "content": contents}])
    return contents


# --- What it answers ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the LLM has written so far.

    Arguments
    ---------
    text : str
    prompt : int
        Vectors of the prompt, those of text and speech together.
    tokens : int
        So many it has written.
    first_seconds : float
        From the question to the first of them, s.
    seconds : float
        From the question until now, s.
    """

    text: str
    prompt: int
    tokens: int
    first_seconds: float
    seconds: float


class _Pace(StoppingCriteria):
    """Counts tokens, and ends the writing when it is told to."""

    def __init__(self) -> None:
        self.tokens = 0
        self.first: float | None = None
        self.stopped = False

    def __call__(self, input_ids: Any, scores: Any, **options: Any) -> torch.Tensor:
        self.first = self.first or time.perf_counter()
        self.tokens += 1
        return torch.full((len(input_ids),), self.stopped, device=input_ids.device)


def answer(
    lm: SpeechLM, contents: list[str | Speech], max_new_tokens: int
) -> Iterator[Answer]:
    """What the LLM writes after a prompt, while it is written.

    Whoever closes the iterator ends the writing, too.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    contents : list of str or Speech
        Of :func:`fill_prompt`.
    max_new_tokens : int

    Yields
    ------
    Answer
        Each with more text than the one before; one at least.

    Raises
    ------
    ValueError
        If the LLM has no positions for so long a prompt.

    Example
    -------
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> *_, last = answer(lm, ["the cat"], max_new_tokens=4)
    >>> last.text == lm.generate("the cat", max_new_tokens=4, do_sample=False)
    True
    """
    begin = time.perf_counter()
    embeds = embed_prompt(lm.llm, contents)
    config: Any = lm.model.config
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if most is not None and len(embeds) + max_new_tokens > most:
        raise ValueError(
            f"the prompt has {len(embeds)} tokens, and with {max_new_tokens} more the "
            f"LLM would need more than the {most} positions that it knows"
        )
    pace, text = _Pace(), ""

    def so_far() -> Answer:
        now = time.perf_counter()
        first = (pace.first or now) - begin
        return Answer(text, len(embeds), pace.tokens, first, now - begin)

    pieces = lm.stream_text(
        embeds,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        stopping_criteria=[pace],
    )
    try:
        for piece in pieces:
            text += piece
            if piece:
                yield so_far()
        yield so_far()
    finally:
        pace.stopped = True


# --- How alike vectors and tokens are ----------------------------------------------


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Vectors of speech beside the tokens that they should be.

    Arguments
    ---------
    vectors : torch.Tensor
        [N, H]
    read : list of int
        [N], the tokens nearest to them.
    embeddings : torch.Tensor
        [M, H]
    tokens : list of int
        [M]
    segmentation : str
        Of the vectors: "forced" or "predicted".
    source : str
        Whose tokens they are: "transcript", or "hypothesis".
    """

    vectors: torch.Tensor
    read: list[int]
    embeddings: torch.Tensor
    tokens: list[int]
    segmentation: str
    source: str


def compare(lm: SpeechLM, heard: Heard) -> Comparison | None:
    """Vectors of predicted segments beside the tokens of the text.

    The text is the transcript where it was typed, else what the segmenter reads. Of a
    model that finds no segments in audio alone the vectors are those of forced ones.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    heard : Heard

    Returns
    -------
    Comparison or None
        None if there is nothing to compare.
    """
    speech = heard.predicted or heard.forced
    text = heard.transcript or heard.hypothesis or ""
    tokens = transcript_tokens(lm, text)
    if speech is None or not len(speech) or not tokens:
        return None
    ids = torch.tensor(tokens, dtype=torch.long, device=lm.device)
    return Comparison(
        speech.vectors,
        speech.tokens,
        lm.llm.embed(ids),
        tokens,
        speech.segmentation,
        "transcript" if heard.transcript else "hypothesis",
    )
