"""Prompted ASR: the LLM writes down what it hears, with or without examples."""

import random

from ssr_plugin.evaluation.harness.conditions import fill_context, heard_by, reader
from ssr_plugin.evaluation.harness.corpus_benchmark import (
    CorpusTask,
    as_spoken,
    choose_splits,
    read_utterances,
)
from ssr_plugin.evaluation.harness.item_scoring import find_fitting
from ssr_plugin.evaluation.harness.items import Prompt, Spoken
from ssr_plugin.evaluation.harness.measures import Measure
from ssr_plugin.evaluation.report.examples import show_written
from ssr_plugin.inference.speech import Speech
from ssr_plugin.llm.generation import write
from ssr_plugin.metrics.prompted_wer import transcript_limit, word_errors

WER = Measure(
    "wer",
    "%",
    "Words of the transcript that are wrong or missing, and those too many, in % of "
    "its words; case and punctuation do not count. Lower is better.",
    factor=100,
)
_FORM = "{speech}\n{text}"
# Prompts after which the LLM writes together.
_TOGETHER = 16


class ASR(CorpusTask):
    """Transcripts that the LLM writes after speech and a prompt, greedily.

    Arguments
    ---------
    dataset, splits, seed, max_items, max_skipped_share
        Of :class:`CorpusTask`; the seed draws the examples.
    template : str
        What the LLM reads and writes: ``{speech}`` and, at the end, ``{text}``.
    shots : int
        Examples before each utterance, the same for all: speech and its transcript in
        the template.
    shot_splits : list of str
        Where they are drawn from: names or globs of other splits.
    separator : str
        What comes after each example.

    Example
    -------
    >>> ASR(None, [], template="{text}")
    Traceback (most recent call last):
        ...
    ValueError: template: '{text}' is not of the form ...
    """

    name = "asr"
    measures = (WER,)

    def __init__(
        self,
        dataset,
        splits,
        template=_FORM,
        shots=0,
        shot_splits=("train*", "dev*"),
        separator="\n\n",
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

    @property
    def about(self):
        """See :class:`Task`."""
        return (
            f"An utterance is heard and the LLM writes down what was said, greedily, "
            f"after {self.shots} spoken examples with their transcripts. Only the "
            f"first line of what it writes counts. In the text columns it reads the "
            f"transcript, and is to write it again."
        )

    def items(self, align):
        """See :meth:`Task.items`."""
        rows = self.utterances()
        shown = self._draw_examples()
        self.notes = []
        if shown:
            self.notes = [f"the examples are {', '.join(shown)}"]
        spoken = as_spoken(rows | shown, align)
        head = []
        for name in shown:
            told = Spoken(spoken[name].text)
            head += [self.before, spoken[name], self.between, told, self.separator]
        return [
            Prompt(
                name,
                (*head, self.before, spoken[name], self.between),
                text=spoken[name].text,
            )
            for name in rows
        ]

    def _draw_examples(self):
        """AlignmentItem by id, of other splits than those measured."""
        if not self.shots:
            return {}
        splits = choose_splits(self.dataset, self.shot_splits, "shot_splits")
        both = sorted({*splits} & {*choose_splits(self.dataset, self.splits)})
        if both:
            raise ValueError(f"shot_splits: {', '.join(both)} is also in test_splits")
        found = {}
        for split in splits:
            found |= read_utterances(self.dataset, split, self.max_skipped_share)
        if len(found) < self.shots:
            raise ValueError(
                f"shots: {', '.join(splits)} has {len(found)} utterances, not "
                f"{self.shots}"
            )
        drawn = random.Random(f"asr {self.seed}").sample(sorted(found), self.shots)
        return {name: found[name] for name in drawn}

    def answer(self, lm, items, column, heard, problems):
        """See :meth:`Task.answer`."""
        prompts = [
            fill_context(lm, item, column, heard_by(heard, column, item))
            for item in items
        ]
        limits = [transcript_limit(len(_asked(prompt))) for prompt in prompts]
        embeds = lm.embed_prompts(prompts)
        lengths = [len(x) + limit for x, limit in zip(embeds, limits, strict=True)]
        fit = find_fitting(lm, items, lengths, problems)
        with reader(lm, column) as llm:
            texts = []
            for first in range(0, len(fit), _TOGETHER):
                some = fit[first : first + _TOGETHER]
                texts += write(
                    llm, [embeds[i] for i in some], [limits[i] for i in some]
                )
        for i, text in zip(fit, texts, strict=True):
            text = text.strip().partition("\n")[0].strip()
            errors = word_errors(items[i].text, text)
            yield items[i], {"written": text, "measured": {WER.name: list(errors)}}

    def examples(self, items, records, count):
        """See :meth:`Task.examples`."""
        return show_written(self.name, items, records, count)


def _asked(prompt):
    """The speech that is to be written down: the last."""
    return [part for part in prompt if isinstance(part, Speech)][-1]
