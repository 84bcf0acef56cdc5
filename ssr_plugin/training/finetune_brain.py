"""Stage 2: the LLM learns to read speech, and forgets as little as possible."""

import dataclasses
import functools
import math

import speechbrain as sb
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.llm.scoring import logits_at, pad_rows
from ssr_plugin.metrics.perplexity import document_loss
from ssr_plugin.metrics.second_half_loss import first_half
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.training.brain import ReadOptions, StageBrain
from ssr_plugin.training.finetune_scorer import TemplateScorer, TunedScorer
from ssr_plugin.training.templates import sequence, transcription_template


@dataclasses.dataclass
class SpokenUtterance:
    """An utterance as vectors.

    Arguments
    ---------
    vectors : torch.Tensor
        [M, H]
    first : torch.Tensor
        [M] bool: which belong to the first half of the transcript.
    tokens : torch.Tensor
        [N] int, the transcript's.
    """

    vectors: torch.Tensor
    first: torch.Tensor
    tokens: torch.Tensor


@dataclasses.dataclass
class FinetunePredictions:
    """What the LLM predicts of a batch.

    Arguments
    ---------
    speech : list of (torch.Tensor, torch.Tensor)
        Logits [P, V] and targets [P].
    weights : list of float
        Of each of those.
    text : tuple of torch.Tensor or None
        Of text alone: logits, base logits and targets of :func:`text_loss`.
    """

    speech: list
    weights: list
    text: tuple | None = None

    @functools.cached_property
    def speech_losses(self):
        """Nats per token of each prediction of ``speech``, computed once."""
        return [F.cross_entropy(logits, targets) for logits, targets in self.speech]


class FinetuneBrain(StageBrain):
    """Tunes an LLM on vectors that a frozen connector reads from speech.

    Besides what :class:`StageBrain` reads, ``hparams`` has the weights and shares of
    ``hparams/finetune.yaml``. Its ``modules`` are ``encoder`` and ``tuned``.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
        Of stage 1.
    templates : list of ssr_plugin.training.templates.Template
    text : ssr_plugin.training.text_data.Text
    **kwargs
        Of ``sb.Brain``.
    """

    def __init__(self, *, lm, templates, text, **kwargs):
        super().__init__(**kwargs)
        self.lm = lm.to(self.device)
        self.llm = lm.llm
        self.segmenter = dict(lm.segmenters).get("predicted")
        self.templates = templates
        self.shares = torch.tensor([template.share for template in templates])
        self.transcription = transcription_template(templates, self.llm.tokenizer)
        self.text = text

    # --- What the LLM reads ----------------------------------------------------------

    def compute_forward(self, batch, stage):
        """What the LLM predicts.

        Returns
        -------
        FinetunePredictions
        """
        lm_fusion = self.hparams.lm_fusion
        if stage == sb.Stage.VALID:
            utterances = self.read(batch, ReadOptions(lm_fusion=lm_fusion))
            predictions = [
                self._predict([(template, x) for x in utterances])
                for template in self.templates
            ]
            return FinetunePredictions(
                predictions, [template.share for template in self.templates]
            )
        batch = batch.to(self.device)
        features, lengths = self.frames(batch)
        reference = (batch.tokens, batch.starts)
        features = self.augment(features, batch)
        jittered = tuple(
            batch.tensors[key] for key in ("jittered_boundaries", "jittered_starts")
        )
        templates = torch.multinomial(self.shares, len(features), replacement=True)
        templates = [self.templates[index] for index in templates.tolist()]
        utterances = self._embed(features, jittered, reference, lm_fusion)
        # Predicted segments fit only templates with text: without it, the loss needs
        # one vector for each token.
        share = self.hparams.predicted_share if self.segmenter is not None else 0.0
        chosen = (torch.rand(len(templates)) < share).tolist()
        rows = [i for i, x in enumerate(templates) if x.has_text and chosen[i]]
        if rows:
            options = ReadOptions(predicted=True, use_lm=False, lm_fusion=lm_fusion)
            predicted = self._embed_predicted(
                features[rows], lengths[rows], [x[rows] for x in reference], options
            )
            for row, utterance in zip(rows, predicted, strict=True):
                utterances[row] = utterance
        logits, targets = self._predict(list(zip(templates, utterances, strict=True)))
        return FinetunePredictions(
            [(logits, targets)], [1.0], self._read_text(len(targets))
        )

    @torch.no_grad()
    def read(self, batch, options):
        """See :meth:`StageBrain.read`: a list of :class:`SpokenUtterance`."""
        batch = batch.to(self.device)
        features, lengths = self.frames(batch)
        reference = (batch.tokens, batch.starts)
        if options.predicted:
            return self._embed_predicted(features, lengths, reference, options)
        segments = (batch.boundaries, batch.starts)
        return self._embed(features, segments, reference, options.lm_fusion)

    @torch.no_grad()
    def _embed(self, features, segments, reference, lm_fusion, predicted=False):
        """Utterances as vectors, as the connector of stage 1 reads them.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        segments : tuple of torch.Tensor
            Boundaries and starts, [B, N] int each, padded with -1.
        reference : tuple of torch.Tensor
            Tokens and starts of the forced segments, [B, M] int each.
        lm_fusion : bool
            Whether the base model helps.
        predicted : bool
            Whether a segment may belong to no token.

        Returns
        -------
        list of SpokenUtterance
        """
        vectors, kept = self.lm.embedder.read(
            features, *segments, predicted=predicted, lm_fusion=lm_fusion
        )
        utterances = []
        for row, keep in enumerate(kept):
            boundaries, starts = (x[row] for x in segments)
            tokens, first_frames = (x[row] for x in reference)
            valid = tokens >= 0
            first = first_half(starts, boundaries, first_frames[valid])
            utterances.append(
                SpokenUtterance(vectors[row][keep], first[keep], tokens[valid])
            )
        return utterances

    def _embed_predicted(self, features, lengths, reference, options):
        """Utterances as vectors of segments predicted from the audio alone."""
        predicted = self.lm.embedder.segment(features, lengths, use_lm=options.use_lm)
        segments = [segmentation.segments for segmentation in predicted]
        boundaries, starts, _ = pad_segments(segments, self.device)
        return self._embed(
            features, (boundaries, starts), reference, options.lm_fusion, True
        )

    def _predict(self, requests):
        """Logits and targets where there is a target: [P, V], [P].

        Arguments
        ---------
        requests : list of (Template, SpokenUtterance)
        """
        rows, targets = [], []
        for template, utterance in requests:
            vectors, tokens = utterance.vectors, utterance.tokens
            if template.halves:
                vectors, tokens = vectors[utterance.first], tokens[len(tokens) // 2 :]
            embeds, row_targets = sequence(template, self.llm, vectors, tokens)
            rows.append(embeds)
            targets.append(row_targets)
        targets = pad_sequence(targets, batch_first=True, padding_value=-1)
        embeds, mask = pad_rows(rows, "right")
        logits = self.modules.tuned(embeds, mask, targets >= 0)
        return logits, targets[targets >= 0]

    def _read_text(self, count):
        """Predictions of text alone, about ``text_ratio`` times ``count`` tokens."""
        hparams = self.hparams
        weighs = hparams.text_weight or hparams.text_kl_weight
        if not (self.text.chunks and weighs):
            return None
        chunks = self.text.draw(round(hparams.text_ratio * count))
        inputs, targets = (
            pad_sequence(rows, batch_first=True, padding_value=-1).to(self.device)
            for rows in ([x[:-1] for x in chunks], [x[1:] for x in chunks])
        )
        is_target = targets >= 0
        embeds, mask = self.llm.embed(inputs.clamp_min(0)), inputs >= 0
        logits = self.modules.tuned(embeds, mask, is_target)
        base_logits = None
        if hparams.text_kl_weight:
            with self.unwrapped("tuned").base_model() as llm, torch.no_grad():
                base_logits = logits_at(llm.load_model(), embeds, mask, is_target)
        return logits, base_logits, targets[is_target]

    # --- What is learnt --------------------------------------------------------------

    def compute_objectives(self, predictions, batch, stage):
        """Loss of the templates; in training also that of text."""
        losses, weights = predictions.speech_losses, predictions.weights
        loss = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
        if predictions.text is not None:
            weights = (self.hparams.text_weight, self.hparams.text_kl_weight)
            loss = loss + text_loss(*predictions.text, *weights)
        return loss

    # --- Before the first step -------------------------------------------------------

    def fit_epochs(self, loader, valid_loader):
        """As in every stage; but first the base model is validated."""
        self.valid_loader = valid_loader
        super().fit_epochs(loader, valid_loader)

    def on_fit_start(self):
        """Validates a new run as epoch 0, so that even one epoch gives a curve."""
        super().on_fit_start()
        if not self.hparams.history.epochs:
            self._fit_valid(self.valid_loader, epoch=0, enable=False)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """As in every stage; of epoch 0, only the metrics are kept."""
        if epoch == 0:
            self.hparams.history.add(0, loss=stage_loss, **self.valid_stats())
        else:
            super().on_stage_end(stage, stage_loss, epoch)

    # --- Scores ----------------------------------------------------------------------

    def valid_scorer(self):
        """See :meth:`StageBrain.valid_scorer`."""
        return TemplateScorer(self.templates)

    def valid_stats(self):
        """The loss of each template per token, and the perplexity of held-out text."""
        perplexity = self.perplexity(self.unwrapped("tuned"))
        return {**self.scorer.summary(), "text_perplexity": perplexity}

    def perplexity(self, llm):
        """Of the held-out text."""
        loss = document_loss(llm, self.text.heldout, self.hparams.text_block)
        return math.exp(min(loss, 700.0))

    def make_scorer(self, options):
        """A scorer of the base model and the tuned one.

        Arguments
        ---------
        options : ReadOptions
            How batches are read.

        Returns
        -------
        ssr_plugin.training.finetune_scorer.TunedScorer
        """
        tuned = self.unwrapped("tuned")
        return TunedScorer(tuned, self.transcription, forced=not options.predicted)


def text_loss(logits, base_logits, targets, weight, kl_weight):
    """The loss of text alone: cross-entropy, and KL from the base model.

    Arguments
    ---------
    logits : torch.Tensor
        [Q, V], of the tuned LLM.
    base_logits : torch.Tensor or None
        [Q, V], of the base model; None if there is no KL.
    targets : torch.Tensor
        [Q] int
    weight : float
        Of the cross-entropy.
    kl_weight : float
        Of KL(base || tuned).

    Returns
    -------
    torch.Tensor
        Nats per token, weighted, a scalar.

    Example
    -------
    >>> logits, targets = torch.zeros(3, 8), torch.tensor([0, 1, 2])
    >>> text_loss(logits, logits, targets, weight=0.0, kl_weight=1.0)
    tensor(0.)
    >>> text_loss(logits, logits, targets, weight=1.0, kl_weight=1.0)  # log 8
    tensor(2.0794)
    """
    loss = weight * F.cross_entropy(logits, targets)
    if base_logits is None:
        return loss
    tuned, base_logits = logits.log_softmax(-1), base_logits.log_softmax(-1)
    divergence = F.kl_div(tuned, base_logits, reduction="batchmean", log_target=True)
    return loss + kl_weight * divergence
