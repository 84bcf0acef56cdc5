"""Losses through the frozen LLM whose gradient reaches the vectors."""

import numpy as np
from torch import nn

from ssr_plugin.llm.generation import end_id, replaced_attribute
from ssr_plugin.llm.next_token import next_token_loss
from ssr_plugin.llm.packing import can_pack, make_pack, read_states
from ssr_plugin.llm.tokens import tokenize_inside


def first_layers_kl(llm, z, h, mask, num_layers):
    """How far the first layers tell vectors from embeddings, by what the LLM predicts.

    Both go through the first layers alone, then the LLM's last norm and output layer:
    ``mean_i KL(p(h_<=i) || p(z_<=i))`` between the distributions of the next token.
    The LLM's start token comes first. Few logits are in memory at once.

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
        If the LLM has no such number of layers, or the shapes differ.

    Example
    -------
    >>> import torch
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
    if z.shape != h.shape:
        raise ValueError(
            f"vectors of shape {list(z.shape)} are no match for embeddings of shape "
            f"{list(h.shape)}"
        )
    counts, width = mask.sum(1).tolist(), z.shape[1]
    inputs = [
        np.append(llm.start_id, _vectors(i * width, n)) for i, n in enumerate(counts)
    ]
    # All predictions are compared but that after the start token alone.
    asked = [np.where(x < 0, 0, -1) for x in inputs]
    pack = make_pack(inputs, asked, can_pack(model)).to(z.device)
    arguments = (pack.layout, pack.wanted, pack.packed)
    with replaced_attribute(holder, name, layers[:num_layers]):
        states, base_states = (
            read_states(model, pack.embed(llm, x.flatten(0, 1)), *arguments)
            for x in (z, h.detach())
        )
    base = (model, base_states.detach())
    return next_token_loss(model, states, None, 0.0, base, 1.0)


def _vectors(first, count):
    """Some vectors as :func:`ssr_plugin.llm.packing.make_pack` takes them."""
    return -1 - np.arange(first, first + count)


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
        [B], how many vectors an utterance has; 0 is allowed. On the host, as the
        tokens: else the device is asked for it.
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
    >>> import torch
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> vectors = torch.zeros(2, 5, 16, requires_grad=True)
    >>> tokens = torch.tensor([[4, 5, 6], [7, -1, -1]])
    >>> loss = transcription_loss(llm, vectors, torch.tensor([5, 2]), tokens)
    >>> loss.backward()
    >>> vectors.grad.abs().sum(-1).bool().sum(1)
    tensor([5, 2])
    """
    end, start = end_id(llm), llm.start_id
    between = tokenize_inside(llm.tokenizer, prompt)
    inputs, targets = [], []
    for i, (count, row) in enumerate(zip(counts.tolist(), tokens.cpu(), strict=True)):
        answer = row[row >= 0].numpy()
        read = _vectors(i * vectors.shape[1], count)
        inputs.append(np.concatenate([[start], read, between, answer]))
        # The question's last position asks for the first token.
        unasked = np.full(count + len(between), -1)
        targets.append(np.concatenate([unasked, answer, [end]]))
    model = llm.load_model()
    pack = make_pack(inputs, targets, can_pack(model)).to(vectors.device)
    embeds = pack.embed(llm, vectors.flatten(0, 1))
    states = read_states(model, embeds, pack.layout, pack.wanted, pack.packed)
    return next_token_loss(model, states, pack.targets)


def _find_layers(model):
    """The module that holds a causal LM's stack of layers, and the stack's name."""
    holder = model.get_decoder()
    count = model.config.get_text_config().num_hidden_layers
    for name, child in holder.named_children():
        if isinstance(child, nn.ModuleList) and len(child) == count:
            return holder, name
    raise ValueError(f"{type(model).__name__} has no stack of {count} layers")
