"""A SpeechLM's answers to the requests of lmms-eval; needs nothing of that package."""

import itertools
import logging
import mimetypes
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from tqdm import tqdm
from transformers import (
    PreTrainedTokenizerFast,
    StoppingCriteria,
    StoppingCriteriaList,
)

from ssr_plugin.data.audio import AudioError
from ssr_plugin.data.audio_headers import AUDIO_SUFFIXES
from ssr_plugin.evaluation.harness.condition import Condition, transcript_input
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.items import PromptItem, SpokenText
from ssr_plugin.inference.chat import render_chat
from ssr_plugin.inference.prompts import Contents
from ssr_plugin.inference.speech import AudioDecoder, Recording, Speech
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.llm.choices import score_choices
from ssr_plugin.llm.tokens import tokenize_inside
from ssr_plugin.problems import Problems

logger = logging.getLogger(__name__)

# What lmms-eval's own models write at most, if the task does not say.
_NEW_TOKENS = 256
# Of transformers' generate; other generation_kwargs of tasks are for images.
_SAMPLING = ("temperature", "top_p", "top_k")
_OPTIONS = (
    "max_new_tokens",
    "min_new_tokens",
    "num_beams",
    "length_penalty",
    "repetition_penalty",
    "no_repeat_ngram_size",
)
# How a task's text says where its first, second, ... recording is heard.
_MARK = re.compile(r"<media_(\d+)>")

#: lmms-eval's ``task_dict``: task -> split -> documents.
Documents = Mapping[str, Mapping[str, Any]]


T = TypeVar("T")

# What is said is not known: conditions that do without are asked.
_NO_TEXT = SpokenText("", wav="unknown")
_NO_ITEM = PromptItem("unknown", (_NO_TEXT,))


class _Question(NamedTuple):
    """A text, and the document that it is about; without a task there is none."""

    context: str
    doc_to_visual: Any = None
    task: str = ""
    split: str = ""
    number: int = 0

    @property
    def place(self) -> str:
        return f"{self.task}, {self.split} {self.number}"


class Responder:
    """Answers the requests of lmms-eval with a SpeechLM.

    Recordings are put into the task's text by :func:`place_speech`. They may have any
    sampling rate, and may be arrays, files or decoders. One that cannot be read is
    named in the log: nothing is written as answer then, and choices are scored without
    it.

    Arguments
    ---------
    lm : ssr_plugin.SpeechLM
    batch_size : int
        Prompts that go through the LLM together.
    condition : str
        What stands for speech: "predicted" (vectors of the connector alone),
        "predicted_lm_fusion", "cascade" (the segmenter's hypothesis, as text), "none",
        or an extension's own that needs no transcript.
    chat_template : bool or None
        Whether the LLM's chat template is put around the prompt. None: if it has one.
    transcribe : bool
        Whether the answer is what was heard, as text, whatever the task's text asks:
        for tasks of speech recognition. No LLM writes then.
    max_skipped_share : float
        More documents than this share with a recording that cannot be read stop the
        run.

    Raises
    ------
    ValueError
        If one is out of range, or the model cannot do so.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> docs = [{"audio": {"array": torch.rand(8000), "sampling_rate": 16000}}]
    >>> args = ("who?", {"max_new_tokens": 3}, lambda x: [x["audio"]], 0, "my", "test")
    >>> requests = [SimpleNamespace(args=args)]
    >>> (text,) = Responder(lm).generate(requests, {"my": {"test": docs}})
    >>> isinstance(text, str)
    True
    """

    def __init__(
        self,
        lm: SpeechLM,
        batch_size: int = 1,
        condition: str = "predicted",
        chat_template: bool | None = None,
        transcribe: bool = False,
        max_skipped_share: float = 0.01,
    ) -> None:
        self.lm = lm
        self.batch_size = batch_size
        (self.condition,) = make_conditions([condition])
        _check_condition(self.condition, lm, transcribe)
        has_template = lm.llm.tokenizer.chat_template is not None
        if chat_template and not has_template:
            raise ValueError("chat_template: this LLM has none")
        self.chat_template = has_template if chat_template is None else chat_template
        self.transcribe = transcribe
        self.max_skipped_share = max_skipped_share

    def generate(
        self, requests: Sequence[Any], documents: Documents, bar: bool = False
    ) -> list[str]:
        """What the LLM writes: of lmms-eval's ``generate_until``.

        Arguments
        ---------
        requests : list of lmms_eval.api.instance.Instance
            Whose ``args`` are context, generation_kwargs, doc_to_visual, number of the
            document, task and split.
        documents : dict
            Task -> split -> documents.
        bar : bool
            Whether to show a bar.

        Returns
        -------
        list of str
            Cut before the first of the texts in ``until``.

        Raises
        ------
        ValueError
            If a document has images or video, or the segmenter has no hypothesis and
            the condition needs it.
        ssr_plugin.problems.TooManyProblems
            If too many recordings cannot be read.
        """
        texts = [""] * len(requests)
        problems = Problems("lmms-eval", self.max_skipped_share)
        # A batch is written with one set of options.
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(index)
        with tqdm(total=len(requests), disable=not bar) as progress:
            for indices in groups.values():
                options, stops = parse_generation(requests[indices[0]].args[1])
                for rows in self._batches(indices):
                    questions = [_question(requests[i].args) for i in rows]
                    heard = self._hear(questions, documents, problems)
                    problems.check(total=len(requests))
                    whole = [
                        j for j, speeches in enumerate(heard) if None not in speeches
                    ]
                    written = self._answer(
                        [questions[j].context for j in whole],
                        [[x for x in heard[j] if x is not None] for j in whole],
                        options,
                        stops,
                    )
                    for j, text in zip(whole, written, strict=True):
                        texts[rows[j]] = text
                    progress.update(len(rows))
        return texts

    def score(
        self, requests: Sequence[Any], documents: Documents, bar: bool = False
    ) -> list[tuple[float, bool]]:
        """How likely texts are: of lmms-eval's ``loglikelihood``.

        Arguments
        ---------
        requests : list of lmms_eval.api.instance.Instance
            Whose ``args`` are context, continuation, doc_to_visual, number of the
            document, task and split, or the first two alone. The continuation is a
            text, or the task's ``doc_to_target``.
        documents, bar
            Of :meth:`generate`.

        Returns
        -------
        list of (float, bool)
            The float is in nats, a sum over the continuation's tokens. Of a text it is
            the **loss**: lmms-eval's multiple choice takes the least. Of a
            ``doc_to_target`` it is the log-likelihood, of which lmms-eval makes a
            perplexity. The bool tells whether the LLM would write just that.

        Raises
        ------
        ValueError
            As of :meth:`generate`; if a continuation is empty, or answers are
            transcripts.
        ssr_plugin.problems.TooManyProblems
            If too many recordings cannot be read.
        """
        if self.transcribe:
            raise ValueError(
                "transcribe: the LLM scores this task's choices; leave it out"
            )
        scores: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        problems = Problems("lmms-eval", self.max_skipped_share)
        # All choices of a document are scored after one prompt.
        groups: dict[_Question, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(_question(request.args), []).append(index)
        with tqdm(total=len(requests), disable=not bar) as progress:
            for questions in self._batches(list(groups)):
                heard = self._hear(questions, documents, problems)
                problems.check(total=len(groups))
                prompts = [
                    self._prompt(question.context, [x for x in row if x is not None])
                    for question, row in zip(questions, heard, strict=True)
                ]
                rows = [groups[question] for question in questions]
                choices = [
                    [self._tokens(requests[i].args, documents) for i in row]
                    for row in rows
                ]
                found = self._score(prompts, choices)
                for row, results in zip(rows, found, strict=True):
                    for i, (value, greedy) in zip(row, results, strict=True):
                        is_text = isinstance(requests[i].args[1], str)
                        scores[i] = (-value if is_text else value), greedy
                    progress.update(len(row))
        return scores

    def _batches(self, items: Sequence[T]) -> Iterator[Sequence[T]]:
        for first in range(0, len(items), self.batch_size):
            yield items[first : first + self.batch_size]

    def _hear(
        self,
        questions: Sequence[_Question],
        documents: Documents,
        problems: Problems,
    ) -> list[list[Speech | None]]:
        """What is heard in the recordings of each; None of one that is unreadable."""
        recordings = [_recordings(question, documents) for question in questions]
        if not self.condition.listens:
            return [[transcript_input(self.lm, "") for _ in row] for row in recordings]
        speeches = self.lm.embed_each(
            [wav for row in recordings for wav in row],
            lm_fusion=self.condition.lm_fusion,
        )
        heard: list[list[Speech | None]] = []
        for question, row in zip(questions, recordings, strict=True):
            heard.append([])
            for speech in itertools.islice(speeches, len(row)):
                if isinstance(speech, AudioError):
                    problems.add(question.place, speech)
                    heard[-1].append(None)
                    continue
                if not self.condition.can_answer(_NO_ITEM, [speech]):
                    raise ValueError(
                        f"condition {self.condition.name}: "
                        f"{self.condition.why_unanswered}"
                    )
                heard[-1].append(speech)
        return heard

    def _prompt(self, context: str, speeches: Sequence[Speech]) -> Contents:
        """A task's text, with what stands for its recordings put in."""
        inputs = [
            self.condition.content_input(self.lm, _NO_TEXT, speech)
            for speech in speeches
        ]
        contents = place_speech(context, inputs)
        if not self.chat_template:
            return contents
        return render_chat(self.lm.llm, [{"role": "user", "content": contents}])

    def _answer(
        self,
        contexts: Sequence[str],
        speeches: Sequence[Sequence[Speech]],
        options: dict[str, Any],
        stops: list[str],
    ) -> list[str]:
        """What is written after each text and its recordings."""
        if self.transcribe:
            return [" ".join(map(self.condition.reading, row)) for row in speeches]
        if stops:
            criteria = StoppingCriteriaList([_Stops(self.lm.llm.tokenizer, stops)])
            options = {**options, "stopping_criteria": criteria}
        prompts: list[Contents] = [
            self._prompt(context, row)
            for context, row in zip(contexts, speeches, strict=True)
        ]
        texts = self.lm.generate(prompts, self.batch_size, **options) if prompts else []
        return [cut_text(text, stops) for text in texts]

    def _tokens(self, args: tuple[Any, ...], documents: Documents) -> list[int]:
        """The continuation of a request."""
        text = args[1]
        if not isinstance(text, str):
            _, _, _, number, task, split = args
            text = str(text(documents[task][split][number]))
        tokens = tokenize_inside(self.lm.llm.tokenizer, text)
        if not tokens:
            raise ValueError(f"{_question(args).place}: a continuation is empty")
        return tokens

    @torch.no_grad()
    def _score(
        self, prompts: list[Contents], choices: list[list[list[int]]]
    ) -> list[list[tuple[float, bool]]]:
        """Of each choice its log-likelihood, and whether the LLM would write it."""
        lm = self.lm
        contexts = lm.embed_prompts(prompts)
        values = score_choices(lm.model, lm.llm.embed, contexts, choices)
        written = self._write_greedily(contexts, choices)
        return [
            [
                (value, ids[: len(tokens)] == tokens)
                for value, tokens in zip(row, texts, strict=True)
            ]
            for row, texts, ids in zip(values, choices, written, strict=True)
        ]

    def _write_greedily(
        self, contexts: list[torch.Tensor], choices: list[list[list[int]]]
    ) -> list[list[int]]:
        """The tokens that the LLM writes, as far as it writes a choice."""
        written: list[list[int]] = self._greedy_tokens(contexts, 1)
        # Most choices are not even begun.
        begun = [
            i
            for i, texts in enumerate(choices)
            if any(len(text) > 1 and text[:1] == written[i] for text in texts)
        ]
        if begun:
            longest = max(len(text) for i in begun for text in choices[i])
            more = self._greedy_tokens([contexts[i] for i in begun], longest)
            for i, ids in zip(begun, more, strict=True):
                written[i] = ids
        return written

    def _greedy_tokens(
        self, contexts: list[torch.Tensor], most: int
    ) -> list[list[int]]:
        options = {"max_new_tokens": most, "do_sample": False, "num_beams": 1}
        tokens: list[list[int]] = self.lm.write(contexts, options).tolist()
        return tokens


class _Stops(StoppingCriteria):
    """Ends a text once one of some texts stands in it.

    That of transformers (``stop_strings``) cannot read all tokenizers.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stops: list[str]) -> None:
        self.tokenizer = tokenizer
        self.stops = stops

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        # Of prompts that are embedded, only what was written stands there.
        texts = self.tokenizer.batch_decode(input_ids, skip_special_tokens=True)
        done = [any(stop in text for stop in self.stops) for text in texts]
        return torch.tensor(done, device=input_ids.device)


def parse_batch_size(batch_size: int | str) -> int:
    """What ``--batch_size`` says.

    Raises
    ------
    ValueError
        If it is no number: "auto", which lmms-eval's help names, is not known here.

    Example
    -------
    >>> parse_batch_size("8")
    8
    """
    if not str(batch_size).isdecimal() or not int(batch_size):
        raise ValueError(f"batch_size: a number of prompts, not '{batch_size}'")
    return int(batch_size)


def _check_condition(condition: Condition, lm: SpeechLM, transcribe: bool) -> None:
    """Refuses conditions that need what lmms-eval does not tell, or the model lacks."""
    listens = condition.segmentation == "predicted" and not condition.base_model
    if not listens and (condition.name != "none" or transcribe):
        raise ValueError(
            f"condition: '{condition.name}' "
            + (
                "hears nothing to transcribe"
                if condition.name == "none"
                else "needs the transcript, or another LLM: give predicted, "
                "predicted_lm_fusion, cascade or none"
            )
        )
    reason = condition.why_unavailable(lm, [_NO_ITEM])
    if reason is not None:
        raise ValueError(f"condition: no '{condition.name}': {reason}")


def _question(args: tuple[Any, ...]) -> _Question:
    """What a request asks about, without how it is answered."""
    if len(args) == 2:  # A choice without its question: the metric acc_mutual_info.
        return _Question(args[0])
    context, _, doc_to_visual, number, task, split = args
    return _Question(context, doc_to_visual, task, split, number)


def _recordings(question: _Question, documents: Documents) -> list[Recording]:
    """The recordings of a question's document."""
    if question.doc_to_visual is None:
        return []
    doc = documents[question.task][question.split][question.number]
    # Of a task of text alone it gives None.
    return [_recording(media, question) for media in question.doc_to_visual(doc) or []]


def _recording(media: object, question: _Question) -> Recording:
    if isinstance(media, str):
        kind = mimetypes.guess_type(media)[0] or ""
        if pathlib.Path(media).suffix.lower() in AUDIO_SUFFIXES and not (
            kind.startswith("video/")
        ):
            return pathlib.Path(media)
    elif isinstance(media, pathlib.Path | AudioDecoder):
        return media
    elif isinstance(media, Mapping) and (
        {"array", "sampling_rate"} <= set(media) or {"bytes", "path"} & set(media)
    ):
        return dict(media)
    shown = f"'{media:.60}'" if isinstance(media, str) else f"a {type(media).__name__}"
    raise ValueError(
        f"{question.place} gives {shown}, which is no audio: ssr hears and reads, and "
        f"sees neither images nor video"
    )


def place_speech(context: str, inputs: Sequence[str | Speech]) -> Contents:
    """A prompt of a task's text and what stands for its recordings.

    Arguments
    ---------
    context : str
        May say by ``<media_0>``, ``<media_1>``, ... where each is.
    inputs : list of str or Speech
        Those that the text does not place come first. A line break follows each, but
        not the last where the text begins with a blank, or is empty.

    Returns
    -------
    list of str or Speech

    Example
    -------
    >>> place_speech("Who is it?", ["one", "two"])
    ['one', '\\n', 'two', '\\n', 'Who is it?']
    >>> place_speech(" then", ["one", "two"])
    ['one', '\\n', 'two', ' then']
    >>> place_speech("Is <media_1> as <media_0>?", ["one", "two"])
    ['Is ', 'two', ' as ', 'one', '?']
    """
    contents: Contents = []
    placed = set()
    for index, piece in enumerate(_MARK.split(context)):
        # Every other piece is the number of a mark.
        if index % 2 == 0:
            contents.append(piece)
        elif int(piece) < len(inputs):
            contents.append(inputs[int(piece)])
            placed.add(int(piece))
        else:
            contents.append(f"<media_{piece}>")
    first: Contents = []
    for i, x in enumerate(inputs):
        if i not in placed:
            first += [x, "\n"]
    if not context or context[0].isspace():
        first = first[:-1]
    return first + [x for x in contents if x != ""]


def parse_generation(
    generation_kwargs: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
    """What a task asks of writing, as options of transformers.

    Arguments
    ---------
    generation_kwargs : dict
        Of the task, with those of ``--gen_kwargs``.

    Returns
    -------
    options : dict
        Of ``transformers.GenerationMixin.generate``.
    stops : list of str
        Texts that end the answer.

    Example
    -------
    >>> task = {"until": ["\\n"], "max_new_tokens": 8, "temperature": 0, "top_p": None}
    >>> parse_generation(task)
    ({'max_new_tokens': 8, 'do_sample': False}, ['\\n'])
    >>> parse_generation({"temperature": 0.5, "top_k": 20})[0]
    {'max_new_tokens': 256, 'do_sample': True, 'temperature': 0.5, 'top_k': 20}
    """
    given = {k: v for k, v in generation_kwargs.items() if v is not None}
    until = given.pop("until", [])
    stops = [until] if isinstance(until, str) else list(until)
    # The name that the LM Evaluation Harness has for it.
    most = given.pop("max_gen_toks", _NEW_TOKENS)
    sampling = {name: given.pop(name) for name in _SAMPLING if name in given}
    warm = sampling.get("temperature", 1) > 0
    do_sample = bool(given.pop("do_sample", "temperature" in sampling)) and warm
    options = {
        "max_new_tokens": most,
        **{name: given.pop(name) for name in _OPTIONS if name in given},
        "do_sample": do_sample,
        **(sampling if do_sample else {}),
    }
    if given:
        logger.warning("generation_kwargs without effect: %s", ", ".join(given))
    return options, [stop for stop in stops if stop]


def cut_text(text: str, stops: Iterable[str]) -> str:
    """A text as far as the first of some texts.

    Example
    -------
    >>> cut_text("yes. no\\nno", ["\\n", "."])
    'yes'
    """
    return text[: min((i for i in map(text.find, stops) if i >= 0), default=None)]
