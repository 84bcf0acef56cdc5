"""Log-likelihoods of several texts after one context, which the LLM reads once."""

import torch
from transformers import DynamicCache

from ssr_plugin.models.scoring import cache_argument, logits_at, pad_rows

# Positions, padding included, whose keys and values are in memory at once: an 8B model
# of grouped heads keeps 130 kB for each.
_POSITIONS = 8192
# Tokens whose logits are: over 128k tokens they take 260 MB.
_TOKENS = 512


@torch.no_grad()
def score_choices(model, embed, contexts, choices, vectors=None, batch_size=64):
    """Log-likelihoods of some texts after each context.

    A context goes through the model once, however many texts follow it, and many
    contexts go together. A model without a cache of keys and values (Mamba) reads it
    anew for each text.

    Arguments
    ---------
    model : transformers.PreTrainedModel
        A causal LM.
    embed : callable
        Token ids to input embeddings, as :meth:`TextLLM.embed`.
    contexts : list of torch.Tensor
        [L, H] each, input embeddings, L at least 1.
    choices : list of list of list of int
        The token ids of the texts of each context, none of them empty.
    vectors : list of list of (torch.Tensor or None), or None
        [K, H] for each text of K tokens: what the model reads in place of the
        embeddings of its tokens. Each token is then scored given those before it as
        vectors.
    batch_size : int
        Texts that are scored together, unless one context has more.

    Returns
    -------
    list of list of float
        Nats, the sum over each text's tokens.

    Example
    -------
    >>> from ssr_plugin.models.llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> context = llm.embed(torch.tensor([1, 5, 6]))
    >>> model = llm.load_model()
    >>> ((one, two),) = score_choices(model, llm.embed, [context], [[[7], [8, 9]]])
    >>> ((alone,),) = score_choices(model, llm.embed, [context], [[[8, 9]]])
    >>> abs(two - alone) < 1e-4
    True
    """
    # More texts than a batch takes are as those of several contexts.
    pieces = [
        (i, slice(first, first + batch_size))
        for i in range(len(contexts))
        for first in range(0, len(choices[i]), batch_size)
    ]
    contexts = [contexts[i] for i, _ in pieces]
    texts = [choices[i][part] for i, part in pieces]
    if vectors is None:
        vectors = [[None] * len(own) for own in choices]
    vectors = [vectors[i][part] for i, part in pieces]
    cache = cache_argument(model) is not None
    shared = [
        cache and len(c) > 1 < len(x) for c, x in zip(contexts, texts, strict=True)
    ]
    lengths = [len(c) + max(map(len, x)) for c, x in zip(contexts, texts, strict=True)]
    order = sorted(range(len(pieces)), key=lambda i: (shared[i], lengths[i]))
    found = {}
    for group in _groups(order, shared, lengths, texts, batch_size):
        own = _score(
            model,
            embed,
            [contexts[i] for i in group],
            [texts[i] for i in group],
            [vectors[i] for i in group],
            shared[group[0]],
        )
        found.update(zip(group, own, strict=True))
    scores = [[] for _ in choices]
    for piece, (i, _) in enumerate(pieces):
        scores[i] += found[piece]
    return scores


def _groups(order, shared, lengths, texts, batch_size):
    """Runs of contexts that go through together, in bounded memory."""
    group, count, tokens = [], 0, 0
    for i in order:
        more, asked = len(texts[i]), sum(map(len, texts[i]))
        if group and (
            shared[i] != shared[group[0]]
            or count + more > batch_size
            or tokens + asked > _TOKENS
            # The last is the longest.
            or (count + more) * lengths[i] > _POSITIONS
        ):
            yield group
            group, count, tokens = [], 0, 0
        group.append(i)
        count, tokens = count + more, tokens + asked
    if group:
        yield group


def _score(model, embed, contexts, choices, vectors, share):
    """What :func:`score_choices` gives, for few enough contexts."""
    device = contexts[0].device
    owners = [i for i, own in enumerate(choices) for _ in own]
    past = past_mask = None
    if share:
        # The last position is left to be read with each text, whose first token it
        # predicts.
        past = DynamicCache()
        before, past_mask = pad_rows([c[:-1] for c in contexts], "left")
        unasked = torch.zeros_like(past_mask)
        logits_at(model, before, past_mask, unasked, past, past_mask[:, :0])
        past.batch_select_indices(torch.tensor(owners, device=device))
        past_mask = past_mask[owners]
        contexts = [c[-1:] for c in contexts]
    texts = [torch.tensor(ids, device=device) for own in choices for ids in own]
    read = [x for own in vectors for x in own]
    rows = [
        torch.cat([contexts[owner], embed(ids[:-1]) if own is None else own[:-1]])
        for owner, ids, own in zip(owners, texts, read, strict=True)
    ]
    embeds, mask = pad_rows(rows, "right")
    wanted = torch.zeros_like(mask)
    for row, (own, ids) in enumerate(zip(rows, texts, strict=True)):
        wanted[row, len(own) - len(ids) : len(own)] = True
    logits = logits_at(model, embeds, mask, wanted, past, past_mask)
    losses = torch.nn.functional.cross_entropy(
        logits, torch.cat(texts), reduction="none"
    )
    sums = iter(-x.double().sum().item() for x in losses.split([len(x) for x in texts]))
    return [[next(sums) for _ in own] for own in choices]
