"""Losses through the frozen LLM whose gradient reaches the vectors."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from ssr_plugin.llm.generation import (
    end_id,
    replaced_attribute,
    transcription_prompts,
)
from ssr_plugin.llm.scoring import logits_at, pad_rows
from ssr_plugin.nnet.groups import split_groups

# Logits in memory at once: 256 MB in float32, a few times over in the backward pass.
# One sequence is never split.
_LOGITS = 2**26


def first_layers_kl(llm, z, h, mask, num_layers):
    """How far the first layers tell vectors from embeddings, by what the LLM predicts.

    Both go through the first layers alone, then the LLM's last norm and output layer:
    ``mean_i KL(p(h_<=i) || p(z_<=i))`` between the distributions of the next token.
    The LLM's start token comes first. Memory is bounded: a few utterances go through
    at a time, once more in the backward pass.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    z : torch.Tensor
        The connector's vectors, [B, N, H]; the only ones with a gradient.
    h : torch.Tensor
        The LLM's embeddings of the same tokens, [B, N, H].
    mask : torch.BoolTensor
        [B, N], False at padding, which is on the right.
    num_layers : int
        How many of the LLM's layers, from 1 to all.

    Returns
    -------
    torch.Tensor
        Nats per valid token, a scalar; 0 without any.

    Raises
    ------
    ValueError
        If the LLM has no such number of layers.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> h = llm.embed(torch.tensor([[4, 5, 6]]))
    >>> z = torch.zeros_like(h).requires_grad_()
    >>> loss = first_layers_kl(llm, z, h, torch.ones(1, 3).bool(), num_layers=1)
    >>> loss.backward()
    >>> loss > 0, z.grad.shape
    (tensor(True), torch.Size([1, 3, 16]))
    """
    model = llm.load_model()
    holder, name = _find_layers(model)
    layers = getattr(holder, name)
    if not 1 <= num_layers <= len(layers):
        raise ValueError(
            f"the LLM '{llm.source}' has {len(layers)} layers: num_layers can be 1 to "
            f"{len(layers)}, not {num_layers}"
        )
    start = llm.embed(torch.full((len(z), 1), llm.start_id, device=z.device))
    z, h = (torch.cat([start, x.to(start.dtype)], 1) for x in (z, h))  # [B, 1 + N, H]
    wanted = F.pad(mask, (1, 0), value=False)
    seen = F.pad(mask, (1, 0), value=True)

    def divergence(z, h, seen, wanted):
        # The layers are put aside in here, since the backward pass calls it again.
        with replaced_attribute(holder, name, layers[:num_layers]):
            predicted = logits_at(model, z, seen, wanted).log_softmax(-1)
            with torch.no_grad():
                truth = logits_at(model, h, seen, wanted).log_softmax(-1)
        return F.kl_div(predicted, truth, reduction="sum", log_target=True)

    total = 0.0
    counts, most = mask.sum(1).tolist(), _LOGITS // llm.vocab_size
    for rows in split_groups(range(len(counts)), counts.__getitem__, most):
        group = (x[rows] for x in (z, h, seen, wanted))
        total = total + checkpoint(divergence, *group, use_reentrant=False)
    return total / mask.sum().clamp_min(1)


def transcription_loss(llm, vectors, counts, tokens, prompt="\n"):
    """Loss of the transcript and its end, read by the whole LLM after the vectors.

    The LLM reads its start token, the vectors, the prompt and the transcript. It
    trains connectors that give any number of vectors, at the cost of the whole LLM.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    vectors : torch.Tensor
        [B, M, H], padded on the right.
    counts : torch.LongTensor
        [B], how many vectors an utterance has; 0 is allowed.
    tokens : torch.LongTensor
        The transcript's tokens, [B, N], -1 at padding.
    prompt : str
        Text between the vectors and the transcript; may be empty.

    Returns
    -------
    torch.Tensor
        Nats per token, the end-of-text tokens included, a scalar.

    Raises
    ------
    ValueError
        If the tokenizer has no end-of-text token.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> vectors = torch.zeros(2, 5, 16, requires_grad=True)
    >>> tokens = torch.tensor([[4, 5, 6], [7, -1, -1]])
    >>> loss = transcription_loss(llm, vectors, torch.tensor([5, 2]), tokens)
    >>> loss.backward()
    >>> vectors.grad.abs().sum(-1).bool().sum(1)
    tensor([5, 2])
    """
    end = tokens.new_tensor([end_id(llm)])
    rows, targets = [], []
    for question, row in zip(
        transcription_prompts(llm, vectors, counts, prompt), tokens, strict=True
    ):
        answer = row[row >= 0]
        rows.append(torch.cat([question, llm.embed(answer)]))
        # The question's last position asks for the first token.
        unasked = answer.new_full((len(question) - 1,), -1)
        targets.append(torch.cat([unasked, answer, end]))
    targets = pad_sequence(targets, batch_first=True, padding_value=-1)
    wanted = targets >= 0
    logits = logits_at(llm.load_model(), *pad_rows(rows, "right"), wanted)
    return F.cross_entropy(logits, targets[wanted])


def _find_layers(model):
    """The module that holds a causal LM's stack of layers, and the stack's name."""
    holder = model.get_decoder()
    count = model.config.get_text_config().num_hidden_layers
    for name, child in holder.named_children():
        if isinstance(child, nn.ModuleList) and len(child) == count:
            return holder, name
    raise ValueError(f"{type(model).__name__} has no stack of {count} layers")
