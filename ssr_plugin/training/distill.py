"""Stage 1: the connector learns the LLM's own embeddings of the transcript."""

import time

import speechbrain as sb
import torch
import torch.nn.functional as F

from ssr_plugin.evaluation.continuation import ContinuationLoss
from ssr_plugin.evaluation.metrics import ReadingMetrics, squared_norms
from ssr_plugin.nnet.candidates import distance_logits, draw_candidates
from ssr_plugin.training import augment
from ssr_plugin.training.brain import StageBrain
from ssr_plugin.training.losses import (
    cosine_distance,
    relative_squared_error,
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
        self.seen = torch.nonzero(seen_tokens).squeeze(1).to(self.device)
        self.table = self.modules.llm.table()
        self.norms = squared_norms(self.table)
        mean = self.table.mean(0, dtype=torch.float32)
        self.center = mean if self.hparams.centered else None
        # Whether the connector itself tells how likely each token is.
        self.scores_tokens = getattr(self.modules.connector, "scores_tokens", False)
        self.continuation = None
        self.audio_seconds = self.train_seconds = 0.0

    def compute_forward(self, batch, stage):
        """Vectors of a batch, [B, N, H]; in training also a score for each candidate.

        Returns
        -------
        vectors : torch.Tensor
            [B, N, H]
        candidates, logits : torch.Tensor or None
            [C] tokens and [M, C], for the M vectors that are no padding.
        """
        batch = batch.to(self.device)
        features, lengths = batch.inputs, batch.lengths
        if not batch.cached:
            features, lengths = self.modules.encoder(features, lengths)
        arguments = (features, batch.boundaries, batch.starts)
        if stage == sb.Stage.TRAIN:
            arguments = self._augment(lengths, *arguments)
        if stage != sb.Stage.TRAIN or not self.hparams.ce_weight:
            return self.modules.connector(*arguments), None, None
        candidates = draw_candidates(
            batch.tokens[batch.tokens >= 0],
            self.seen,
            len(self.table),
            self.hparams.ce_candidates,
        )
        if self.scores_tokens:
            vectors, logits = self.modules.connector(*arguments, candidates)
        else:
            vectors = self.modules.connector(*arguments)
            logits = distance_logits(
                vectors[batch.boundaries >= 0],
                self.table[candidates],
                self.norms[candidates],
            )
        return vectors, candidates, logits

    def _augment(self, lengths, features, boundaries, starts):
        hparams = self.hparams
        lengths = lengths.to(self.device)
        features = augment.swap_means(features, lengths, hparams.mean_swap)
        features = augment.add_noise(features, lengths, hparams.noise)
        features = augment.drop_frames(features, hparams.frame_dropout)
        segments = augment.shake_boundaries(
            boundaries, starts, lengths, hparams.boundary_shake
        )
        return features, *segments

    def compute_objectives(self, predictions, batch, stage):
        """The stage-1 loss; outside training the vectors are scored too."""
        vectors, candidates, logits = predictions
        tokens = batch.tokens.to(self.device)
        valid = tokens >= 0
        z, target = vectors[valid].float(), tokens[valid]
        h = self.table[target].float()
        hparams = self.hparams
        error = relative_squared_error if hparams.relative_mse else squared_error
        loss = hparams.mse_weight * error(z, h)
        loss = loss + hparams.cosine_weight * cosine_distance(z, h, self.center)
        if logits is not None:
            place = torch.searchsorted(candidates, target)
            loss = loss + hparams.ce_weight * F.cross_entropy(logits, place)
        if stage != sb.Stage.TRAIN:
            self._score(vectors, tokens, batch)
        return loss

    def _score(self, vectors, tokens, batch):
        for name, own, ids, seconds in zip(
            batch.ids, vectors, tokens, batch.seconds, strict=True
        ):
            count = int((ids >= 0).sum())
            self.metrics.add(name, own[:count], ids[:count], seconds)
            if self.continuation is not None:
                self.continuation.add(own[:count], ids[:count])

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
        return self.compute_forward(batch, sb.Stage.TEST)[0]
