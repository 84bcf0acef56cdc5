"""Stage 2: the LLM learns to listen, and forgets as little as can be."""

import dataclasses
import math

import speechbrain as sb
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.inference.reading import read_segments
from ssr_plugin.llm.scoring import logits_at, pad_rows
from ssr_plugin.metrics.perplexity import document_loss
from ssr_plugin.metrics.second_half_loss import first_half
from ssr_plugin.metrics.speech_lm_metrics import ListeningScores
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.training import augment
from ssr_plugin.training.brain import StageBrain
from ssr_plugin.training.templates import question, sequence, transcription_task


@dataclasses.dataclass
class Heard:
    """An utterance as vectors.

    Arguments
    ---------
    vectors : torch.Tensor
        [M, H]
    first : torch.Tensor
        [M] bool: which are spoken in the first half of the transcript.
    tokens : torch.Tensor
        [N] int, the transcript's.
    """

    vectors: torch.Tensor
    first: torch.Tensor
    tokens: torch.Tensor


@dataclasses.dataclass
class Predictions:
    """What the LLM predicts of a batch.

    Arguments
    ---------
    speech : list of (torch.Tensor, torch.Tensor)
        Logits [P, V] and targets [P].
    weights : list of float
        Of each of those.
    text : tuple of torch.Tensor or None
        Of text alone: logits, known and targets of :func:`text_loss`.
    """

    speech: list
    weights: list
    text: tuple | None = None


class FinetuneBrain(StageBrain):
    """Tunes an LLM on vectors that a frozen connector reads from speech.

    Besides what :class:`StageBrain` reads, ``hparams`` has the weights and shares of
    ``hparams/finetune.yaml``. Its ``modules`` are ``encoder`` and ``tuned``.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
        Of stage 1.
    tasks : list of ssr_plugin.training.templates.Task
    text : ssr_plugin.training.text_data.Text
    **kwargs
        Of ``sb.Brain``.
    """

    def __init__(self, *, lm, tasks, text, **kwargs):
        super().__init__(**kwargs)
        self.lm = lm.to(self.device)
        self.llm = lm.llm
        self.segmenter = dict(lm.segmenters).get("predicted")
        self.tasks = tasks
        self.shares = torch.tensor([task.share for task in tasks])
        self.transcription = transcription_task(tasks, self.llm.tokenizer)
        self.text = text
        # What a test asks for: segments from audio alone; scores of both LLMs.
        self.predicts, self.before, self.after = False, None, None

    # --- What the LLM reads ----------------------------------------------------------

    def compute_forward(self, batch, stage):
        """What the LLM predicts, or in a test the scores of both LLMs.

        Returns
        -------
        Predictions or None
        """
        features, lengths = self.frames(batch)
        batch = batch.to(self.device)
        segments = (batch.boundaries, batch.starts)
        reference = (batch.tokens, batch.starts)
        if stage == sb.Stage.TEST:
            if self.predicts:
                heard = self._hear_found(features, lengths, reference)
            else:
                heard = self.hear(features, segments, reference)
            self._score(batch.ids, heard)
            return None
        if stage == sb.Stage.VALID:
            heard = self.hear(features, segments, reference)
            each = [self._predict([(task, x) for x in heard]) for task in self.tasks]
            return Predictions(each, [task.share for task in self.tasks])
        features = augment.augment_frames(features, lengths, self.hparams)
        shake = self.hparams.boundary_jitter
        shaken = augment.jitter_boundaries(*segments, lengths, shake)
        drawn = torch.multinomial(self.shares, len(features), replacement=True)
        drawn = [self.tasks[index] for index in drawn.tolist()]
        heard = self.hear(features, shaken, reference)
        # Only where text is asked for need the vectors not be those of its tokens.
        share = self.hparams.predicted_share if self.segmenter is not None else 0.0
        chosen = (torch.rand(len(drawn)) < share).tolist()
        rows = [i for i, task in enumerate(drawn) if task.answers and chosen[i]]
        if rows:
            own = [x[rows] for x in reference]
            found = self._hear_found(features[rows], lengths[rows], own, quick=True)
            for row, own in zip(rows, found, strict=True):
                heard[row] = own
        logits, targets = self._predict(list(zip(drawn, heard, strict=True)))
        return Predictions([(logits, targets)], [1.0], self._read_text(len(targets)))

    @torch.no_grad()
    def hear(self, features, segments, reference, predicted=False):
        """Utterances as vectors, with the help of the untouched LLM.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        segments : tuple of torch.Tensor
            Boundaries and starts, [B, N] int each, padded with -1.
        reference : tuple of torch.Tensor
            Tokens and starts of the forced segments, [B, M] int each.
        predicted : bool
            Whether segments may be those of no token.

        Returns
        -------
        list of Heard
        """
        with self.part("tuned").untouched() as llm:
            vectors, kept = read_segments(
                self.lm.connector,
                llm,
                features,
                *segments,
                predicted=predicted,
                **self.lm.settings["reading"],
            )
        found = []
        for row, keep in enumerate(kept):
            boundaries, starts = (x[row] for x in segments)
            tokens, first_frames = (x[row] for x in reference)
            valid = tokens >= 0
            first = first_half(starts, boundaries, first_frames[valid])
            found.append(Heard(vectors[row][keep], first[keep], tokens[valid]))
        return found

    def _hear_found(self, features, lengths, reference, quick=False):
        """Utterances as vectors of segments that are found in the audio alone."""
        with self.part("tuned").untouched():
            found = self.segmenter.segment_frames(features, lengths, quick=quick)
        boundaries, starts, _ = pad_segments(found, self.device)
        return self.hear(features, (boundaries, starts), reference, predicted=True)

    def _predict(self, asked):
        """Logits and targets where something is asked for: [P, V], [P].

        Arguments
        ---------
        asked : list of (Task, Heard)
        """
        rows, wanted = [], []
        for task, own in asked:
            vectors, tokens = own.vectors, own.tokens
            if task.halves:
                vectors, tokens = vectors[own.first], tokens[len(tokens) // 2 :]
            embeds, targets = sequence(task, self.llm, vectors, tokens)
            rows.append(embeds)
            wanted.append(targets)
        targets = pad_sequence(wanted, batch_first=True, padding_value=-1)
        embeds, mask = pad_rows(rows, "right")
        logits = self.modules.tuned(embeds, mask, targets >= 0)
        return logits, targets[targets >= 0]

    def _read_text(self, count):
        """What is predicted of text alone, ``text_ratio`` times so many tokens."""
        hparams = self.hparams
        weighs = hparams.text_weight or hparams.text_kl_weight
        if not (self.text.parts and weighs):
            return None
        parts = self.text.draw(round(hparams.text_ratio * count))
        inputs, targets = (
            pad_sequence(each, batch_first=True, padding_value=-1).to(self.device)
            for each in ([x[:-1] for x in parts], [x[1:] for x in parts])
        )
        wanted = targets >= 0
        embeds, mask = self.llm.embed(inputs.clamp_min(0)), inputs >= 0
        logits = self.modules.tuned(embeds, mask, wanted)
        known = None
        if hparams.text_kl_weight:
            with self.part("tuned").untouched() as llm, torch.no_grad():
                known = logits_at(llm.load_model(), embeds, mask, wanted)
        return logits, known, targets[wanted]

    def on_stage_start(self, stage, epoch=None):
        """Starts counting afresh for a validation."""
        if stage == sb.Stage.VALID:
            self.sums = [[0.0, 0] for _ in self.tasks]

    # --- What is learnt --------------------------------------------------------------

    def compute_objectives(self, predictions, batch, stage):
        """Loss of the speech tasks; in training that of text, too."""
        if stage == sb.Stage.TEST:
            return torch.zeros(())
        losses = [F.cross_entropy(*each) for each in predictions.speech]
        if stage == sb.Stage.VALID:
            counts = [len(targets) for _, targets in predictions.speech]
            for own, loss, count in zip(self.sums, losses, counts, strict=True):
                own[0] += loss.item() * count
                own[1] += count
        weights = predictions.weights
        loss = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
        if predictions.text is not None:
            weights = (self.hparams.text_weight, self.hparams.text_kl_weight)
            loss = loss + text_loss(*predictions.text, *weights)
        return loss

    def valid_stats(self):
        """The loss of each task per token, and what tells of forgetting."""
        losses = {
            f"{task.name}_loss": total / count
            for task, (total, count) in zip(self.tasks, self.sums, strict=True)
        }
        return {**losses, "text_perplexity": self.perplexity(self.part("tuned"))}

    def perplexity(self, llm):
        """Of the held-out text."""
        loss = document_loss(llm, self.text.heldout, self.hparams.text_block)
        return math.exp(min(loss, 700.0))

    # --- Before the first step -------------------------------------------------------

    def fit_epochs(self, loader, valid_loader):
        """As in every stage; what is validated first is the LLM as it was."""
        self.valid_loader = valid_loader
        super().fit_epochs(loader, valid_loader)

    def on_fit_start(self):
        """Validates a run that begins, as its epoch 0: one epoch is a curve, too."""
        super().on_fit_start()
        if not self.hparams.history.epochs:
            self._fit_valid(self.valid_loader, epoch=0, enable=False)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """As in every stage; of epoch 0 there is nothing to keep but its figures."""
        if epoch == 0:
            self.hparams.history.add(0, loss=stage_loss, **self.valid_stats())
        else:
            super().on_stage_end(stage, stage_loss, epoch)

    # --- Scores ----------------------------------------------------------------------

    def score(self, loader, predicted=False):
        """Scores the untouched and the best tuned LLM on a data set.

        Arguments
        ---------
        loader : torch.utils.data.DataLoader
        predicted : bool
            Whether the segmenter finds the segments; else they are the forced ones.

        Returns
        -------
        before, after : dict
            What :meth:`ListeningScores.summary` gives.
        """
        tuned = self.part("tuned")
        forced = not predicted
        self.before = ListeningScores(self.llm, self._ask, forced)
        self.after = ListeningScores(tuned, self._ask, forced)
        self.predicts = predicted
        self.evaluate(loader, **self.best)
        self.predicts = False
        with tuned.untouched():
            before = self.before.summary()
        return before, self.after.summary()

    def _score(self, names, heard):
        """Adds utterances to the scores of both LLMs."""
        vectors, firsts = [x.vectors for x in heard], [x.first for x in heard]
        tokens = [x.tokens for x in heard]
        with self.part("tuned").untouched():
            self.before.add(names, vectors, firsts, tokens)
        self.after.add(names, vectors, firsts, tokens)

    def _ask(self, vectors):
        """Vectors [M, H] as a question for what was said."""
        return question(self.transcription, self.llm, vectors)


def text_loss(logits, known, targets, weight, kl_weight):
    """What text alone adds to the loss: learning it, and staying as the LLM was.

    Arguments
    ---------
    logits : torch.Tensor
        [Q, V], of the tuned LLM.
    known : torch.Tensor or None
        [Q, V], of the untouched one; None if there is no KL.
    targets : torch.Tensor
        [Q] int
    weight : float
        Of the cross-entropy.
    kl_weight : float
        Of KL(untouched || tuned).

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
    if known is None:
        return loss
    tuned, known = logits.log_softmax(-1), known.log_softmax(-1)
    divergence = F.kl_div(tuned, known, reduction="batchmean", log_target=True)
    return loss + kl_weight * divergence
