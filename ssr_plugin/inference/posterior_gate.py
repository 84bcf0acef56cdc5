"""What a segmenter's hypothesis says, weighed against what the connector hears."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ssr_plugin.connectors.base import VocabularyConnector

if TYPE_CHECKING:
    from ssr_plugin.segmenters.base import Segmentation, TokenPosteriors

# Of the segments' numbers that the weights depend on, see gate_features.
_NUM_FEATURES = 11
# Who may be right: the hypothesis, its alternatives, the connector, nobody.
_NUM_EXPERTS = 4
# Probabilities are kept off 0 and 1.
_LEAST = 1e-3
# What a token is given that no expert names.
_FLOOR = 1e-9
# Of the fit: squared weights count as much as this many segments.
_RIDGE, _STEPS, _RATE = 1.0, 400, 0.02
#: Segments whose vocabulary is weighed at once.
ROWS = 512


@dataclasses.dataclass
class Evidence:
    """What is known of M segments beside what the connector hears.

    Arguments
    ---------
    token_ids : torch.Tensor
        [M, K] int: the hypothesis's token, then its alternatives.
    log_probs : torch.Tensor
        [M, K] float32, in nats; minus infinity where there is no alternative.
    num_frames : torch.Tensor
        [M] int, of each segment.
    first, last : torch.Tensor
        [M] bool: the first and the last of an utterance.
    """

    token_ids: Tensor
    log_probs: Tensor
    num_frames: Tensor
    first: Tensor
    last: Tensor

    @classmethod
    def of(
        cls,
        posteriors: Sequence[TokenPosteriors],
        boundaries: Tensor,
        starts: Tensor,
        device: torch.device | str | None = None,
    ) -> Evidence:
        """That of the segments of a batch, one utterance after another.

        Arguments
        ---------
        posteriors : list of TokenPosteriors
            One of each utterance.
        boundaries, starts : torch.Tensor
            [B, N] int, padded with -1.
        device : torch.device, str or None
            Where it shall be; None for that of the boundaries.

        Returns
        -------
        Evidence
        """
        valid = boundaries >= 0
        device = boundaries.device if device is None else device
        most = max((x.token_ids.shape[1] for x in posteriors), default=1)
        ids = [torch.zeros(0, most, dtype=torch.long)]
        scores = [torch.zeros(0, most)]
        for each in posteriors:
            missing = most - each.token_ids.shape[1]
            ids.append(nn.functional.pad(torch.as_tensor(each.token_ids), (0, missing)))
            log_probs = torch.as_tensor(each.log_probs)
            scores.append(nn.functional.pad(log_probs, (0, missing), value=-math.inf))
        position = torch.arange(valid.shape[1], device=valid.device)
        last = valid & (position == valid.sum(1, keepdim=True) - 1)
        tensors = (
            torch.cat(ids),
            torch.cat(scores),
            (boundaries - starts + 1)[valid],
            (valid & (position == 0))[valid],
            last[valid],
        )
        return cls(*(x.to(device, non_blocking=True) for x in tensors))


class PosteriorGate(nn.Module):
    """Probabilities of tokens from a hypothesis and a connector that hears the same.

    ``p(v) = g1 [v is the hypothesis's token] + g2 p(v | its alternatives) + g3
    p(v | connector)``, and with g4 the segment is of no token: a mixture of experts
    (Jacobs et al. 1991). Its weights are a softmax of linear functions of how sure each
    is of itself and of the other. They are learnt from utterances that the connector
    did not learn from, by maximum likelihood of their tokens; the LLM is not run.

    Example
    -------
    >>> PosteriorGate().weights(torch.zeros(2, 11), torch.tensor([True, False])).shape
    torch.Size([2, 4])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(_NUM_FEATURES))
        self.register_buffer("scale", torch.ones(_NUM_FEATURES))
        self.weight = nn.Parameter(torch.zeros(_NUM_EXPERTS, _NUM_FEATURES))
        self.bias = nn.Parameter(torch.zeros(_NUM_EXPERTS))

    def weights(self, features: Tensor, has_alternatives: Tensor) -> Tensor:
        """How far each expert is believed.

        Arguments
        ---------
        features : torch.Tensor
            [M, 11], of :func:`gate_features`.
        has_alternatives : torch.Tensor
            [M] bool

        Returns
        -------
        torch.Tensor
            [M, 4]: of the hypothesis, its alternatives, the connector, and no token;
            they sum to 1.
        """
        # A few numbers decide: not in half precision.
        with torch.autocast(features.device.type, enabled=False):
            standard = (features.float() - self.mean) * self.scale
            scores = nn.functional.linear(standard, self.weight, self.bias)
        none = torch.zeros_like(scores, dtype=torch.bool)
        none[:, 1] = ~has_alternatives
        return scores.masked_fill(none, -math.inf).softmax(-1)

    @torch.no_grad()
    def believe(
        self, connector: VocabularyConnector, states: Tensor, evidence: Evidence
    ) -> Tensor:
        """:meth:`weights` of segments.

        Arguments
        ---------
        connector : ssr_plugin.connectors.base.VocabularyConnector
        states : torch.Tensor
            [M, K], of the connector.
        evidence : Evidence
            Of the same segments.

        Returns
        -------
        torch.Tensor
            [M, 4]
        """
        features = gate_features(connector, states, evidence)
        return self.weights(features, evidence.log_probs[:, 1:].exp().sum(1) > 0)

    @torch.no_grad()
    def log_probs(
        self,
        connector: VocabularyConnector,
        states: Tensor,
        evidence: Evidence,
        weights: Tensor,
        rows: Tensor,
    ) -> Tensor:
        """Probabilities of all tokens, for some segments: they take much memory.

        Arguments
        ---------
        connector, states, evidence
            Of :meth:`believe`.
        weights : torch.Tensor
            [M, 4], what that gives.
        rows : torch.Tensor
            [R] int, which of the segments.

        Returns
        -------
        torch.Tensor
            [R, V] float32, in nats.
        """
        weights, ids = weights[rows], evidence.token_ids[rows]
        alternatives = evidence.log_probs[rows, 1:].exp()
        share = weights[:, 1] / alternatives.sum(1).clamp_min(1e-9)
        told = connector.token_logits(states[rows]).float().softmax(-1)
        told = told * weights[:, 2:3]
        told.scatter_add_(1, ids[:, :1], weights[:, :1])
        told.scatter_add_(1, ids[:, 1:], alternatives * share.unsqueeze(1))
        return (told / told.sum(1, keepdim=True)).clamp_min(1e-30).log()

    def fit(self, examples: Iterable[Examples]) -> float:
        """Learns the weights.

        Arguments
        ---------
        examples : iterable of Examples
            Of utterances that the connector did not learn from.

        Returns
        -------
        float
            Mean negative log-likelihood of a segment's token, nats.

        Raises
        ------
        ValueError
            If there is no segment.
        """
        found = [*examples]
        if not sum(len(x.features) for x in found):
            raise ValueError("there is no segment to learn from")
        features, has, *right = (
            torch.cat([getattr(x, field.name).cpu() for x in found])
            for field in dataclasses.fields(Examples)
        )
        self.mean = features.mean(0)
        self.scale = 1 / features.std(0, correction=0).clamp_min(1e-3)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        optimizer = torch.optim.Adam(self.parameters(), _RATE)
        probabilities = torch.stack(right, 1)
        for _ in range(_STEPS):
            told = (self.weights(features, has) * probabilities).sum(1)
            loss = -(told + _FLOOR).log().mean()
            # Few segments say little: no weight is large then.
            penalty = _RIDGE * self.weight.square().sum() / len(features)
            optimizer.zero_grad()
            (loss + penalty).backward()
            optimizer.step()
        self.requires_grad_(False)
        return float(loss.detach())


@dataclasses.dataclass
class Examples:
    """Segments from which a gate learns.

    Arguments
    ---------
    features : torch.Tensor
        [M, 11]
    has_alternatives : torch.Tensor
        [M] bool
    hypothesis, alternatives, connector, nothing : torch.Tensor
        [M] float32: how probable each expert finds what was said.
    """

    features: Tensor
    has_alternatives: Tensor
    hypothesis: Tensor
    alternatives: Tensor
    connector: Tensor
    nothing: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        connector: VocabularyConnector,
        states: Tensor,
        evidence: Evidence,
        tokens: Tensor,
        null: int,
    ) -> Examples:
        """What the experts say of segments whose tokens are known.

        Arguments
        ---------
        connector, states, evidence
            Of :meth:`PosteriorGate.believe`.
        tokens : torch.Tensor
            [M] int, of the transcript.
        null : int
            What stands for no token.

        Returns
        -------
        Examples
        """
        said = tokens[:, None] == evidence.token_ids
        alternatives = evidence.log_probs[:, 1:].exp()
        total = alternatives.sum(1)
        is_token = tokens != null
        heard = torch.cat(
            [
                connector.token_logits(x).float().log_softmax(-1).gather(1, ids)[:, 0]
                for x, ids in zip(
                    states.split(ROWS),
                    tokens.clamp_max(null - 1)[:, None].split(ROWS),
                    strict=True,
                )
            ]
            or [states.new_zeros(0)]
        )
        return cls(
            gate_features(connector, states, evidence),
            total > 0,
            (said[:, 0] & is_token).float(),
            (alternatives * said[:, 1:]).sum(1) / total.clamp_min(1e-9) * is_token,
            heard.exp() * is_token,
            (~is_token).float(),
        )


@torch.no_grad()
def gate_features(
    connector: VocabularyConnector, states: Tensor, evidence: Evidence
) -> Tensor:
    """What tells who is right.

    The logit of the hypothesis's confidence in a token and in those before and after
    it; the logarithm of what its alternatives have; of the connector, the logarithm of
    its probability of the hypothesis's token, of its likeliest, of no token, and its
    entropy; whether both name the same token, whether the connector's likeliest is
    among the alternatives; the logarithm of the segment's length.

    Arguments
    ---------
    connector, states, evidence
        Of :meth:`PosteriorGate.believe`.

    Returns
    -------
    torch.Tensor
        [M, 11] float32
    """
    confidence = evidence.log_probs[:, 0].exp().clamp(_LEAST, 1 - _LEAST).logit()
    before = torch.where(evidence.first, confidence, confidence.roll(1))
    after = torch.where(evidence.last, confidence, confidence.roll(-1))
    total = evidence.log_probs[:, 1:].exp().sum(1).clamp_min(_LEAST).log()
    heard: list[Tensor] = []
    for x, ids in zip(states.split(ROWS), evidence.token_ids.split(ROWS), strict=True):
        logits = connector.token_logits(x).float()
        log_probs = logits.log_softmax(-1)
        best, token = log_probs.max(-1)
        # Beside the tokens, no token.
        both = torch.stack([logits.logsumexp(-1), connector.null_logits(x).float()], -1)
        columns = (
            log_probs.gather(1, ids[:, :1])[:, 0].clamp_min(-12),
            best,
            both.log_softmax(-1)[:, 1].clamp_min(-12),
            -(log_probs.exp() * log_probs).sum(-1),
            (token == ids[:, 0]).float(),
            (token[:, None] == ids[:, 1:]).any(1).float(),
        )
        heard.append(torch.stack(columns, 1))
    length = (evidence.num_frames.float() / 10).log().clamp(-3, 3)
    own = torch.stack([confidence, before, after, total, length], 1)
    return torch.cat([own, torch.cat(heard) if heard else own.new_zeros(0, 6)], 1)


def known_posteriors(
    segmentations: Sequence[Segmentation],
) -> list[TokenPosteriors] | None:
    """The posteriors of utterances; None unless each that has segments has them."""
    found = []
    for each in segmentations:
        if each.posteriors is not None:
            found.append(each.posteriors)
        elif len(each.segments):
            return None
    return found


def settings_of(gate: PosteriorGate | None) -> dict[str, Any] | None:
    """A gate as JSON has it: its numbers by name, or None."""
    if gate is None:
        return None
    return {name: value.tolist() for name, value in gate.state_dict().items()}


def gate_of(settings: dict[str, Any] | None) -> PosteriorGate | None:
    """The gate that :func:`settings_of` wrote.

    Raises
    ------
    ValueError
        If numbers are missing, or too many.

    Example
    -------
    >>> gate = gate_of(settings_of(PosteriorGate()))
    >>> gate_of(None) is None and isinstance(gate, PosteriorGate)
    True
    """
    if settings is None:
        return None
    gate = PosteriorGate()
    try:
        state = {name: torch.tensor(value) for name, value in settings.items()}
        gate.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"'gate' is damaged: {error}") from error
    return gate.requires_grad_(False).eval()
