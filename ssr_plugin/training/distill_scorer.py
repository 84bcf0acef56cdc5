"""The metrics of stage 1: of vectors alone, with LM fusion, and through the LLM."""

import torch

from ssr_plugin.languages import ENGLISH
from ssr_plugin.metrics.prompted_wer import PromptedWER
from ssr_plugin.metrics.second_half_loss import SecondHalfLoss, first_half
from ssr_plugin.metrics.vector_metrics import VectorMetrics
from ssr_plugin.training.brain import Scorer

#: Metrics of the vectors that LM fusion does not change: those of their number.
_NOT_FUSED = ("vectors_per_second", "vectors_per_token", "utterances")


class VectorScorer(Scorer):
    """Scores vectors as embeddings of a transcript, and by the LLM's losses on them.

    The summary's own metrics are those of the connector alone. Those with the LLM's
    expectation are separate, under "lm_fusion".

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    seen_tokens : torch.Tensor
        [V] bool: the token types that the training data has.
    options : ssr_plugin.training.brain.ReadOptions
        How batches are read.
    with_llm : bool
        Whether to run the LLM for its loss on second halves.
    transcribes : bool
        Whether the LLM writes transcripts, for their WER.
    language : str
        BCP-47 code of what is spoken.
    """

    def __init__(
        self,
        llm,
        seen_tokens,
        options,
        with_llm=True,
        transcribes=False,
        language=ENGLISH,
    ):
        table = llm.table()
        self.options = options
        self.device = table.device
        self.metrics = VectorMetrics(llm.tokenizer, table, seen_tokens, language)
        self.fused = None
        if options.lm_fusion:
            self.fused = VectorMetrics(llm.tokenizer, table, seen_tokens, language)
        self.continuation = SecondHalfLoss(llm) if with_llm else None
        self.prompted = None
        if transcribes:
            self.prompted = PromptedWER(llm, language=language)

    def add(self, batch, reading):
        """See :meth:`Scorer.add`; takes a batch's ``DistillPredictions``."""
        for row in range(len(batch.ids)):
            self._add(batch, reading, row)

    def _add(self, batch, reading, row):
        boundaries, starts, tokens = (x[row] for x in reading.segments)
        name, reference = batch.ids[row], batch.segments[row]
        kept = reading.kept[row]
        transcript = torch.as_tensor(reference.tokens).to(self.device)
        vectors, fused = reading.vectors[row], None
        pairs = [(self.metrics, vectors)]
        if self.fused is not None:
            fused = reading.lm_fusion_vectors[row]
            pairs.append((self.fused, fused))
        for metrics, scored in pairs:
            add = metrics.add_reading if self.options.predicted else metrics.add
            add(name, scored[kept], transcript, batch.seconds[row])
        if self.prompted is not None:
            self.prompted.add([vectors[kept]], [transcript])
        if self.continuation is not None:
            reference_starts = torch.as_tensor(reference.starts).to(self.device)
            first = first_half(starts, boundaries, reference_starts)
            cascade, valid = None, boundaries >= 0
            if self.options.predicted and (tokens[valid] >= 0).all():
                cascade = tokens[valid & first]
            spoken = kept & first
            fused = None if fused is None else fused[spoken]
            self.continuation.add(vectors[spoken], transcript, cascade, fused)

    def summary(self):
        """See :meth:`Scorer.summary`.

        Returns
        -------
        dict
            What ``VectorMetrics.summary`` gives; "lm_fusion", the same of vectors read
            with LM fusion, where that is asked for; "nll", what
            ``SecondHalfLoss.summary`` gives, None without the LLM; "prompted_wer"
            and "prompted_wer_whisper" (or "prompted_cer", ...), %, where transcripts
            are asked for.
        """
        summary = self.metrics.summary()
        if self.fused is not None:
            summary["lm_fusion"] = {
                key: value
                for key, value in self.fused.summary().items()
                if key not in _NOT_FUSED
            }
        summary["nll"] = self.continuation and self.continuation.summary()
        if self.prompted is not None:
            summary |= self.prompted.summary()
        return summary

    def readings(self):
        """Transcripts beside the readings of their vectors.

        Returns
        -------
        list of (str, dict)
            Id, and texts by kind: "said", "read", "with LM fusion".
        """
        readings = [
            (name, {"said": transcript, "read": reading})
            for name, transcript, reading in self.metrics.readings
        ]
        if self.fused is not None:
            for (_, texts), (_, _, reading) in zip(
                readings, self.fused.readings, strict=True
            ):
                texts["with LM fusion"] = reading
        return readings
