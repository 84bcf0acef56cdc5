"""The metrics of stage 2: of each template, and of the LLM before and after."""

import torch

from ssr_plugin.languages import ENGLISH
from ssr_plugin.metrics.speech_lm_metrics import SpeechLMMetrics
from ssr_plugin.training.brain import Scorer
from ssr_plugin.training.templates import prompt_embeds


class TemplateScorer(Scorer):
    """The loss of each template, per token.

    Arguments
    ---------
    templates : list of ssr_plugin.training.templates.Template
    """

    def __init__(self, templates):
        self.templates = templates
        self.sums = [[0.0, 0] for _ in templates]

    def add(self, batch, reading):
        """See :meth:`Scorer.add`; takes a batch's ``FinetunePredictions``."""
        losses = torch.stack(reading.speech_losses).tolist()
        for sums, loss, targets in zip(self.sums, losses, reading.targets, strict=True):
            sums[0] += loss * len(targets)
            sums[1] += len(targets)

    def summary(self):
        """See :meth:`Scorer.summary`: "<template>_loss", nats per token."""
        return {
            f"{template.name}_loss": total / count
            for template, (total, count) in zip(self.templates, self.sums, strict=True)
        }


class TunedScorer(Scorer):
    """Scores the base model and the tuned one on the same vectors.

    Arguments
    ---------
    tuned : ssr_plugin.llm.tuning.TunedLLM
    transcription : ssr_plugin.training.templates.Template
        The template that asks for a transcript.
    forced : bool
        Whether there is one vector for each token of the transcript.
    language : str
        BCP-47 code of what is spoken.
    """

    def __init__(self, tuned, transcription, forced, language=ENGLISH):
        self.tuned = tuned

        def ask(vectors):
            return prompt_embeds(transcription, tuned.llm, vectors)

        self.before = SpeechLMMetrics(tuned.llm, ask, forced, language)
        self.after = SpeechLMMetrics(tuned, ask, forced, language)

    def add(self, batch, reading):
        """See :meth:`Scorer.add`; takes a batch's vectors and ``SpokenUtterance``."""
        embedded, utterances = reading

        def on_device(arrays):
            return [torch.from_numpy(x).to(embedded.device) for x in arrays]

        vectors = [embedded[x] for x in on_device(x.vectors for x in utterances)]
        firsts = on_device(x.first for x in utterances)
        tokens = on_device(x.tokens for x in utterances)
        with self.tuned.base_model():
            self.before.add(batch.ids, vectors, firsts, tokens)
        self.after.add(batch.ids, vectors, firsts, tokens)

    def summary(self):
        """See :meth:`Scorer.summary`.

        Returns
        -------
        dict
            ``SpeechLMMetrics.summary`` of the tuned LLM and, under "before", of the
            base model.
        """
        with self.tuned.base_model():
            before = self.before.summary()
        return {**self.after.summary(), "before": before}
