"""Stage 1: the connector learns the LLM's own embeddings of the transcript."""

import dataclasses

import speechbrain as sb
import torch
import torch.nn.functional as F

from ssr_plugin.connectors.base import VocabularyConnector
from ssr_plugin.inference.posterior_gate import known_posteriors
from ssr_plugin.inference.reading import read_segments
from ssr_plugin.llm.llm_losses import first_layers_kl, transcription_loss
from ssr_plugin.llm.lm_fusion import LMFusion
from ssr_plugin.metrics.wer import rate_names
from ssr_plugin.nnet.candidates import distance_logits
from ssr_plugin.nnet.nearest import squared_norms
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.segmenters.base import Segments
from ssr_plugin.segmenters.targets import assign_tokens
from ssr_plugin.training.augment import Strengths
from ssr_plugin.training.batch_hypotheses import hypotheses_of
from ssr_plugin.training.brain import ReadOptions, StageBrain
from ssr_plugin.training.distill_scorer import VectorScorer
from ssr_plugin.training.losses import (
    cosine_distance,
    relative_squared_error,
    squared_error,
)
from ssr_plugin.training.packed_tensors import PackedTensors
from ssr_plugin.training.planning import CONNECTOR, DistillCollate, plan_targets


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
    plan : dict of torch.Tensor or None
        In training, what :class:`ssr_plugin.training.planning.DistillCollate` plans.
    logits : torch.Tensor or None
        In training, [B, N, C + 1] scores of the candidates and of no token; [B, N, C]
        if the connector gives no scores.
    auxiliary_loss : torch.Tensor or None
        In training, a loss of the connector's own: a scalar.
    """

    vectors: torch.Tensor
    segments: tuple
    kept: torch.Tensor | None = None
    lm_fusion_vectors: torch.Tensor | None = None
    plan: dict | None = None
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
        One that does without a transcript, for training and scoring on its segments.
    hypotheses : collections.abc.Mapping
        What a segmenter that listens has heard, by utterance id.
    **kwargs
        Of ``sb.Brain``.
    """

    best = {"max_key": "token_accuracy"}

    def __init__(self, *, seen_tokens, segmenter=None, hypotheses=None, **kwargs):
        super().__init__(**kwargs)
        self.hypotheses = hypotheses or {}
        # Of predicted segments, once it is fitted.
        self.gate = None
        self.segmenter = None if segmenter is None else segmenter.to(self.device)
        self.seen_tokens = seen_tokens
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

    def make_collate(self):
        """See :meth:`StageBrain.make_collate`; it plans for the connector, too."""
        hparams = self.hparams
        return DistillCollate(
            Strengths.of(vars(hparams)),
            hparams.seed,
            self.unwrapped("connector").planner(),
            torch.nonzero(self.seen_tokens).squeeze(1),
            len(self.table),
            hparams.ce_candidates if hparams.ce_weight else None,
        )

    @property
    def step_is_planned(self):
        """See :class:`StageBrain`: not with predicted segments, nor through the LLM."""
        hparams = self.hparams
        return self.collate.planner is not None and not (
            hparams.predicted_share or hparams.kl_weight or hparams.llm_weight
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
        batch = batch.to(self.device)
        features, lengths = self.frames(batch)
        features = self.augment(features, batch)
        plan = self._training_plan(batch, features, lengths)
        segments = [plan[f"segment_{x}"] for x in ("boundaries", "starts", "tokens")]
        arguments, candidates = {}, plan.get("candidates")
        if self.collate.planner is not None:
            arguments["plan"] = {
                name.removeprefix(CONNECTOR): tensor
                for name, tensor in plan.items()
                if name.startswith(CONNECTOR)
            }
        if self.scores_tokens and candidates is not None:
            arguments["candidates"] = candidates
        output = self.modules.connector(features, *segments[:2], **arguments)
        logits = output.token_logits
        if candidates is not None and not self.scores_tokens:
            table, norms = self.table[candidates], self.norms[candidates]
            logits = distance_logits(output.vectors, table, norms)
        return DistillPredictions(
            output.vectors,
            segments,
            plan=plan,
            logits=logits,
            auxiliary_loss=output.auxiliary_loss,
        )

    @torch.no_grad()
    def read(self, batch, options):
        """See :meth:`StageBrain.read`: :class:`DistillPredictions`."""
        batch = batch.to(self.device)
        features, lengths = self.frames(batch)
        segments, reading = (batch.boundaries, batch.starts, batch.tokens), {}
        if options.predicted:
            predicted = self.predict(batch, features, lengths, options.use_lm)
            segments = pad_segments([x.segments for x in predicted], self.device)
            reading = {"gate": self.gate, "posteriors": known_posteriors(predicted)}

        connector, llm = self.unwrapped("connector"), self.modules.llm
        arguments = (connector, llm, features, *segments[:2], options.predicted)
        vectors, kept = read_segments(*arguments, **reading)
        predictions = DistillPredictions(vectors, segments, kept)
        if options.lm_fusion:
            fusion = LMFusion(
                self.hparams.lm_fusion_steps,
                self.hparams.lm_fusion_weight,
                self.hparams.inverse_temperature,
            )
            predictions.lm_fusion_vectors, _ = read_segments(
                *arguments, fusion, **reading
            )
        return predictions

    def predict(self, batch, features, lengths, use_lm, rows=None):
        """Segments of utterances whose transcript is not read.

        Arguments
        ---------
        batch : ssr_plugin.training.batches.Batch
        features : torch.Tensor
            [B, T, D]
        lengths : torch.Tensor
            [B] int, frames of each.
        use_lm : bool
            Of :meth:`ssr_plugin.segmenters.base.FrameSegmenter.segment_frames`.
        rows : list of int or None
            Which utterances of the batch ``features`` are of; None for all.

        Returns
        -------
        list of ssr_plugin.segmenters.base.Segmentation
        """
        heard = hypotheses_of(self, batch, rows)
        if heard is None:
            return self.segmenter.segment_frames(features, lengths, use_lm=use_lm)
        return self.segmenter.cut_all(heard, lengths.tolist())

    def _training_plan(self, batch, features, lengths):
        """That of the loader; for a share of the utterances, of predicted segments."""
        plan = dict(batch.tensors)
        share = self.hparams.predicted_share if self.segmenter is not None else 0.0
        if not share:
            return plan
        rows = torch.nonzero(torch.rand(len(features)) < share).squeeze(1)
        if not len(rows):
            return plan
        # What is predicted is known on the device first: the host plans it again.
        chosen = features[rows], lengths[rows]
        predicted = self.predict(batch, *chosen, use_lm=False, rows=rows.tolist())
        null = len(self.table)
        predicted = [
            Segments(
                assign_tokens(prediction.segments, batch.segments[row], null),
                prediction.segments.starts,
                prediction.segments.boundaries,
            )
            for row, prediction in zip(rows.tolist(), predicted, strict=True)
        ]
        segments = [plan[f"segment_{x}"].cpu() for x in ("boundaries", "starts")]
        segments.append(plan["segment_tokens"].cpu())
        longest = max(segments[0].shape[1], *map(len, predicted))
        longest += -longest % 8
        segments = [F.pad(x, (0, longest - x.shape[1]), value=-1) for x in segments]
        for target, source in zip(segments, pad_segments(predicted), strict=True):
            target[rows] = F.pad(source, (0, longest - source.shape[1]), value=-1)
        candidates = plan.get("candidates")
        candidates = None if candidates is None else candidates.cpu()
        planned = self.collate.plan_segments(*segments, batch.num_frames, candidates)
        return plan | dict(PackedTensors.of(planned).to(self.device))

    def compute_objectives(self, predictions, batch, stage):
        """The stage-1 loss; in a validation, without the terms of training alone."""
        if stage == sb.Stage.VALID and self.llm_loss_only:
            return self._llm_loss(predictions, batch)
        plan = predictions.plan
        if plan is None:
            plan = plan_targets(predictions.segments[2], len(self.table))
        loss = self._distance(predictions.vectors, plan)
        if predictions.logits is not None:
            cross_entropy = self._cross_entropy(predictions)
            loss = torch.add(loss, cross_entropy, alpha=self.hparams.ce_weight)
        if stage == sb.Stage.TRAIN:
            if self.hparams.kl_weight or self.hparams.llm_weight:
                loss = loss + self._llm_loss(predictions, batch)
            if predictions.auxiliary_loss is not None:
                loss = loss + predictions.auxiliary_loss
        return loss

    def _cross_entropy(self, predictions):
        """Of the tokens among the candidates, and of no token where that is scored."""
        logits, plan = predictions.logits, predictions.plan
        index, (count, num_tokens) = plan["target_index"], plan["target_count"]
        if not self.scores_tokens:
            # It gives no score to no token.
            index, count = index.where(plan["target_weight"] > 0, -100), num_tokens
        total = F.cross_entropy(
            logits.flatten(0, 1), index.flatten(), ignore_index=-100, reduction="sum"
        )
        return total / count

    def _is_token(self, tokens):
        """[B, N] bool: which segments belong to a token."""
        return (tokens >= 0) & (tokens < len(self.table))

    def _distance(self, vectors, plan):
        """How far the vectors lie from their tokens' embeddings."""
        z, h = vectors.float(), self.table[plan["target_ids"]].float()
        hparams, weight = self.hparams, plan["target_weight"]
        error = relative_squared_error if hparams.relative_mse else squared_error
        loss = error(z, h, weight)
        if hparams.mse_weight != 1:
            loss = hparams.mse_weight * loss
        cosine = cosine_distance(z, h, self.center, weight)
        return torch.add(loss, cosine, alpha=hparams.cosine_weight)

    def _llm_loss(self, predictions, batch):
        """The losses that need a run of the LLM, where one has a weight."""
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
        return VectorScorer(
            llm, seen_tokens, options, with_llm, transcribes, self.language
        )

    def valid_stats(self):
        """See :meth:`StageBrain.valid_stats`."""
        stats = self.scorer.summary()
        rate, _ = rate_names(self.language)
        keys = ("cosine", "mse", "token_accuracy", f"retrieval_{rate}")
        return {key: stats[key] for key in keys}


def _select(values, mask, padding=0):
    """The values of [B, N, ...] where the mask is true: [B, M, ...], padded right."""
    rows = [x[keep] for x, keep in zip(values, mask, strict=True)]
    return torch.nn.utils.rnn.pad_sequence(rows, True, padding_value=padding)
