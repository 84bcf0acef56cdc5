"""What an LLM's states say of the next token, with few logits in memory at once.

The logits of Q positions over V tokens are the largest tensor that tuning or scoring
an LLM makes. Here they are made a few positions at a time. In training the gradient of
the states is made there and then, so that no logits are kept.
"""

import copy
import functools
import weakref
from bisect import bisect_left

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from ssr_plugin.llm.packing import send

# Logits in memory at once: 256 MB in float32, a few times over.
_LOGITS = 2**26
# By model, the names that lead to its layers.
_PATHS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
# By model, whether it leaves the logits as its output layer gives them.
_PLAIN: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def next_token_loss(model, states, targets, weight=1.0, base=None, kl_weight=0.0):
    """Cross-entropy of the tokens that come next, and KL from another model.

    ``mean_i [weight * -log p(y_i) + kl_weight * KL(p_base || p)]``. Nothing is asked of
    the device.

    Arguments
    ---------
    model : transformers.PreTrainedModel
    states : torch.Tensor
        [Q, K], as :func:`ssr_plugin.llm.packing.read_states` gives them.
    targets : torch.LongTensor or None
        [Q]; not needed without ``weight``.
    weight : float
        Of the cross-entropy.
    base : tuple of (transformers.PreTrainedModel, torch.Tensor) or None
        Another model and its states [Q, K'] at the same positions.
    kl_weight : float
        Of KL(base || model).

    Returns
    -------
    torch.Tensor
        Nats per token, weighted, a scalar; 0 without any token.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> model = TextLLM(getfixture("tiny_llm_folder")).load_model()
    >>> states, targets = torch.zeros(2, 16), torch.tensor([4, 5])
    >>> next_token_loss(model, states, targets)  # log 32
    tensor(3.4657)
    >>> next_token_loss(model, states, None, 0.0, (model, states), 1.0)
    tensor(0.)
    """
    count = max(len(states), 1)
    if not kl_weight and _can_fuse(model, states):
        return weight * _fused_sum(model, states, targets) / count

    def total(states, targets, base_states):
        log_probs = read_logits(model, states).log_softmax(-1)
        loss = log_probs.new_zeros(())
        if weight:
            error = F.nll_loss(log_probs, targets, reduction="sum")
            loss = loss + weight * error
        if kl_weight:
            with torch.no_grad():
                base_log_probs = read_logits(base[0], base_states).log_softmax(-1)
            divergence = F.kl_div(
                log_probs, base_log_probs, reduction="sum", log_target=True
            )
            loss = loss + kl_weight * divergence
        return loss

    base_states = base[1] if kl_weight else None
    layer = model.get_output_embeddings()
    parameters = [p for p in layer.parameters() if p.requires_grad]
    size = _positions(layer.weight)
    if len(states) <= size:
        return total(states, targets, base_states) / count
    arguments = (total, size, states, targets, base_states, *parameters)
    return _SumOfParts.apply(*arguments) / count


@torch.no_grad()
def next_token_log_probs(model, states, targets):
    """How likely the tokens are that come next.

    Arguments
    ---------
    model, states, targets
        Of :func:`next_token_loss`.

    Returns
    -------
    torch.Tensor
        [Q] float32, nats.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> model = TextLLM(getfixture("tiny_llm_folder")).load_model()
    >>> next_token_log_probs(model, torch.zeros(2, 16), torch.tensor([4, 5]))
    tensor([-3.4657, -3.4657])
    """
    size = _positions(model.get_output_embeddings().weight)
    scores = [
        -F.cross_entropy(read_logits(model, x), ids, reduction="none")
        for x, ids in zip(states.split(size), targets.split(size), strict=True)
    ]
    return torch.cat(scores)


@torch.no_grad()
def chosen_log_probs(model, states, rows, tokens):
    """How likely some tokens are that could come next, several after one state.

    Arguments
    ---------
    model, states
        Of :func:`next_token_loss`.
    rows : list of int
        Of each token the state, in ascending order.
    tokens : list of int

    Returns
    -------
    torch.Tensor
        [N] float32, nats.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> model = TextLLM(getfixture("tiny_llm_folder")).load_model()
    >>> chosen_log_probs(model, torch.zeros(2, 16), [0, 0, 1], [4, 5, 4])
    tensor([-3.4657, -3.4657, -3.4657])
    """
    size = _positions(model.get_output_embeddings().weight)
    scores = []
    for first in range(0, len(states), size):
        some = slice(bisect_left(rows, first), bisect_left(rows, first + size))
        (pairs,) = send(states.device, torch.tensor([rows[some], tokens[some]]))
        log_probs = read_logits(model, states[first : first + size]).log_softmax(-1)
        scores.append(log_probs[pairs[0] - first, pairs[1]])
    return torch.cat(scores)


def _positions(weight):
    """At how many positions logits are in memory at once."""
    return max(_LOGITS // len(weight), 1)


class _SumOfParts(torch.autograd.Function):
    """A function of many positions as the sum over a few of them at a time.

    Gradients are made in the forward pass, where the logits are, and kept instead.
    """

    @staticmethod
    def forward(ctx, function, size, states, targets, base_states, *parameters):
        total, wanted = 0.0, ctx.needs_input_grad[2]
        slopes = torch.empty_like(states) if wanted else None
        sums = [torch.zeros_like(p) for p in parameters]
        for first in range(0, len(states), size):
            rows = slice(first, first + size)
            with torch.enable_grad():
                part = states[rows].detach().requires_grad_(wanted)
                others = (
                    None if x is None else x[rows] for x in (targets, base_states)
                )
                loss = function(part, *others)
            sources = [part] * wanted + list(parameters)
            if sources:
                found = list(torch.autograd.grad(loss, sources))
                if wanted:
                    slopes[rows] = found.pop(0)
                for total_slope, slope in zip(sums, found, strict=True):
                    total_slope += slope
            total = total + loss.detach()
        ctx.save_for_backward(slopes, *sums)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        slopes, *sums = ctx.saved_tensors
        slopes = None if slopes is None else slopes * slope
        return None, None, slopes, None, None, *(x * slope for x in sums)


# --- One kernel for output layer and loss --------------------------------------------


def _can_fuse(model, states):
    """Whether liger-kernel computes the loss: on a GPU, of a plain output layer."""
    return _is_on_gpu(states) and _liger() is not None and _is_plain(model)


def _is_on_gpu(states):
    return states.is_cuda


@functools.cache
def _liger():
    """liger-kernel's loss through a linear layer; None where it is not installed."""
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError:
        return None
    return LigerFusedLinearCrossEntropyLoss(reduction="sum")


def _fused_sum(model, states, targets):
    layer = model.get_output_embeddings()
    return _liger()(layer.weight, states, targets, layer.bias)


def _is_plain(model):
    """Whether a model's logits are what its output layer gives, and no more."""
    if model not in _PLAIN:
        layer = model.get_output_embeddings()
        _PLAIN[model] = type(layer) is nn.Linear and _leaves_logits(model, layer)
    return _PLAIN[model]


@torch.no_grad()
def _leaves_logits(model, layer):
    states = torch.linspace(-3, 3, layer.in_features).to(layer.weight)[None]
    with torch.autocast(states.device.type, enabled=False):
        return torch.equal(layer(states).float(), read_logits(model, states))


# --- From states to logits -----------------------------------------------------------


def read_logits(model, states):
    """A causal LM's logits from what its output layer reads.

    What the model does to its logits (scaling, capping) is done.

    Arguments
    ---------
    model : transformers.PreTrainedModel
    states : torch.Tensor
        [Q, K], as :func:`ssr_plugin.llm.packing.read_states` gives them.

    Returns
    -------
    torch.Tensor
        [Q, V] float32

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> read_logits(llm.load_model(), torch.rand(3, 16)).shape
    torch.Size([3, 32])
    """
    return _head(model)(inputs_embeds=states[None], use_cache=False).logits[0].float()


class _States(BaseModelOutputWithPast):
    """States alone; whatever else models look for in what their layers give is None."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)


class _GivenStates(nn.Module):
    """Stands where a causal LM has its layers, and gives what it is given."""

    def forward(self, *_, inputs_embeds=None, **__):
        return _States(last_hidden_state=inputs_embeds)


def _head(model):
    """A causal LM without its layers: what is left makes logits of states.

    It shares all weights with the model, and is changed where the model is not.
    """
    if model not in _PATHS:
        names = {id(module): name for name, module in model.named_modules()}
        _PATHS[model] = names[id(model.get_decoder())].split(".")
    head = holder = copy.copy(model)
    *path, last = _PATHS[model]
    for name in path:
        holder._modules = dict(holder._modules)
        holder._modules[name] = holder = copy.copy(holder._modules[name])
    holder._modules = {**holder._modules, last: _GivenStates()}
    return head
