"""Stage 1: the connector learns the LLM's own embeddings of the transcript."""

import time

import speechbrain as sb
import torch

from ssr_plugin.evaluation.continuation import ContinuationLoss
from ssr_plugin.evaluation.metrics import ReadingMetrics
from ssr_plugin.training.brain import StageBrain
from ssr_plugin.training.losses import (
    cosine_distance,
    distance_cross_entropy,
    squared_error,
)


class DistillBrain(StageBrain):
    """Trains a connector against the LLM's embedding table; the LLM is never run.

    Besides what :class:`StageBrain` reads, ``hparams`` has the weights of the losses
    and ``center``. Its ``modules`` are ``encoder``, ``llm`` and ``connector``.

    Arguments
    ---------
    seen_tokens : torch.Tensor
        [V] bool: the token types that the training data has.
    **kwargs
        Of ``sb.Brain``.
    """

    best_key = "token_accuracy"

    def __init__(self, *, seen_tokens, **kwargs):
        super().__init__(**kwargs)
        self.seen_tokens = seen_tokens
        self.table = self.modules.llm.table()
        self.center = self.table.float().mean(0) if self.hparams.centered else None
        self.continuation = None
        self.audio_seconds = self.train_seconds = 0.0

    def compute_forward(self, batch, stage):
        """Vectors of a batch, [B, N, H]."""
        batch = batch.to(self.device)
        features = batch.inputs
        if not batch.cached:
            features, _ = self.modules.encoder(batch.inputs, batch.lengths)
        return self.modules.connector(features, batch.boundaries, batch.starts)

    def compute_objectives(self, vectors, batch, stage):
        """The stage-1 loss; outside training the vectors are scored too."""
        tokens = batch.tokens.to(self.device)
        valid = tokens >= 0
        z, target = vectors[valid].float(), tokens[valid]
        h = self.table[target].float()
        hparams = self.hparams
        loss = hparams.mse_weight * squared_error(z, h)
        loss = loss + hparams.cosine_weight * cosine_distance(z, h, self.center)
        if hparams.ce_weight:
            ce = distance_cross_entropy(z, target, self.table)
            loss = loss + hparams.ce_weight * ce
        if stage != sb.Stage.TRAIN:
            for name, own, ids, seconds in zip(
                batch.ids, vectors, tokens, batch.seconds, strict=True
            ):
                count = int((ids >= 0).sum())
                self.metrics.add(name, own[:count], ids[:count], seconds)
                if self.continuation is not None:
                    self.continuation.add(own[:count], ids[:count])
        return loss

    def fit_batch(self, batch):
        """As SpeechBrain's, and clocks how much audio goes through."""
        start = time.perf_counter()
        loss = super().fit_batch(batch)
        self.train_seconds += time.perf_counter() - start
        self.audio_seconds += sum(batch.seconds)
        return loss

    def on_stage_start(self, stage, epoch=None):
        """Starts counting afresh for a validation or a test."""
        if stage != sb.Stage.TRAIN:
            tokenizer = self.modules.llm.tokenizer
            self.metrics = ReadingMetrics(tokenizer, self.table, self.seen_tokens)

    def valid_stats(self):
        """The figures of a validation that are worth following over the epochs."""
        stats = self.metrics.summary()
        keys = ("cosine", "mse", "token_accuracy", "retrieval_wer")
        return {key: stats[key] for key in keys}

    def score(self, loader, with_llm=True):
        """Scores the best connector on a data set.

        Arguments
        ---------
        loader : torch.utils.data.DataLoader
        with_llm : bool
            Whether to run the LLM for its loss on second halves.

        Returns
        -------
        metrics : ssr_plugin.evaluation.metrics.ReadingMetrics
        nll : dict or None
            What :meth:`ContinuationLoss.summary` gives.
        """
        if with_llm:
            self.continuation = ContinuationLoss(self.modules.llm)
        self.evaluate(loader, max_key=self.best_key)
        nll = self.continuation.summary() if with_llm else None
        self.continuation = None
        return self.metrics, nll

    @torch.no_grad()
    def read(self, batch):
        """Vectors of a batch, outside any stage: [B, N, H]."""
        self.modules.eval()
        return self.compute_forward(batch, sb.Stage.TEST)
