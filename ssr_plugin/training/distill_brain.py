"""Stage 1: the connector learns the LLM's own embeddings of the transcript."""

import dataclasses

import speechbrain as sb
import torch
import torch.nn.functional as F

from ssr_plugin.inference.reading import read_segments
from ssr_plugin.llm.llm_losses import first_layers_kl, transcription_loss
from ssr_plugin.metrics.prompted_wer import PromptedWER
from ssr_plugin.metrics.second_half_loss import ContinuationLoss, first_half
from ssr_plugin.metrics.vector_metrics import ReadingMetrics
from ssr_plugin.nnet.candidates import distance_logits, draw_candidates
from ssr_plugin.nnet.nearest import squared_norms
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.segmenters.forced import Segments
from ssr_plugin.segmenters.targets import assign_tokens
from ssr_plugin.training import augment
from ssr_plugin.training.brain import StageBrain
from ssr_plugin.training.losses import (
    cosine_distance,
    relative_squared_error,
    squared_error,
)


@dataclasses.dataclass
class Predictions:
    """What a batch gives.

    Arguments
    ---------
    vectors : torch.Tensor
        [B, N, H]
    segments : tuple of torch.Tensor
        Boundaries, starts and tokens, [B, N] int each, padded with -1. In training a
        token may be V, where a predicted segment is that of none.
    kept : torch.Tensor or None
        Outside training, [B, N] bool: the segments that say something.
    candidates, logits : torch.Tensor or None
        In training, [C] tokens and [M, C + 1] scores of the M vectors that are no
        padding; [M, C], of those of a token, where the connector tells no scores.
    """

    vectors: torch.Tensor
    segments: tuple
    kept: torch.Tensor | None = None
    candidates: torch.Tensor | None = None
    logits: torch.Tensor | None = None


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
        One that reads frames alone, for training on its segments and scoring with them.
    **kwargs
        Of ``sb.Brain``.
    """

    best = {"max_key": "token_accuracy"}

    def __init__(self, *, seen_tokens, segmenter=None, **kwargs):
        super().__init__(**kwargs)
        self.segmenter = None if segmenter is None else segmenter.to(self.device)
        self.seen_tokens = seen_tokens
        self.seen = torch.nonzero(seen_tokens).squeeze(1).to(self.device)
        self.table = self.modules.llm.table()
        self.norms = squared_norms(self.table)
        mean = self.table.mean(0, dtype=torch.float32)
        self.center = mean if self.hparams.centered else None
        # A connector without targets of its own is judged by what the LLM makes of it.
        weights = ("mse_weight", "cosine_weight", "ce_weight", "kl_weight")
        self.through_llm = bool(self.hparams.llm_weight) and not any(
            getattr(self.hparams, name) for name in weights
        )
        if self.through_llm:
            self.best = {"min_key": "loss"}
        # Whether the connector itself tells how likely each token is.
        self.scores_tokens = getattr(self.modules.connector, "scores_tokens", False)
        # What a test may ask for: segments from audio alone, and the LLM's help.
        self.predicts, self.passes = False, 0
        self.continuation = self.prompted = None

    def compute_forward(self, batch, stage):
        """Vectors of a batch, and what the loss or the scores need beside them.

        Returns
        -------
        Predictions
        """
        features, lengths = self.frames(batch)
        batch = batch.to(self.device)
        segments = (batch.boundaries, batch.starts, batch.tokens)
        if stage != sb.Stage.TRAIN:
            if self.predicts:
                quick = stage == sb.Stage.VALID
                found = self.segmenter.segment_frames(features, lengths, quick=quick)
                segments = pad_segments(found, self.device)
            return self._read(features, segments)
        features = augment.augment_frames(features, lengths, self.hparams)
        segments = self._training_segments(batch, features, lengths)
        boundaries, starts, tokens = segments
        arguments = (features, boundaries, starts)
        if not self.hparams.ce_weight:
            return Predictions(self.modules.connector(*arguments), segments)
        candidates = draw_candidates(
            tokens[self._named(tokens)],
            self.seen,
            len(self.table),
            self.hparams.ce_candidates,
        )
        if self.scores_tokens:
            vectors, logits = self.modules.connector(*arguments, candidates)
        else:
            vectors = self.modules.connector(*arguments)
            table, norms = self.table[candidates], self.norms[candidates]
            logits = distance_logits(vectors[self._named(tokens)], table, norms)
        return Predictions(vectors, segments, candidates=candidates, logits=logits)

    def _read(self, features, segments):
        """What is read outside training, with the LLM's help if that is asked for."""
        hparams = self.hparams
        vectors, kept = read_segments(
            self.part("connector"),
            self.modules.llm,
            features,
            *segments[:2],
            self.predicts,
            self.passes,
            hparams.lm_fusion_weight,
            hparams.inverse_temperature,
        )
        return Predictions(vectors, segments, kept)

    def _training_segments(self, batch, features, lengths):
        """Forced segments, shaken, and for a share of the utterances predicted ones."""
        hparams = self.hparams
        boundaries, starts = augment.jitter_boundaries(
            batch.boundaries, batch.starts, lengths, hparams.boundary_jitter
        )
        segments = [boundaries, starts, batch.tokens]
        share = hparams.predicted_share if self.segmenter is not None else 0.0
        rows = torch.nonzero(torch.rand(len(boundaries)) < share).squeeze(1)
        if not len(rows):
            return segments
        found = self.segmenter.segment_frames(features[rows], lengths[rows], quick=True)
        null = len(self.table)
        wanted = [batch.segments[row] for row in rows.tolist()]
        found = [
            Segments(assign_tokens(own, each, null), own.starts, own.boundaries)
            for own, each in zip(found, wanted, strict=True)
        ]
        longest = max(boundaries.shape[1], *(len(own) for own in found))
        longest += -longest % 8
        segments = [F.pad(x, (0, longest - x.shape[1]), value=-1) for x in segments]
        for whole, part in zip(segments, pad_segments(found), strict=True):
            part = F.pad(part, (0, longest - part.shape[1]), value=-1)
            whole[rows] = part.to(whole)
        return segments

    def compute_objectives(self, predictions, batch, stage):
        """The stage-1 loss; outside training the vectors are scored too."""
        if stage != sb.Stage.TRAIN:
            self._score(predictions, batch)
        if stage == sb.Stage.VALID and self.through_llm:
            return self._through_llm(predictions, batch)
        if self.predicts:
            return torch.zeros(())
        vectors, (_, _, tokens) = predictions.vectors, predictions.segments
        loss = self._distance(vectors, tokens)
        if predictions.logits is not None and len(predictions.logits):
            # V, for no token, comes after all candidates, as its score does; there is
            # none from a connector that cannot say it.
            scored = tokens >= 0 if self.scores_tokens else self._named(tokens)
            place = torch.searchsorted(predictions.candidates, tokens[scored])
            error = F.cross_entropy(predictions.logits, place)
            loss = loss + self.hparams.ce_weight * error
        if stage == sb.Stage.TRAIN:
            loss = loss + self._through_llm(predictions, batch)
            auxiliary = getattr(self.part("connector"), "auxiliary_loss", None)
            if auxiliary is not None:
                loss = loss + auxiliary()
        return loss

    def _named(self, tokens):
        """[B, N] bool: which segments are those of a token."""
        return (tokens >= 0) & (tokens < len(self.table))

    def _distance(self, vectors, tokens):
        """How far the vectors lie from their tokens' embeddings."""
        named = self._named(tokens)
        if not named.any():
            return 0.0 * vectors.sum()
        z, h = vectors[named].float(), self.table[tokens[named]].float()
        hparams = self.hparams
        error = relative_squared_error if hparams.relative_mse else squared_error
        loss = hparams.mse_weight * error(z, h)
        return loss + hparams.cosine_weight * cosine_distance(z, h, self.center)

    def _through_llm(self, predictions, batch):
        """The losses for which the LLM is run; none by default."""
        hparams, llm, vectors = self.hparams, self.modules.llm, predictions.vectors
        boundaries, _, tokens = predictions.segments
        kept = predictions.kept
        if kept is None:
            # What would be left out in use is left out in training.
            kept = boundaries >= 0
            if self.scores_tokens:
                kept = kept & (tokens < len(self.table))
        loss = 0.0
        if hparams.kl_weight:
            named = self._named(tokens)
            z = _pick(vectors, named)
            ids = _pick(tokens, named, -1)
            h = llm.embed(ids.clamp_min(0))
            loss = loss + hparams.kl_weight * first_layers_kl(
                llm, z, h, ids >= 0, hparams.kl_layers
            )
        if hparams.llm_weight:
            loss = loss + hparams.llm_weight * transcription_loss(
                llm,
                _pick(vectors, kept),
                kept.sum(1),
                batch.tokens.to(self.device),
            )
        return loss

    def _score(self, predictions, batch):
        boundaries, starts, heard = predictions.segments
        add = self.metrics.add_reading if self.predicts else self.metrics.add
        for row, (name, reference, seconds) in enumerate(
            zip(batch.ids, batch.segments, batch.seconds, strict=True)
        ):
            valid, kept = boundaries[row] >= 0, predictions.kept[row]
            vectors = predictions.vectors[row]
            tokens = torch.as_tensor(reference.tokens).to(self.device)
            add(name, vectors[kept], tokens, seconds)
            if self.prompted is not None:
                self.prompted.add([name], [vectors[kept]], [tokens])
            if self.continuation is not None:
                starts_of_tokens = torch.as_tensor(reference.starts).to(self.device)
                first = first_half(starts[row], boundaries[row], starts_of_tokens)
                cascade = None
                if self.predicts and (heard[row][valid] >= 0).all():
                    cascade = heard[row][valid & first]
                self.continuation.add(vectors[kept & first], tokens, cascade)

    def on_stage_start(self, stage, epoch=None):
        """Starts counting afresh for a validation or a test."""
        if stage == sb.Stage.VALID:
            # On such segments as it learns from.
            predicted = self.segmenter is not None and self.hparams.predicted_share == 1
            self.predicts = self.through_llm and predicted
        if stage != sb.Stage.TRAIN:
            tokenizer = self.modules.llm.tokenizer
            self.metrics = ReadingMetrics(tokenizer, self.table, self.seen_tokens)

    def valid_stats(self):
        """The figures of a validation that are worth following over the epochs."""
        stats = self.metrics.summary()
        keys = ("cosine", "mse", "token_accuracy", "retrieval_wer")
        return {key: stats[key] for key in keys}

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """As in all stages; what is trained and tested on follows."""
        super().on_stage_end(stage, stage_loss, epoch)
        if stage == sb.Stage.VALID:
            self.predicts = False

    def score(self, loader, with_llm=True, predicted=False):
        """Scores the best connector on a data set.

        Arguments
        ---------
        loader : torch.utils.data.DataLoader
        with_llm : bool
            Whether to run the LLM for its loss on second halves.
        predicted : bool
            Whether the segmenter finds the segments; else they are the forced ones.

        Returns
        -------
        metrics : ssr_plugin.metrics.vector_metrics.ReadingMetrics
        through : dict
            "nll": what :meth:`ContinuationLoss.summary` gives, None without the LLM;
            "prompted_wer", %, of a connector that learnt through the LLM.
        """
        llm = self.modules.llm
        if with_llm:
            self.continuation = ContinuationLoss(llm)
            self.prompted = PromptedWER(llm) if self.hparams.llm_weight else None
        self.predicts, self.passes = predicted, self.hparams.lm_fusion_steps
        self.evaluate(loader, **self.best)
        through = {"nll": self.continuation.summary() if with_llm else None}
        if self.prompted is not None:
            through["prompted_wer"] = self.prompted.summary()
        self.predicts, self.passes = False, 0
        self.continuation = self.prompted = None
        return self.metrics, through

    @torch.no_grad()
    def read(self, batch):
        """Vectors of a batch, outside any stage: [B, N, H]."""
        self.modules.eval()
        return self.compute_forward(batch, sb.Stage.TEST).vectors


def _pick(values, chosen, padding=0):
    """Of [B, N, ...] those that are chosen, [B, M, ...], padded on the right."""
    own = [x[keep] for x, keep in zip(values, chosen, strict=True)]
    return torch.nn.utils.rnn.pad_sequence(own, True, padding_value=padding)
