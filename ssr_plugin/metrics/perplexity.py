"""How well an LLM still knows text: its loss on documents."""

import torch
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.llm.scoring import token_log_probs
from ssr_plugin.nnet.groups import split_groups

# Positions that go through the LLM at once, with padding.
_POSITIONS = 4096


def document_loss(llm, documents, longest):
    """Loss per token of documents, each by itself after the LLM's start token.

    Its exponential is the perplexity. Ends of documents are not scored.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM or ssr_plugin.llm.tuning.TunedLLM
    documents : list of list of int
        Tokens.
    longest : int
        Most tokens that are read at once: of longer documents each such piece is read
        by itself.

    Returns
    -------
    float
        Nats per token.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> both = document_loss(llm, [[4, 5, 6], [7]], longest=8)
    >>> alone = [document_loss(llm, [ids], longest=8) for ids in ([4, 5, 6], [7])]
    >>> abs(both - (3 * alone[0] + alone[1]) / 4) < 1e-5
    True
    """
    losses = document_losses(llm, documents, longest)
    return sum(losses) / sum(map(len, documents))


def document_losses(llm, documents, longest):
    """Loss of each document, summed over its tokens.

    Arguments
    ---------
    llm, documents, longest
        Of :func:`document_loss`.

    Returns
    -------
    list of float
        Nats.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> one, two = document_losses(llm, [[4, 5, 6], [7]], longest=8)
    >>> abs(two - document_loss(llm, [[7]], longest=8)) < 1e-5
    True
    """
    model = llm.load_model()
    device = llm.table().device
    pieces = [
        (i, torch.tensor(ids[first : first + longest]))
        for i, ids in enumerate(documents)
        for first in range(0, len(ids), longest)
    ]
    pieces.sort(key=lambda piece: len(piece[1]))
    losses = [0.0] * len(documents)
    for group in split_groups(pieces, lambda x: len(x[1]), _POSITIONS, padded=True):
        rows = [ids for _, ids in group]
        targets = pad_sequence(rows, batch_first=True, padding_value=-1).to(device)
        start = targets.new_full((len(rows), 1), llm.start_id)
        inputs = torch.cat([start, targets[:, :-1]], dim=1).clamp_min(0)
        scores = token_log_probs(model, llm.embed(inputs), targets >= 0, targets)
        for (i, _), score in zip(group, scores.double().sum(1).tolist(), strict=True):
            losses[i] -= score
    return losses
