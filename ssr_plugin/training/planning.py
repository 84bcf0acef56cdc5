"""Training batches with all that is known of them before the device sees them.

The loader's workers plan: boundaries and their jitter, which frames are masked, the
tokens to tell apart, where in memory the frames of each segment are. The device then
computes, and is asked nothing. What is drawn depends on the seed, the epoch and the
utterances of the batch alone, so that a restarted run draws the same.
"""

import torch

from ssr_plugin.files import digest
from ssr_plugin.nnet.candidates import draw_candidates
from ssr_plugin.training import augment
from ssr_plugin.training.batches import make_batch

#: What comes before the names of a connector's own tensors.
CONNECTOR = "connector/"


class TrainingCollate:
    """Makes training batches: what :func:`collate` gives, and what changes them.

    Arguments
    ---------
    strengths : ssr_plugin.training.augment.Strengths
    seed : int

    Attributes
    ----------
    epoch : int
        Set it before each epoch's first batch.
    """

    def __init__(self, strengths, seed):
        self.strengths = strengths
        self.seed = seed
        self.epoch = 0

    def __call__(self, examples):
        """Makes a :class:`ssr_plugin.training.batches.Batch` of examples."""
        return make_batch(examples, self._plan)

    def _plan(self, batch):
        generator = torch.Generator()
        generator.manual_seed(int(digest(self.seed, self.epoch, *batch.ids), 16))
        return self.plan(batch, generator)

    def plan(self, batch, generator):
        """What a training step needs to know of a batch.

        Arguments
        ---------
        batch : ssr_plugin.training.batches.Batch
        generator : torch.Generator
            Gives all that is drawn.

        Returns
        -------
        dict of torch.Tensor
            What ``augment.draw_changes`` gives; ``jittered_boundaries`` and
            ``jittered_starts`` [B, N] int.
        """
        tensors = batch.tensors
        boundaries, starts = augment.jitter_boundaries(
            tensors["boundaries"],
            tensors["starts"],
            tensors["lengths"],
            self.strengths.boundary_jitter,
            generator,
        )
        return {
            "jittered_boundaries": boundaries,
            "jittered_starts": starts,
            **augment.draw_changes(
                tensors["lengths"], batch.num_frames, self.strengths, generator
            ),
        }


class DistillCollate(TrainingCollate):
    """Training batches of stage 1.

    Arguments
    ---------
    strengths, seed
        As in :class:`TrainingCollate`.
    planner : ssr_plugin.connectors.base.Planner or None
        Of the connector.
    seen : torch.Tensor
        [S] int, the token types that the training data has.
    vocab_size : int
        V
    num_candidates : int or None
        Tokens to tell apart; 0 for all; None where none are told apart.
    """

    def __init__(self, strengths, seed, planner, seen, vocab_size, num_candidates):
        super().__init__(strengths, seed)
        self.planner = planner
        self.seen = seen
        self.vocab_size = vocab_size
        self.num_candidates = num_candidates

    def plan(self, batch, generator):
        """See :meth:`TrainingCollate.plan`; and what :meth:`plan_segments` gives."""
        plan = super().plan(batch, generator)
        tokens = batch.tensors["tokens"]
        if self.num_candidates is not None:
            plan["candidates"] = draw_candidates(
                tokens[tokens >= 0],
                self.seen,
                self.vocab_size,
                self.num_candidates,
                generator,
            )
        segments = (plan["jittered_boundaries"], plan["jittered_starts"], tokens)
        return plan | self.plan_segments(
            *segments, batch.num_frames, plan.get("candidates")
        )

    def plan_segments(self, boundaries, starts, tokens, num_frames, candidates=None):
        """What the connector and the losses need to know of segments.

        Arguments
        ---------
        boundaries, starts, tokens : torch.Tensor
            [B, N] int, padded with -1. A token may be V: of no token.
        num_frames : int
            T
        candidates : torch.Tensor or None
            [C] int, sorted

        Returns
        -------
        dict of torch.Tensor
            ``segment_boundaries``, ``segment_starts``, ``segment_tokens``: the
            arguments; what the connector's planner gives; what :func:`plan_targets`
            gives.
        """
        plan = {
            "segment_boundaries": boundaries,
            "segment_starts": starts,
            "segment_tokens": tokens,
            **plan_targets(tokens, self.vocab_size, candidates),
        }
        if self.planner is not None:
            arguments = (boundaries, starts, num_frames, candidates)
            for name, tensor in self.planner.plan(*arguments).items():
                plan[f"{CONNECTOR}{name}"] = tensor
        return plan


def plan_targets(tokens, vocab_size, candidates=None):
    """Which embeddings and which candidates segments are to be like.

    Arguments
    ---------
    tokens : torch.Tensor
        [B, N] int, padded with -1; V is of no token.
    vocab_size : int
        V
    candidates : torch.Tensor or None
        [C] int, sorted; every token is among them.

    Returns
    -------
    dict of torch.Tensor
        ``target_ids`` [B, N] int, each segment's token, 0 where there is none;
        ``target_weight`` [B, N] float, each token's share of the mean over all tokens,
        0 where there is none; with candidates, ``target_index`` [B, N] int, where a
        token stands among them, C of no token, -100 at padding, and ``target_count``
        [2] float, how many segments there are, and how many with a token.

    Example
    -------
    >>> plan = plan_targets(torch.tensor([[7, 9, -1]]), 9, torch.tensor([3, 7]))
    >>> plan["target_ids"].tolist(), plan["target_weight"].tolist()
    ([[7, 0, 0]], [[1.0, 0.0, 0.0]])
    >>> plan["target_index"].tolist()
    [[1, 2, -100]]
    """
    is_token = (tokens >= 0) & (tokens < vocab_size)
    weight = is_token.float()
    plan = {
        "target_ids": tokens.where(is_token, 0),
        "target_weight": weight / weight.sum().clamp_min(1),
    }
    if candidates is not None:
        # V comes after all candidates, like its score.
        index = torch.searchsorted(candidates, tokens)
        plan["target_index"] = index.where(tokens >= 0, -100)
        counts = torch.stack([(tokens >= 0).sum(), is_token.sum()])
        plan["target_count"] = counts.clamp_min(1).float()
    return plan
