"""Log-likelihoods of tokens under a causal LM, whatever the padding."""

import inspect
import threading

import torch
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.nnet.groups import split_groups

# Positions whose logits are in memory at once: over 128k tokens they take 260 MB.
# One sequence is never split.
_POSITIONS = 512


@torch.no_grad()
def token_log_probs(model, embeds, mask, targets):
    """Log-likelihoods that a causal LM gives to chosen tokens at chosen positions.

    Arguments
    ---------
    model : transformers.PreTrainedModel
        A causal LM.
    embeds : torch.Tensor
        Input embeddings, [B, L, H], as :meth:`TextLLM.embed` gives them.
    mask : torch.BoolTensor
        [B, L], False where a sequence is padded, on either side.
    targets : torch.LongTensor
        [B, L], at each position the token that should come after it; -1 where none is
        asked for.

    Returns
    -------
    torch.Tensor
        [B, L] float32, nats; 0 where no token is asked for.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> ids = torch.tensor([[4, 5, 6]])
    >>> targets = torch.tensor([[5, 6, -1]])
    >>> mask = torch.ones(1, 3, dtype=torch.bool)
    >>> scores = token_log_probs(llm.load_model(), llm.embed(ids), mask, targets)
    >>> (scores[0, :2] < 0).all(), scores[0, 2]
    (tensor(True), tensor(0.))
    """
    wanted = mask & (targets >= 0)
    scores = torch.zeros(targets.shape, device=embeds.device)
    counts = wanted.sum(1).tolist()
    asked = [row for row, count in enumerate(counts) if count]
    for rows in split_groups(asked, counts.__getitem__, _POSITIONS):
        scores[rows] = _score(model, embeds[rows], mask[rows], targets[rows])
    return scores


def _score(model, embeds, mask, targets):
    """What :func:`token_log_probs` gives, for few enough positions."""
    wanted = mask & (targets >= 0)
    logits = logits_at(model, embeds, mask, wanted)
    scores = torch.zeros(targets.shape, device=embeds.device)
    scores[wanted] = -torch.nn.functional.cross_entropy(
        logits, targets[wanted], reduction="none"
    )
    return scores


def logits_at(model, embeds, mask, wanted, past=None, past_mask=None):
    """A causal LM's logits at chosen positions; no others are computed.

    Arguments
    ---------
    model : transformers.PreTrainedModel
    embeds : torch.Tensor
        [B, L, H]
    mask : torch.BoolTensor
        [B, L], False where a sequence is padded, on either side.
    wanted : torch.BoolTensor
        [B, L], True at P positions.
    past : transformers.Cache or None
        What the model has read before; it gets what is read now.
    past_mask : torch.BoolTensor
        [B, K], False where that is padding, on the left.

    Returns
    -------
    torch.Tensor
        [P, V] float32, row by row.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> wanted = torch.tensor([[False, True, True]])
    >>> embeds = llm.embed(torch.tensor([[4, 5, 6]]))
    >>> logits_at(llm.load_model(), embeds, torch.ones(1, 3).bool(), wanted).shape
    torch.Size([2, 32])
    """
    seen = mask if past is None else torch.cat([past_mask, mask], 1)
    arguments = {"attention_mask": seen.long(), "use_cache": past is not None}
    if past is not None:
        arguments[cache_argument(model)] = past
    if "position_ids" in inspect.signature(model.forward).parameters:
        arguments["position_ids"] = position_ids(seen)[:, -mask.shape[1] :]

    thread = threading.get_ident()

    # What the model does to its logits (scaling, capping) stays the model's. Another
    # thread may have the same model write meanwhile, and needs all of its own.
    def choose(layer, args):
        return (args[0][wanted][None],) if threading.get_ident() == thread else None

    hook = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        return model(inputs_embeds=embeds, **arguments).logits[0].float()
    finally:
        hook.remove()


def cache_argument(model):
    """What a model calls the keys and values that it has computed before.

    Arguments
    ---------
    model : transformers.PreTrainedModel

    Returns
    -------
    str or None
        ``cache``, before transformers 5.24 ``past_key_values``; None for a model that
        keeps none, or a state that cannot be shared (Mamba).

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> cache_argument(llm.load_model()) in ("cache", "past_key_values")
    True
    """
    if getattr(model, "_is_stateful", False):
        return None
    taken = inspect.signature(model.forward).parameters
    names = (name for name in ("cache", "past_key_values") if name in taken)
    return next(names, None)


def position_ids(mask):
    """Positions that count a sequence's own tokens from 0, whatever its padding.

    Arguments
    ---------
    mask : torch.BoolTensor
        [B, L], False at padding.

    Returns
    -------
    torch.LongTensor
        [B, L]

    Example
    -------
    >>> position_ids(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]]).bool())
    tensor([[0, 0, 0, 1],
            [0, 1, 2, 2]])
    """
    return (mask.long().cumsum(1) - 1).clamp_min(0)


def pad_rows(rows, side):
    """Sequences of embeddings as one batch.

    Arguments
    ---------
    rows : list of torch.Tensor
        [L, H] each.
    side : str
        Where to pad: "left" or "right".

    Returns
    -------
    embeds : torch.Tensor
        [B, L, H]
    mask : torch.BoolTensor
        [B, L], False at padding.

    Example
    -------
    >>> pad_rows([torch.ones(1, 4), torch.ones(2, 4)], "left")[1]
    tensor([[False,  True],
            [ True,  True]])
    """
    ones = [torch.ones(len(r), dtype=torch.bool, device=r.device) for r in rows]
    embeds, mask = (pad_sequence(x, True, padding_side=side) for x in (rows, ones))
    return embeds, mask
