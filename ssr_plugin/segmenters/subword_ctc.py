"""Segments from a hypothesis in the LLM's own tokens, by CTC."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ssr_plugin.llm.prefixes import GrowingTexts
from ssr_plugin.nnet.candidates import distance_logits, draw_candidates
from ssr_plugin.nnet.frames import frame_mask
from ssr_plugin.nnet.spelling import VocabularyHead
from ssr_plugin.segmenters.base import (
    Segmentation,
    Segments,
    StreamWindows,
    TokenPosteriors,
)
from ssr_plugin.segmenters.beam import Emissions, search_prefixes
from ssr_plugin.segmenters.network_segmenter import FrameNetworkSegmenter
from ssr_plugin.segmenters.spikes import not_repeated, runs_of_labels

OUTPUTS = ("spelling", "distance", "linear")
# Scores in memory at once: 256 MB in float32, a few times over.
_SCORES = 2**26
# With the LLM's help: log-probability of a blank that is sure, and the tokens that are
# thought of at each other state.
_SURE, _TOKENS = -0.002, 8


class SubwordCTCSegmenter(FrameNetworkSegmenter):
    """The LLM's tokens by CTC; each run of one token begins a segment.

    CTC alone is free to tell a token anywhere. Here forced segments say where, too: the
    states in which tokens begin are taught their tokens, all others the blank, so that
    boundaries come out right, and training takes a fraction of the time.

    The frozen LLM, whose tokens these are, can help to search for what was said
    (:func:`ssr_plugin.segmenters.beam.search_prefixes`): a better hypothesis, though no
    better vectors.

    Arguments
    ---------
    input_size, llm, frame_rate, **network
        Of :class:`ssr_plugin.segmenters.network_segmenter.NetworkSegmenter`.
    output : str
        How tokens are told apart. "spelling": by keys made of the tokens' letters, so
        that words which training never shows can be read
        (:class:`ssr_plugin.nnet.spelling.SpellingKeys`). "distance": by minus
        the squared distance to their embeddings, no output layer to learn. "linear": a
        row of weights for each token of the training text, and no others.
    num_candidates : int
        Tokens to tell apart in a step of training.
    start_weight : float
        Of the loss for where tokens begin, beside CTC's.
    gram_dropout : float
        With "spelling": share of a token's letter groups left out in training.
    beam_size : int
        Hypotheses among which the LLM helps to choose; 1 does without.
    llm_weight, token_bonus : float
        Of the LLM's log-probability in that search, and of each token.
    token_ids : list of int or None
        With "linear": those tokens; learnt from the training text.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> segmenter = SubwordCTCSegmenter(6, llm, 50.0, width=8, num_heads=2)
    >>> len(segmenter.segment_frames(torch.rand(1, 9, 6), torch.tensor([9])))
    1
    """

    def __init__(
        self,
        input_size,
        llm,
        frame_rate,
        output="spelling",
        num_candidates=6000,
        start_weight=0.5,
        gram_dropout=0.2,
        beam_size=1,
        llm_weight=0.4,
        token_bonus=2.0,
        token_ids=None,
        stack=4,
        **network,
    ):
        super().__init__(input_size, llm, frame_rate, stack=stack, **network)
        if output not in OUTPUTS:
            raise ValueError(f"output: {output!r} is none of {', '.join(OUTPUTS)}")
        self.output = output
        self.num_candidates = num_candidates
        self.start_weight = start_weight
        self.gram_dropout = gram_dropout
        self.beam_size = beam_size
        self.llm_weight = llm_weight
        self.token_bonus = token_bonus
        # Not a module of this one: it is frozen, and in no checkpoint.
        self._llm = (llm,)
        self._table = llm.table
        self.token_ids = torch.arange(llm.vocab_size)
        self.set_tokens(token_ids or [])
        width = self.network.width
        self.blank = nn.Linear(width, 1)
        # Which of the frames of its state a token begins with.
        self.within = nn.Linear(width, stack)
        if output == "spelling":
            self.head = VocabularyHead(llm, width, gram_dropout=gram_dropout)
            # Not read: the blank stands for no token here.
            self.head.null.requires_grad_(False)
        elif output == "distance":
            self.head = nn.Linear(width, llm.hidden_size)
            self.scale = nn.Parameter(torch.ones(()))

    def set_tokens(self, token_ids):
        """Sets the tokens that training shows, and with "linear" their weights."""
        self.seen = torch.tensor(sorted(token_ids), dtype=torch.long)
        if self.output == "linear":
            self.token_ids = self.seen
            self.head = nn.Linear(self.network.width, len(self.seen))

    def learn_symbols(self, segments):
        """See :meth:`TrainableSegmenter.learn_symbols`: the tokens of the text."""
        self.set_tokens({int(token) for each in segments for token in each.tokens})

    def symbols(self):
        """See :meth:`TrainableSegmenter.symbols`."""
        return {"token_ids": self.seen.tolist()}

    def stream_windows(self):
        """See :meth:`Segmenter.stream_windows`: a spike may move by two states."""
        return StreamWindows(period=self.stack, jitter=2 * self.stack)

    def score(self, states, candidates=None):
        """Logits of the candidates, or of all tokens that can be told, [..., C]."""
        if self.output == "spelling":
            return self.head(states, candidates)
        if self.output == "linear":
            scores = self.head(states).float()
            return scores if candidates is None else scores[..., candidates]
        table = self._table()
        table = table if candidates is None else table[candidates]
        shape = states.shape[:-1]
        z = self.head(states).flatten(0, -2)
        return self.scale * distance_logits(z, table).unflatten(0, shape)

    def loss(self, features, lengths, boundaries, starts, tokens):
        """See :meth:`TrainableSegmenter.loss`: CTC and the starts, per token."""
        states, lengths = self.network(features, lengths)
        valid = tokens >= 0
        ids = tokens[valid]
        if self.output == "linear":
            # Indices in the list; a token that is not in it cannot be told.
            ids = torch.searchsorted(self.seen.to(ids), ids).clamp_max(
                len(self.seen) - 1
            )
        seen = torch.arange(len(self.seen)) if self.output == "linear" else self.seen
        size = len(seen) if self.output == "linear" else len(self.token_ids)
        candidates = draw_candidates(ids, seen.to(ids), size, self.num_candidates)
        log_probs, targets = self._log_probs(states, candidates, ids)
        counts = valid.sum(1)
        loss = F.ctc_loss(
            log_probs.transpose(0, 1),
            targets,
            lengths,
            counts,
            reduction="sum",
            zero_infinity=True,
        )
        loss = loss + self.start_weight * self._start_loss(
            states, log_probs, lengths, starts, targets
        )
        return loss / counts.sum().clamp_min(1)

    def _log_probs(self, states, candidates, ids):
        """[B, L, 1 + U + 1]: the blank, the batch's own tokens, others if there are."""
        scores = self.score(states, candidates)
        types, targets = torch.unique(ids, return_inverse=True)
        index = torch.searchsorted(candidates, types)
        logits = [self.blank(states).float(), scores[..., index]]
        # The sum over no other token would have no gradient.
        if len(types) < len(candidates):
            # CTC's gradient is right for whole distributions alone.
            others = scores.index_fill(-1, index, -torch.inf)
            logits.append(others.logsumexp(-1, keepdim=True))
        return torch.cat(logits, -1).log_softmax(-1), targets + 1

    def _start_loss(self, states, log_probs, lengths, starts, targets):
        row, index = torch.nonzero(starts >= 0, as_tuple=True)
        frame = starts[row, index]
        labels = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        labels[row, frame // self.stack] = targets
        valid = frame_mask(lengths, states.shape[1])
        within = self.within(states[row, frame // self.stack]).float()
        return F.nll_loss(
            log_probs[valid], labels[valid], reduction="sum"
        ) + F.cross_entropy(within, frame % self.stack, reduction="sum")

    def segment_states(self, states, num_frames):
        """See :meth:`FrameNetworkSegmenter.segment_states`."""
        if not len(states):
            return Segmentation(Segments.none(), "")
        labels, emissions = self._likeliest(states)
        labels, first, _ = runs_of_labels(labels)
        tokens = self.token_ids[torch.tensor(labels, dtype=torch.long) - 1].tolist()
        return self._cut(states, tokens, first, emissions, num_frames)

    def segment_all(self, states, lengths, use_lm):
        """See :meth:`FrameNetworkSegmenter.segment_all`: the LLM helps if it can."""
        (llm,) = self._llm
        if not use_lm or self.beam_size == 1 or not GrowingTexts.can_read(llm):
            return super().segment_all(states, lengths, use_lm)
        emissions = [self._emissions(each) for each in states]
        hypotheses = search_prefixes(
            emissions, llm, self.beam_size, self.llm_weight, self.token_bonus
        )
        return [
            self._cut(*utterance)
            for utterance in zip(
                states, *zip(*hypotheses, strict=True), emissions, lengths, strict=True
            )
        ]

    def _cut(self, states, tokens, first, emissions, num_frames):
        """Segments of tokens, given the states [L, width] in which they begin."""
        if not tokens:
            return Segmentation(Segments.none(), "")
        kept = not_repeated(tokens, self.tokenizer)
        tokens, first = np.asarray(tokens)[kept], np.asarray(first)[kept]
        within = self.within(states).argmax(-1).cpu().numpy()
        starts = np.minimum(first * self.stack + within[first], num_frames - 1)
        # A state begins one token at most, so that these can only meet at the end.
        starts = np.minimum(starts, num_frames - len(starts) + np.arange(len(starts)))
        boundaries = np.append(starts[1:] - 1, num_frames - 1)
        text = self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        index = np.searchsorted(emissions.states, first)
        posteriors = TokenPosteriors(
            np.asarray(emissions.tokens, dtype=np.int64)[index],
            np.asarray(emissions.scores, dtype=np.float32)[index],
        )
        return Segmentation(Segments(tokens, starts, boundaries), text, posteriors)

    def _emissions(self, states):
        """What CTC tells at the states [L, width] that are not surely blank."""
        emissions = Emissions([], [], [], [])
        for first, scores, blank in self._scored(states):
            total = torch.logaddexp(scores.logsumexp(-1), blank)
            unsure = torch.nonzero(blank - total < _SURE).squeeze(1)
            self._add(emissions, first, unsure, scores[unsure], blank, total[unsure])
        return emissions

    def _likeliest(self, states):
        """[L, width] to the likeliest of the blank, 0, and the tokens, 1 and up: [L]

        With them, what CTC tells at the states that are not blank.
        """
        labels, emissions = [], Emissions([], [], [], [])
        for first, scores, blank in self._scored(states):
            # Many times faster than to put the blank beside and take the argmax.
            best, token = scores.max(-1)
            labels.append(torch.where(blank >= best.float(), 0, token + 1))
            index = torch.nonzero(labels[-1]).squeeze(1)
            scores = scores[index]
            total = torch.logaddexp(scores.logsumexp(-1), blank[index])
            self._add(emissions, first, index, scores, blank, total)
        return torch.cat(labels), emissions

    def _add(self, emissions, first, index, scores, blank, total):
        """Notes the likeliest tokens at some states of a chunk that begins at first."""
        best, tokens = scores.topk(min(_TOKENS, scores.shape[1]))
        emissions.states += (first + index).tolist()
        emissions.blanks += (blank[index] - total).tolist()
        emissions.tokens += self.token_ids.to(tokens)[tokens].tolist()
        emissions.scores += (best - total[:, None]).tolist()

    def _scored(self, states):
        """Chunks of [L, width]: first state, scores of tokens and of the blank."""
        most = max(_SCORES // (len(self.token_ids) + 1), 1)
        for first in range(0, len(states), most):
            chunk = states[first : first + most]
            yield first, self.score(chunk), self.blank(chunk).squeeze(-1).float()
