"""Stage 1: the connector learns the LLM's own embeddings of the transcript."""

import dataclasses

import speechbrain as sb
import torch
import torch.nn.functional as F

from ssr_plugin.connectors.base import VocabularyConnector
from ssr_plugin.inference.reading import read_segments
from ssr_plugin.llm.llm_losses import first_layers_kl, transcription_loss
from ssr_plugin.llm.lm_fusion import LMFusion
from ssr_plugin.nnet.candidates import distance_logits, draw_candidates
from ssr_plugin.nnet.nearest import squared_norms
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.segmenters.base import Segments
from ssr_plugin.segmenters.targets import assign_tokens
from ssr_plugin.training import augment
from ssr_plugin.training.brain import ReadOptions, StageBrain
from ssr_plugin.training.distill_scorer import VectorScorer
from ssr_plugin.training.losses import (
    cosine_distance,
    relative_squared_error,
    squared_error,
)


@dataclasses.dataclass
class DistillPredictions:
    """What the connector makes of a batch.

    Arguments
    ---------
    vectors : torch.Tensor
        [B, N, H], of the connector alone.
    segments : tuple of torch.Tensor
        Boundaries, starts and tokens, [B, N] int each, padded with -1. In training a
        token may be V, for a predicted segment that belongs to no token.
    kept : torch.Tensor or None
        Outside training, [B, N] bool: the segments that belong to a token.
    lm_fusion_vectors : torch.Tensor or None
        [B, N, H], read with LM fusion, where that is asked for.
    candidates, logits : torch.Tensor or None
        In training, [C] tokens and [M, C + 1] scores of the M vectors that are no
        padding; [M, C] of the vectors with a token, if the connector gives no scores.
    auxiliary_loss : torch.Tensor or None
        In training, a loss of the connector's own: a scalar.
    """

    vectors: torch.Tensor
    segments: tuple
    kept: torch.Tensor | None = None
    lm_fusion_vectors: torch.Tensor | None = None
    candidates: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    auxiliary_loss: torch.Tensor | None = None


class DistillBrain(StageBrain):
    """Trains a connector against the LLM's embedding table.

    Besides what :class:`StageBrain` reads, ``hparams`` has the weights of the losses
    and ``centered``. Its ``modules`` are ``encoder``, ``llm`` and ``connector``. In
    training the LLM is run only where ``kl_weight`` or ``llm_weight`` asks for it.

    Arguments
    ---------
    seen_tokens : torch.Tensor
        [V] bool: the token types that the training data has.
    segmenter : torch.nn.Module or None
        One that needs only frames, for training and scoring on its segments.
    **kwargs
        Of ``sb.Brain``.
    """

    best = {"max_key": "token_accuracy"}

    def __init__(self, *, seen_tokens, segmenter=None, **kwargs):
        super().__init__(**kwargs)
        self.segmenter = None if segmenter is None else segmenter.to(self.device)
        self.seen_tokens = seen_tokens
        self.seen_ids = torch.nonzero(seen_tokens).squeeze(1).to(self.device)
        self.table = self.modules.llm.table()
        self.norms = squared_norms(self.table)
        mean = self.table.mean(0, dtype=torch.float32)
        self.center = mean if self.hparams.centered else None
        # A connector that learns from no embeddings is judged by the LLM's loss.
        hparams = self.hparams
        self.llm_loss_only = bool(hparams.llm_weight) and not (
            hparams.mse_weight
            or hparams.cosine_weight
            or hparams.ce_weight
            or hparams.kl_weight
        )
        if self.llm_loss_only:
            self.best = {"min_key": "loss"}
        # It is validated on the kind of segments it learns from.
        self.valid_options = ReadOptions(
            predicted=self.llm_loss_only
            and self.segmenter is not None
            and hparams.predicted_share == 1,
            use_lm=False,
        )

    @property
    def scores_tokens(self):
        """Whether the connector itself gives a score to each token."""
        return isinstance(self.unwrapped("connector"), VocabularyConnector)

    def compute_forward(self, batch, stage):
        """Vectors of a batch, and what else the loss needs.

        Returns
        -------
        DistillPredictions
        """
        if stage != sb.Stage.TRAIN:
            return self.read(batch, self.valid_options)
        features, lengths = self.frames(batch)
        batch = batch.to(self.device)
        features = augment.augment_frames(features, lengths, self.hparams)
        segments = self._training_segments(batch, features, lengths)
        boundaries, starts, tokens = segments
        arguments = (features, boundaries, starts)
        if not self.hparams.ce_weight:
            output = self.modules.connector(*arguments)
            return DistillPredictions(
                output.vectors, segments, auxiliary_loss=output.auxiliary_loss
            )
        candidates = draw_candidates(
            tokens[self._is_token(tokens)],
            self.seen_ids,
            len(self.table),
            self.hparams.ce_candidates,
        )
        if self.scores_tokens:
            output = self.modules.connector(*arguments, candidates)
            logits = output.token_logits
        else:
            output = self.modules.connector(*arguments)
            table, norms = self.table[candidates], self.norms[candidates]
            logits = distance_logits(
                output.vectors[self._is_token(tokens)], table, norms
            )
        return DistillPredictions(
            output.vectors,
            segments,
            candidates=candidates,
            logits=logits,
            auxiliary_loss=output.auxiliary_loss,
        )

    @torch.no_grad()
    def read(self, batch, options):
        """See :meth:`StageBrain.read`: :class:`DistillPredictions`."""
        features, lengths = self.frames(batch)
        batch = batch.to(self.device)
        segments = (batch.boundaries, batch.starts, batch.tokens)
        if options.predicted:
            predicted = self.segmenter.segment_frames(
                features, lengths, use_lm=options.use_lm
            )
            segments = pad_segments([x.segments for x in predicted], self.device)

        connector, llm = self.unwrapped("connector"), self.modules.llm
        arguments = (connector, llm, features, *segments[:2], options.predicted)
        vectors, kept = read_segments(*arguments)
        predictions = DistillPredictions(vectors, segments, kept)
        if options.lm_fusion:
            fusion = LMFusion(
                self.hparams.lm_fusion_steps,
                self.hparams.lm_fusion_weight,
                self.hparams.inverse_temperature,
            )
            predictions.lm_fusion_vectors, _ = read_segments(*arguments, fusion)
        return predictions

    def _training_segments(self, batch, features, lengths):
        """Forced segments, jittered; for a share of the utterances, predicted ones."""
        hparams = self.hparams
        boundaries, starts = augment.jitter_boundaries(
            batch.boundaries, batch.starts, lengths, hparams.boundary_jitter
        )
        segments = [boundaries, starts, batch.tokens]
        share = hparams.predicted_share if self.segmenter is not None else 0.0
        rows = torch.nonzero(torch.rand(len(boundaries)) < share).squeeze(1)
        if not len(rows):
            return segments
        predicted = self.segmenter.segment_frames(
            features[rows], lengths[rows], use_lm=False
        )
        predicted = [segmentation.segments for segmentation in predicted]
        null = len(self.table)
        references = [batch.segments[row] for row in rows.tolist()]
        predicted = [
            Segments(
                assign_tokens(prediction, reference, null),
                prediction.starts,
                prediction.boundaries,
            )
            for prediction, reference in zip(predicted, references, strict=True)
        ]
        longest = max(boundaries.shape[1], *map(len, predicted))
        longest += -longest % 8
        segments = [F.pad(x, (0, longest - x.shape[1]), value=-1) for x in segments]
        for target, source in zip(segments, pad_segments(predicted), strict=True):
            source = F.pad(source, (0, longest - source.shape[1]), value=-1)
            target[rows] = source.to(target)
        return segments

    def compute_objectives(self, predictions, batch, stage):
        """The stage-1 loss; in a validation, without the terms of training alone."""
        if stage == sb.Stage.VALID and self.llm_loss_only:
            return self._llm_loss(predictions, batch)
        vectors, (_, _, tokens) = predictions.vectors, predictions.segments
        loss = self._distance(vectors, tokens)
        if predictions.logits is not None and len(predictions.logits):
            # V means no token. It comes after all candidates, like its score; a
            # connector that gives no scores has none for it.
            scored = tokens >= 0 if self.scores_tokens else self._is_token(tokens)
            index = torch.searchsorted(predictions.candidates, tokens[scored])
            error = F.cross_entropy(predictions.logits, index)
            loss = loss + self.hparams.ce_weight * error
        if stage == sb.Stage.TRAIN:
            loss = loss + self._llm_loss(predictions, batch)
            if predictions.auxiliary_loss is not None:
                loss = loss + predictions.auxiliary_loss
        return loss

    def _is_token(self, tokens):
        """[B, N] bool: which segments belong to a token."""
        return (tokens >= 0) & (tokens < len(self.table))

    def _distance(self, vectors, tokens):
        """How far the vectors lie from their tokens' embeddings."""
        mask = self._is_token(tokens)
        if not mask.any():
            return 0.0 * vectors.sum()
        z, h = vectors[mask].float(), self.table[tokens[mask]].float()
        hparams = self.hparams
        error = relative_squared_error if hparams.relative_mse else squared_error
        loss = hparams.mse_weight * error(z, h)
        return loss + hparams.cosine_weight * cosine_distance(z, h, self.center)

    def _llm_loss(self, predictions, batch):
        """The losses that need a run of the LLM; none by default."""
        hparams, llm, vectors = self.hparams, self.modules.llm, predictions.vectors
        boundaries, _, tokens = predictions.segments
        kept = predictions.kept
        if kept is None:
            # Vectors that are dropped in use are dropped in training, too.
            kept = boundaries >= 0
            if self.scores_tokens:
                kept = kept & (tokens < len(self.table))
        loss = 0.0
        if hparams.kl_weight:
            mask = self._is_token(tokens)
            z = _select(vectors, mask)
            ids = _select(tokens, mask, -1)
            h = llm.embed(ids.clamp_min(0))
            loss = loss + hparams.kl_weight * first_layers_kl(
                llm, z, h, ids >= 0, hparams.kl_layers
            )
        if hparams.llm_weight:
            loss = loss + hparams.llm_weight * transcription_loss(
                llm,
                _select(vectors, kept),
                kept.sum(1),
                batch.tokens.to(self.device),
            )
        return loss

    # --- Scores ----------------------------------------------------------------------

    def valid_scorer(self):
        """See :meth:`StageBrain.valid_scorer`."""
        return self.make_scorer(self.valid_options, with_llm=False)

    def make_scorer(self, options, with_llm=True, transcribes=None):
        """A scorer of batches read with ``options``.

        Arguments
        ---------
        options : ReadOptions
        with_llm : bool
            Whether to run the LLM for its loss on second halves.
        transcribes : bool or None
            Whether the LLM writes transcripts; by default if the connector learns
            through it.

        Returns
        -------
        VectorScorer
        """
        if transcribes is None:
            transcribes = with_llm and bool(self.hparams.llm_weight)
        llm, seen_tokens = self.modules.llm, self.seen_tokens
        return VectorScorer(llm, seen_tokens, options, with_llm, transcribes)

    def valid_stats(self):
        """See :meth:`StageBrain.valid_stats`."""
        stats = self.scorer.summary()
        keys = ("cosine", "mse", "token_accuracy", "retrieval_wer")
        return {key: stats[key] for key in keys}


def _select(values, mask, padding=0):
    """The values of [B, N, ...] where the mask is true: [B, M, ...], padded right."""
    rows = [x[keep] for x, keep in zip(values, mask, strict=True)]
    return torch.nn.utils.rnn.pad_sequence(rows, True, padding_value=padding)
