"""The metrics of stage 2: of each template, and of the LLM before and after."""

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
        counts = [len(targets) for _, targets in reading.speech]
        for sums, loss, count in zip(
            self.sums, reading.speech_losses, counts, strict=True
        ):
            sums[0] += loss.item() * count
            sums[1] += count

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
    """

    def __init__(self, tuned, transcription, forced):
        self.tuned = tuned

        def ask(vectors):
            return prompt_embeds(transcription, tuned.llm, vectors)

        self.before = SpeechLMMetrics(tuned.llm, ask, forced)
        self.after = SpeechLMMetrics(tuned, ask, forced)

    def add(self, batch, reading):
        """See :meth:`Scorer.add`; takes a batch's ``SpokenUtterance``."""
        vectors, firsts = [x.vectors for x in reading], [x.first for x in reading]
        tokens = [x.tokens for x in reading]
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
