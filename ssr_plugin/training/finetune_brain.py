"""Stage 2: the LLM learns to read speech, and forgets as little as possible."""

import dataclasses
import functools
import math

import numpy as np
import speechbrain as sb
import torch

from ssr_plugin.inference.posterior_gate import known_posteriors
from ssr_plugin.llm.next_token import next_token_loss
from ssr_plugin.llm.packing import can_pack, make_pack, read_states, send
from ssr_plugin.metrics.perplexity import document_loss
from ssr_plugin.metrics.second_half_loss import first_half
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.training import fsdp
from ssr_plugin.training.batch_hypotheses import hypotheses_of
from ssr_plugin.training.brain import ReadOptions, StageBrain
from ssr_plugin.training.finetune_scorer import TemplateScorer, TunedScorer
from ssr_plugin.training.pseudo_speech import PseudoSpeech, hear
from ssr_plugin.training.templates import sequence, transcription_template


@dataclasses.dataclass
class SpokenUtterance:
    """An utterance as vectors. All of it is on the host.

    Arguments
    ---------
    vectors : numpy.ndarray
        [M] int, which of a batch's vectors are its own.
    first : numpy.ndarray
        [M] bool: which belong to the first half of the transcript.
    tokens : numpy.ndarray
        [N] int, the transcript's.
    """

    vectors: np.ndarray
    first: np.ndarray
    tokens: np.ndarray


@dataclasses.dataclass
class FinetunePredictions:
    """What the LLM makes of a batch.

    Arguments
    ---------
    model : transformers.PreTrainedModel
        The tuned one.
    states : list of torch.Tensor
        [Q, K] each, of speech, from which it predicts the next token.
    targets : list of torch.Tensor
        [Q] each, those tokens.
    weights : list of float
        Of each of those.
    text : TextPredictions or None
    """

    model: torch.nn.Module
    states: list
    targets: list
    weights: list
    text: "TextPredictions | None" = None

    @functools.cached_property
    def speech_losses(self):
        """Nats per token of each prediction of speech, computed once."""
        return [
            next_token_loss(self.model, states, targets)
            for states, targets in zip(self.states, self.targets, strict=True)
        ]


@dataclasses.dataclass
class TextPredictions:
    """What the LLM makes of text alone.

    Arguments
    ---------
    states, targets : torch.Tensor
        [Q, K] and [Q], as of speech.
    base : tuple of (transformers.PreTrainedModel, torch.Tensor) or None
        The base model and its states; None if there is no KL.
    """

    states: torch.Tensor
    targets: torch.Tensor
    base: tuple | None


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
    pseudo_texts : list of numpy.ndarray
        Of pseudo speech: :func:`ssr_plugin.training.pseudo_speech.read_texts`. None is
        read where it is empty.
    hypotheses : collections.abc.Mapping
        What a segmenter that listens has heard, by utterance id.
    **kwargs
        Of ``sb.Brain``.
    """

    def __init__(
        self, *, lm, templates, text, pseudo_texts=(), hypotheses=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.pseudo_texts = pseudo_texts
        self.pseudo_speech = None
        self.hypotheses = hypotheses or {}
        self.lm = lm.to(self.device)
        self.llm = lm.llm
        self.segmenter = dict(lm.segmenters).get("predicted")
        self.templates = templates
        self.shares = torch.tensor([template.share for template in templates])
        self.transcription = transcription_template(templates, self.llm.tokenizer)
        self.text = text
        # Tried here, not amid the first step.
        for model in (self.unwrapped("tuned").model, self.llm.load_model()):
            can_pack(model)

    # --- What the LLM reads ----------------------------------------------------------

    def compute_forward(self, batch, stage):
        """What the LLM predicts.

        Returns
        -------
        FinetunePredictions
        """
        lm_fusion = self.hparams.lm_fusion
        if stage == sb.Stage.VALID:
            options = ReadOptions(lm_fusion=lm_fusion)
            vectors, utterances = self.read(batch, options)
            requests = [
                [(template, x) for x in utterances] for template in self.templates
            ]
            weights = [template.share for template in self.templates]
            return self._predict(requests, weights, vectors)
        on_device = batch.to(self.device)
        features, lengths = self.frames(on_device)
        features = self.augment(features, on_device)
        templates = torch.multinomial(self.shares, len(features), replacement=True)
        templates = [self.templates[index] for index in templates.tolist()]
        # Predicted segments fit only templates with text: without it, the loss needs
        # one vector for each token.
        share = self.hparams.predicted_share if self.segmenter is not None else 0.0
        chosen = (torch.rand(len(templates)) < share).tolist()
        rows = [i for i, x in enumerate(templates) if x.has_text and chosen[i]]
        vectors, utterances = self._embed_training(batch, features, lengths, rows)
        requests = list(zip(templates, utterances, strict=True))
        if self.pseudo_speech is not None:
            vectors = self._add_pseudo_speech(requests, vectors)
        return self._predict([requests], [1.0], vectors, with_text=True)

    def _add_pseudo_speech(self, requests, vectors):
        """Adds misheard texts to what is asked; returns vectors with theirs."""
        asked = sum(_count_asked(*request) for request in requests)
        drawn = self.pseudo_speech.draw(round(self.hparams.pseudo_speech_ratio * asked))
        if not drawn:
            return vectors
        with_text = [i for i, x in enumerate(self.templates) if x.has_text]
        chosen = torch.multinomial(
            self.shares[with_text], len(drawn), replacement=True
        ).tolist()
        count = len(vectors)
        for index, (ids, _, said, tokens) in zip(chosen, drawn, strict=True):
            first = said < len(tokens) // 2
            places = np.arange(count, count + len(ids))
            utterance = SpokenUtterance(places, first, tokens)
            requests.append((self.templates[with_text[index]], utterance))
            count += len(ids)
        ids, shares = (
            torch.from_numpy(np.concatenate([x[i] for x in drawn])) for i in (0, 1)
        )
        ids, shares = send(self.device, ids, shares)
        table = self.lm.connector.table()
        mixed = shares.to(table.dtype).unsqueeze(1) @ table[ids]
        return torch.cat([vectors, mixed.squeeze(1).to(vectors.dtype)])

    def _embed_training(self, batch, features, lengths, predicted_rows):
        """Vectors of jittered forced segments, and of predicted ones in some rows."""
        names = ("jittered_boundaries", "jittered_starts")
        jittered = tuple(batch.tensors[name] for name in names)
        lm_fusion = self.hparams.lm_fusion
        reference = (batch.tokens, batch.starts)
        if not predicted_rows:
            return self._embed(features, jittered, reference, lm_fusion)
        rows = [i for i in range(len(features)) if i not in set(predicted_rows)]
        options = ReadOptions(predicted=True, use_lm=False, lm_fusion=lm_fusion)
        utterances, vectors, count = [None] * len(features), [], 0
        for predicted, chosen in ((False, rows), (True, predicted_rows)):
            if not chosen:
                continue
            index = torch.tensor(chosen)
            (there,) = send(self.device, index)
            frames, known = (
                features.index_select(0, there),
                [x[index] for x in reference],
            )
            if predicted:
                heard = hypotheses_of(self, batch, chosen)
                counts = lengths.index_select(0, there)
                found, embedded = self._embed_predicted(
                    heard, frames, counts, known, options
                )
            else:
                segments = [x[index] for x in jittered]
                found, embedded = self._embed(frames, segments, known, lm_fusion)
            for row, utterance in zip(chosen, embedded, strict=True):
                utterance.vectors += count
                utterances[row] = utterance
            vectors.append(found)
            count += len(found)
        return torch.cat(vectors), utterances

    @torch.no_grad()
    def read(self, batch, options):
        """See :meth:`StageBrain.read`: vectors [K, H], and whose each is.

        Returns
        -------
        torch.Tensor
            [K, H]
        list of SpokenUtterance
        """
        features, lengths = self.frames(batch)
        reference = (batch.tokens, batch.starts)
        if options.predicted:
            heard = hypotheses_of(self, batch)
            return self._embed_predicted(heard, features, lengths, reference, options)
        segments = (batch.boundaries, batch.starts)
        return self._embed(features, segments, reference, options.lm_fusion)

    @torch.no_grad()
    def _embed(
        self, features, segments, reference, lm_fusion, predicted=False, posteriors=None
    ):
        """Utterances as vectors, as the connector of stage 1 reads them.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        segments : tuple of torch.Tensor
            Boundaries and starts, [B, N] int each, padded with -1, on the host.
        reference : tuple of torch.Tensor
            Tokens and starts of the forced segments, [B, M] int each, on the host.
        lm_fusion : bool
            Whether the base model helps.
        predicted : bool
            Whether a segment may belong to no token.

        Returns
        -------
        vectors : torch.Tensor
            [K, H]
        utterances : list of SpokenUtterance
        """
        vectors, kept = self.lm.embedder.read(
            features,
            *segments,
            predicted=predicted,
            lm_fusion=lm_fusion,
            posteriors=posteriors,
        )
        boundaries, starts, tokens, first_frames = (
            x.numpy() for x in (*segments, *reference)
        )
        utterances = []
        for row, keep in enumerate(kept.numpy()):
            valid = tokens[row] >= 0
            first = first_half(starts[row], boundaries[row], first_frames[row][valid])
            utterances.append(
                SpokenUtterance(
                    row * kept.shape[1] + np.flatnonzero(keep),
                    first[keep],
                    tokens[row][valid],
                )
            )
        return vectors.flatten(0, 1), utterances

    def _embed_predicted(self, heard, features, lengths, reference, options):
        """Utterances as vectors of segments predicted from the audio alone."""
        predicted = self.lm.embedder.segment(features, lengths, options.use_lm, heard)
        segments = [segmentation.segments for segmentation in predicted]
        boundaries, starts, _ = pad_segments(segments)
        return self._embed(
            features,
            (boundaries, starts),
            reference,
            options.lm_fusion,
            predicted=True,
            posteriors=known_posteriors(predicted),
        )

    def _predict(self, requests, weights, vectors, with_text=False):
        """States where there is a target, of one pass of the tuned LLM.

        Arguments
        ---------
        requests : list of list of (Template, SpokenUtterance)
            Groups of which each has a loss of its own.
        weights : list of float
            Of each group.
        vectors : torch.Tensor
            [K, H]
        with_text : bool
            Whether text is read as well.

        Returns
        -------
        FinetunePredictions
        """
        sequences, counts = [], []
        for group in requests:
            pairs = [self._sequence(*request) for request in group]
            sequences += pairs
            counts.append(sum(int((targets >= 0).sum()) for _, targets in pairs))
        chunks = self._draw_text(sum(counts)) if with_text else []
        tuned = self.unwrapped("tuned")
        pack = self._pack(sequences + chunks, tuned.model)
        states = self.modules.tuned(
            pack.embed(self.llm, vectors), pack.layout, pack.wanted, pack.packed
        )
        sizes = [*counts, len(states) - sum(counts)]
        *states, text_states = states.split(sizes)
        *targets, text_targets = pack.targets.split(sizes)
        text = base = None
        if chunks:
            if self.hparams.text_kl_weight:
                base = self._read_base(chunks)
            text = TextPredictions(text_states, text_targets, base)
        return FinetunePredictions(tuned.model, states, targets, weights, text)

    def _sequence(self, template, utterance):
        vectors, tokens = utterance.vectors, utterance.tokens
        if template.halves:
            vectors, tokens = vectors[utterance.first], tokens[len(tokens) // 2 :]
        return sequence(template, self.llm, vectors, tokens)

    def _draw_text(self, count):
        """Text alone, about ``text_ratio`` times ``count`` tokens: inputs, targets."""
        hparams = self.hparams
        weighs = hparams.text_weight or hparams.text_kl_weight
        if not (self.text.chunks and weighs):
            return []
        chunks = self.text.draw(round(hparams.text_ratio * count))
        return [(x[:-1].numpy(), x[1:].numpy()) for x in chunks]

    def _pack(self, sequences, model):
        inputs, targets = zip(*sequences, strict=True)
        return make_pack(inputs, targets, can_pack(model)).to(self.device)

    @torch.no_grad()
    def _read_base(self, sequences):
        """The base model, and its states where a sequence has targets."""
        with self.unwrapped("tuned").base_model() as llm:
            model = llm.load_model()
            pack = self._pack(sequences, model)
            states = read_states(
                model, pack.embed(llm), pack.layout, pack.wanted, pack.packed
            )
        return model, states

    # --- What is learnt --------------------------------------------------------------

    def compute_objectives(self, predictions, batch, stage):
        """Loss of the templates; in training also that of text."""
        losses, weights = predictions.speech_losses, predictions.weights
        loss = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
        text = predictions.text
        if text is not None:
            loss = loss + next_token_loss(
                predictions.model,
                text.states,
                text.targets,
                self.hparams.text_weight,
                text.base,
                self.hparams.text_kl_weight,
            )
        return loss

    # --- Parts of an LLM --------------------------------------------------------------

    @functools.cached_property
    def _sharded(self):
        """Whether each process holds a part of the LLM alone."""
        return fsdp.is_sharded(self.modules.tuned)

    def _wrap_distributed(self):
        """As SpeechBrain does, by DDP, unless the LLM is shared in another way."""
        if not self._sharded:
            super()._wrap_distributed()

    def init_optimizers(self):
        """As in every stage; checkpoints of an LLM in parts are written by all."""
        super().init_optimizers()
        if self.hparams.parallel == "fsdp" and self.checkpointer is not None:
            state = fsdp.ShardedOptimizer(self.modules.tuned, self.optimizer)
            self.checkpointer.add_recoverable("optimizer", state)

    def parameter_groups(self, parameters):
        """Parts, and what each process has as a whole; no kernel takes both at once."""
        return fsdp.parameter_groups(parameters) if self._sharded else parameters

    def gradient_norm(self, gradients):
        """As in every stage; what no other does is averaged over processes here."""
        if not self._sharded:
            return super().gradient_norm(gradients)
        fsdp.average_whole(gradients)
        return fsdp.total_norm(gradients)

    # --- Before the first step -------------------------------------------------------

    def fit_epochs(self, loader, valid_loader):
        """As in every stage; but first the base model is validated."""
        self.valid_loader = valid_loader
        super().fit_epochs(loader, valid_loader)

    def on_fit_start(self):
        """Validates a new run as epoch 0, so that even one epoch gives a curve."""
        super().on_fit_start()
        if self.pseudo_texts:
            heard = hear(self, self.valid_loader)
            self.pseudo_speech = PseudoSpeech(self.pseudo_texts, heard)
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
        return TunedScorer(
            tuned, self.transcription, not options.predicted, self.language
        )


def _count_asked(template, utterance):
    """How many of an utterance's tokens a template asks for."""
    count = len(utterance.tokens)
    return count - count // 2 if template.halves else count
