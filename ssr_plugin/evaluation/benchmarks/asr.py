"""Prompted ASR: the LLM writes down what it hears, with or without examples."""

import random

from ssr_plugin.data.splits import choose_splits
from ssr_plugin.evaluation.harness.corpus_benchmark import (
    CorpusBenchmark,
    CorpusUtterance,
    as_spoken,
    read_utterances,
)
from ssr_plugin.evaluation.harness.item_scoring import find_fitting
from ssr_plugin.evaluation.harness.items import PromptItem, SpokenText
from ssr_plugin.evaluation.harness.metric import Metric
from ssr_plugin.evaluation.report.examples import show_transcripts
from ssr_plugin.inference.speech import Speech
from ssr_plugin.languages import first_language, has_words, is_english
from ssr_plugin.llm.generation import write
from ssr_plugin.metrics.prompted_wer import first_line, transcript_limit
from ssr_plugin.metrics.wer import rate_names, word_errors

_FORM = "{speech}\n{text}"
# Prompts after which the LLM writes together.
_TOGETHER = 16


class ASR(CorpusBenchmark):
    """Transcripts that the LLM writes after speech and a prompt, greedily.

    Arguments
    ---------
    dataset, splits, seed, max_items, max_skipped_share
        Of :class:`CorpusBenchmark`; the seed draws the examples.
    template : str
        What the LLM reads and writes: ``{speech}`` and, at the end, ``{text}``.
    shots : int
        Examples before each utterance, the same for all: speech and its transcript in
        the template.
    shot_splits : list of str
        Where they are drawn from: names or globs of other splits.
    separator : str
        What comes after each example.
    language : str or None
        BCP-47 code of what is spoken; None for what the data set says, else English.

    Example
    -------
    >>> ASR(None, [], template="{text}")
    Traceback (most recent call last):
        ...
    ValueError: template: '{text}' is not of the form ...
    """

    name = "asr"

    def __init__(
        self,
        dataset,
        splits,
        template=_FORM,
        shots=0,
        shot_splits=("train*", "dev*"),
        separator="\n\n",
        language=None,
        **corpus,
    ):
        super().__init__(dataset, splits, **corpus)
        self.before, speech, rest = template.partition("{speech}")
        self.between = rest.removesuffix("{text}")
        if not speech or self.between == rest or "{text}" in self.before + self.between:
            raise ValueError(
                f"template: {template!r} is not of the form {_FORM!r}: what comes "
                f"before and between is yours to say"
            )
        self.shots = shots
        self.shot_splits = shot_splits
        self.separator = separator
        self.language = first_language(language, dataset and dataset.language)
        self.metric_list = transcript_metrics(self.language)

    @property
    def about(self):
        """See :class:`Benchmark`."""
        return (
            f"An utterance is heard and the LLM writes down what was said, greedily, "
            f"after {self.shots} spoken examples with their transcripts. Only the "
            f"first line of what it writes counts. As text it reads the "
            f"transcript, and is to write it again."
        )

    def items(self, align):
        """See :meth:`Benchmark.items`."""
        rows = self.utterances()
        examples = self._draw_examples()
        self.notes = []
        if examples:
            self.notes = [f"the examples are {', '.join(examples)}"]
        spoken = as_spoken(rows | examples, align)
        head = []
        for name in examples:
            transcript = SpokenText(spoken[name].text)
            head += [self.before, spoken[name], self.between]
            head += [transcript, self.separator]
        return [
            PromptItem(
                name,
                (*head, self.before, spoken[name], self.between),
                spoken[name].text,
                speaker=rows[name].speaker,
            )
            for name in rows
        ]

    def _draw_examples(self):
        """CorpusUtterance by id, of other splits than those measured."""
        if not self.shots:
            return {}
        splits = choose_splits(self.dataset, self.shot_splits, "shot_splits")
        both = sorted({*splits} & {*choose_splits(self.dataset, self.splits)})
        if both:
            raise ValueError(f"shot_splits: {', '.join(both)} is also in test_splits")
        rows: dict[str, CorpusUtterance] = {}
        for split in splits:
            rows |= read_utterances(self.dataset, split, self.max_skipped_share)
        if len(rows) < self.shots:
            raise ValueError(
                f"shots: {', '.join(splits)} has {len(rows)} utterances, not "
                f"{self.shots}"
            )
        drawn = random.Random(f"asr {self.seed}").sample(sorted(rows), self.shots)
        return {name: rows[name] for name in drawn}

    def settings(self):
        """See :meth:`Benchmark.settings`."""
        return {"language": self.language}

    def answer(self, lm, items, condition, inputs, problems):
        """See :meth:`Benchmark.answer`."""
        prompts = [
            condition.fill_context(lm, item, inputs.of(condition, item))
            for item in items
        ]
        limits = [transcript_limit(len(_last_speech(prompt))) for prompt in prompts]
        embeds = lm.embed_prompts(prompts)
        lengths = [len(x) + limit for x, limit in zip(embeds, limits, strict=True)]
        fit = find_fitting(lm, items, lengths, problems)
        texts = []
        with condition.reader(lm) as llm:
            for first in range(0, len(fit), _TOGETHER):
                group = fit[first : first + _TOGETHER]
                texts += write(
                    llm, [embeds[i] for i in group], [limits[i] for i in group]
                )
        for i, text in zip(fit, texts, strict=True):
            transcript = first_line(text)
            errors = word_errors(items[i].reference, transcript, self.language)
            ratios = {name: list(ratio) for name, ratio in errors.items()}
            yield items[i], {"transcript": transcript, "metrics": ratios}

    def examples(self, items, records, count):
        """See :meth:`Benchmark.examples`."""
        return show_transcripts(self.name, items, records, count)


def transcript_metrics(language):
    """The metrics of what the LLM writes.

    Arguments
    ---------
    language : str
        BCP-47 code of what is spoken.

    Returns
    -------
    tuple of ssr_plugin.evaluation.harness.metric.Metric

    Example
    -------
    >>> [metric.name for metric in transcript_metrics("en")]
    ['wer', 'wer_whisper']
    """
    plain, whisper = rate_names(language)
    what = "Words" if has_words(language) else "Characters"
    normalised = "numbers, spellings, contractions, fillers"
    return (
        Metric(
            plain,
            "%",
            f"{what} of the transcript that are wrong or missing, and those too many, "
            f"in % of its {what.lower()}; case and punctuation do not count. Lower is "
            f"better.",
            factor=100,
        ),
        Metric(
            whisper,
            "%",
            f"The same with both texts normalised as Whisper's are ({normalised}). "
            f"Lower is better."
            if is_english(language)
            else "The same with both texts normalised as Whisper's are. Lower is "
            "better.",
            factor=100,
        ),
    )


def _last_speech(prompt):
    """The speech that is to be written down."""
    return [content for content in prompt if isinstance(content, Speech)][-1]
