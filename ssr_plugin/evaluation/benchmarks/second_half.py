"""What the LLM makes of speech: its loss on second halves, given the first.

The figure of stage 1's own report ("nll"), of any corpus and any trained model.
"""

import numpy as np
import torch

from ssr_plugin.evaluation.benchmarks.segment_quality import (
    reading_metrics,
    reading_ratios,
    whole_utterances,
)
from ssr_plugin.evaluation.harness.conditions import Cascade, Forced, make_conditions
from ssr_plugin.evaluation.harness.corpus_benchmark import CorpusBenchmark
from ssr_plugin.evaluation.harness.item_scoring import find_fitting
from ssr_plugin.evaluation.harness.metric import Metric
from ssr_plugin.evaluation.harness.summary import GAIN_ENDS, RIVAL, summarise_gain
from ssr_plugin.languages import first_language
from ssr_plugin.metrics.second_half_loss import first_half, second_half_losses

NLL = Metric(
    "nll",
    "nats",
    "The LLM's loss for each token of second halves, given first halves. Lower is "
    "better.",
)


class SecondHalf(CorpusBenchmark):
    """The LLM's loss on second halves, given first halves as speech, text or nothing.

    Arguments
    ---------
    dataset, splits, seed, max_items, max_skipped_share
        Of :class:`CorpusBenchmark`.
    language : str or None
        BCP-47 code of what is spoken; None for what the data set says, else English.
    """

    name = "second_half"
    about = (
        "How likely the LLM finds the second half of an utterance's tokens, given the "
        "first half: as vectors, as text, or left out. A segment that is found in the "
        "audio alone is of the half that holds its middle, by the aligner's times."
    )

    def __init__(self, dataset, splits, language=None, **corpus):
        super().__init__(dataset, splits, **corpus)
        self.language = first_language(language, dataset and dataset.language)
        self.metric_list = (NLL, *reading_metrics(self.language))

    def settings(self):
        """See :meth:`Benchmark.settings`."""
        return {"language": self.language}

    def items(self, align):
        """See :meth:`Benchmark.items`."""
        return whole_utterances(self.utterances(), align)

    def takes(self, condition):
        """See :meth:`Benchmark.takes`: nothing, too, is read before second halves."""
        return True

    def partners(self, conditions, lm, items):
        """See :meth:`Benchmark.partners`: those that gains are measured by.

        Forced segments say when the first half ends.
        """
        missing = {*GAIN_ENDS, RIVAL, Forced.name} - {x.name for x in conditions}
        partners = make_conditions(missing)
        return [x for x in partners if x.why_unavailable(lm, items) is None]

    def answer(self, lm, items, condition, inputs, problems):
        """See :meth:`Benchmark.answer`."""
        tokens, firsts = [], []
        for item in items:
            (forced,) = inputs.of(Forced(), item)
            ids = torch.as_tensor(forced.segments.tokens, device=lm.device)
            tokens.append(ids)
            firsts.append(_first_half(lm, condition, item, inputs, forced))
        lengths = [
            len(first) + len(ids) - len(ids) // 2
            for first, ids in zip(firsts, tokens, strict=True)
        ]
        fit = find_fitting(lm, items, lengths, problems)
        # One token has no halves.
        halved = [i for i in fit if len(tokens[i]) > 1]
        losses = {}
        if halved:
            with condition.reader(lm) as llm:
                scores = second_half_losses(
                    llm, [firsts[i] for i in halved], [tokens[i] for i in halved]
                )
            losses = dict(zip(halved, scores, strict=True))
        for i in fit:
            count = len(tokens[i]) - len(tokens[i]) // 2 if i in losses else 0
            ratios = {NLL.name: [losses.get(i, 0.0), count]}
            for speech in inputs.of(condition, items[i]):
                ratios |= reading_ratios(
                    items[i].reference, condition.reading(speech), self.language
                )
            yield items[i], {"metrics": ratios}

    def metrics(self, records, conditions, seed):
        """See :meth:`Benchmark.metrics`: what is kept of the text's gain, too."""
        gains = summarise_gain(records, conditions, NLL, seed)
        summaries = {f"{self.name} {name}": x for name, x in gains.items()}
        return summaries | super().metrics(records, conditions, seed)


def _first_half(lm, condition, item, inputs, forced):
    """[M, H]: what stands for the first half of an utterance's tokens."""
    speeches = inputs.of(condition, item)
    if not speeches:
        (content,) = item.context
        given = condition.content_input(lm, content, None)
        return given.vectors[: len(forced.segments) // 2]
    (speech,) = speeches
    if isinstance(condition, Cascade):
        found = speech.segments
        known = found.tokens >= 0
        starts, boundaries = found.starts[known], found.boundaries[known]
        vectors = lm.llm.embed(torch.as_tensor(found.tokens[known], device=lm.device))
    else:
        # Those of the vectors alone: some segments have none.
        rate = lm.encoder.frame_rate
        starts = np.rint(np.array(speech.starts) * rate)
        boundaries = np.rint(np.array(speech.ends) * rate) - 1
        vectors = speech.vectors
    first = first_half(starts, boundaries, forced.segments.starts)
    return vectors[torch.as_tensor(first, device=vectors.device)]
