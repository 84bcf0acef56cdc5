"""Log-likelihoods of tokens under a causal LM, whatever the padding."""

import inspect

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.llm.memory import positions_at_once
from ssr_plugin.llm.next_token import next_token_log_probs
from ssr_plugin.llm.packing import (
    Layout,
    can_pack,
    capture_states,
    plan_layout,
    read_states,
    send,
    takes_positions,
)
from ssr_plugin.nnet.groups import split_groups


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
    scores = torch.zeros(targets.shape, device=embeds.device)
    # What is asked of the device, once.
    seen, wanted = torch.stack([mask, mask & (targets >= 0)]).cpu().numpy()
    packed = can_pack(model)
    asked = np.flatnonzero(wanted.any(1)).tolist()
    lengths = seen.sum(1)
    most = positions_at_once(model)
    for rows in split_groups(asked, lengths.__getitem__, most, padded=not packed):
        layout = plan_layout(lengths[rows], packed)
        # Places in the batch of the group's tokens, one after another.
        places = np.array(rows).repeat(lengths[rows]) * seen.shape[1]
        places += np.flatnonzero(seen[rows]) % seen.shape[1]
        chosen = wanted.reshape(-1)[places]
        places, there, slots, *layout = send(
            embeds.device,
            *map(torch.from_numpy, (places, places[chosen])),
            layout.slots[torch.from_numpy(chosen)],
            *vars(layout).values(),
        )
        layout = Layout(*layout)
        rows_embeds = place_tokens(embeds.flatten(0, 1)[places], layout)
        states = read_states(model, rows_embeds, layout, slots, packed)
        found = next_token_log_probs(model, states, targets.flatten()[there])
        scores.view(-1).index_copy_(0, there, found)
    return scores


def place_tokens(embeds, layout):
    """Puts the embeddings of sequences into their slots.

    Arguments
    ---------
    embeds : torch.Tensor
        [P, H], of the sequences one after another.
    layout : ssr_plugin.llm.packing.Layout

    Returns
    -------
    torch.Tensor
        [R, L, H]; zeros in empty slots.

    Example
    -------
    >>> place_tokens(torch.ones(5, 4), plan_layout([2, 3])).sum()
    tensor(20.)
    """
    rows = embeds.new_zeros(layout.positions.numel(), embeds.shape[1])
    rows = rows.index_copy(0, layout.slots, embeds)
    return rows.view(*layout.positions.shape, -1)


def states_at(model, embeds, mask, places, past=None, past_mask=None):
    """What a causal LM's output layer reads at chosen places of padded rows.

    Arguments
    ---------
    model : transformers.PreTrainedModel
    embeds : torch.Tensor
        [B, L, H]
    mask : torch.BoolTensor
        [B, L], False where a sequence is padded, on either side.
    places : torch.LongTensor
        [P], places among the B * L.
    past : transformers.Cache or None
        What the model has read before; it gets what is read now.
    past_mask : torch.BoolTensor
        [B, K], False where that is padding, on the left.

    Returns
    -------
    torch.Tensor
        [P, K], for :func:`ssr_plugin.llm.next_token.read_logits`.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> model, embeds = llm.load_model(), llm.embed(torch.tensor([[4, 5, 6]]))
    >>> mask, places = torch.ones(1, 3).bool(), torch.tensor([1, 2])
    >>> states_at(model, embeds, mask, places).shape
    torch.Size([2, 16])
    """
    seen = mask if past is None else torch.cat([past_mask, mask], 1)
    arguments = {"attention_mask": seen.long(), "use_cache": past is not None}
    if past is not None:
        arguments[cache_argument(model)] = past
    if takes_positions(model):
        arguments["position_ids"] = position_ids(seen)[:, -mask.shape[1] :]
    return capture_states(model, places, inputs_embeds=embeds, **arguments)


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
