"""Log-likelihoods of several texts after one context, which the LLM reads once."""

import copy

import torch
from transformers import DynamicCache

from ssr_plugin.llm.scoring import cache_argument, logits_at, pad_rows

# Positions, padding included, whose keys and values are in memory at once: an 8B model
# of grouped heads keeps 130 kB for each.
_POSITIONS = 8192
# Tokens whose logits are: over 128k tokens they take 260 MB.
_TOKENS = 512


@torch.no_grad()
def score_choices(model, embed, contexts, choices, vectors=None, batch_size=64):
    """Log-likelihoods of some texts after each context.

    A context goes through the model once, however many texts follow it, and many
    contexts go together. What neighbours have in common at their beginning (examples,
    say) is read once for all of them, where it is most of what they are. A model
    without a cache of keys and values (Mamba) reads all anew for each text.

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
        Texts that are scored together, unless one context has more. Those of one token
        each count as one, since one position tells of them all.

    Returns
    -------
    list of list of float
        Nats, the sum over each text's tokens.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
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
    texts = [choices[i][piece] for i, piece in pieces]
    if vectors is None:
        vectors = [[None] * len(row) for row in choices]
    vectors = [vectors[i][piece] for i, piece in pieces]
    cache = cache_argument(model) is not None
    widths = [1 if _is_single(row) else len(row) for row in texts]
    lengths = [len(c) + max(map(len, x)) for c, x in zip(contexts, texts, strict=True)]

    def score(indices, head=0, past=None, share=False):
        """Scores of the texts of some contexts, whose head was read before."""
        for group in _groups(indices, widths, lengths, texts, batch_size):
            group_scores = _score(
                model,
                embed,
                [contexts[i][head:] for i in group],
                [texts[i] for i in group],
                [vectors[i] for i in group],
                copy.deepcopy(past),
                share,
            )
            by_piece.update(zip(group, group_scores, strict=True))

    by_piece, alone = {}, []
    for run, head in _runs(contexts, widths) if cache else ():
        if len(run) == 1:
            alone += run
            continue
        past = _read([contexts[run[0]][:head]], model)
        score(sorted(run, key=lengths.__getitem__), head, past)
    left = alone if cache else range(len(pieces))
    shared = [cache and len(c) > 1 < w for c, w in zip(contexts, widths, strict=True)]
    for share in (False, True):
        indices = [i for i in left if shared[i] == share]
        score(sorted(indices, key=lengths.__getitem__), share=share)
    scores = [[] for _ in choices]
    for piece, (i, _) in enumerate(pieces):
        scores[i] += by_piece[piece]
    return scores


def _is_single(texts):
    """Whether one position tells of all texts: each is one token."""
    return all(len(ids) == 1 for ids in texts)


def _runs(contexts, widths):
    """Neighbours that begin alike, and how many positions they have in common.

    What is left of each is read once for each text, so the head must be more than that.
    """
    runs = []
    for i, context in enumerate(contexts):
        if runs:
            run, head = runs[-1]
            first = contexts[run[0]]
            most = min(head, len(context) - 1)
            same = (context[:most] == first[:most]).all(1).long().cumprod(0)
            head = int(same.sum())
            if all(widths[j] * (len(contexts[j]) - head) <= head for j in (run[0], i)):
                runs[-1] = ([*run, i], head)
                continue
        runs.append(([i], len(context) - 1))
    return runs


def _groups(indices, widths, lengths, texts, batch_size):
    """Runs of contexts that go through together, in bounded memory."""
    group, count, tokens = [], 0, 0
    for i in indices:
        more = widths[i]
        asked = 1 if _is_single(texts[i]) else sum(map(len, texts[i]))
        if group and (
            count + more > batch_size
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


def _read(contexts, model):
    """Keys and values of contexts, and where they are no padding, on the left."""
    past = DynamicCache()
    embeds, mask = pad_rows(contexts, "left")
    logits_at(model, embeds, mask, torch.zeros_like(mask), past, mask[:, :0])
    return past, mask


def _score(model, embed, contexts, choices, vectors, before, share):
    """What :func:`score_choices` gives, for few enough contexts.

    ``before`` is what :func:`_read` gives of what all contexts begin with, or None;
    with ``share`` each context is read once for all its texts.
    """
    device = contexts[0].device
    if share:
        # The last position is left to be read with each text, whose first token it
        # predicts.
        before = _read([c[:-1] for c in contexts], model)
        contexts = [c[-1:] for c in contexts]
    rows, owners, positions, ids = [], [], [], []
    asked = 0
    for owner, (context, texts, read) in enumerate(
        zip(contexts, choices, vectors, strict=True)
    ):
        if _is_single(texts):
            rows.append(context)
            owners.append(owner)
            positions += [[asked]] * len(texts)
            asked += 1
        else:
            for text, z in zip(texts, read, strict=True):
                text = torch.tensor(text[:-1], dtype=torch.long, device=device)
                known = embed(text) if z is None else z[:-1]
                rows.append(torch.cat([context, known]))
                owners.append(owner)
                positions.append(range(asked, asked + len(known) + 1))
                asked += len(known) + 1
        ids += texts
    past = past_mask = None
    if before is not None:
        past, past_mask = before
        # Of a head that all contexts share there is one row.
        kept = torch.tensor(owners if share else [0] * len(owners), device=device)
        past.batch_select_indices(kept)
        past_mask = past_mask[kept]
    embeds, mask = pad_rows(rows, "right")
    wanted = torch.zeros_like(mask)
    for row, owner in enumerate(owners):
        wanted[row, len(contexts[owner]) - 1 : len(rows[row])] = True
    logits = logits_at(model, embeds, mask, wanted, past, past_mask)
    flat = torch.tensor([i for row in positions for i in row], device=device)
    tokens = torch.tensor([token for row in ids for token in row], device=device)
    log_probs = logits.log_softmax(-1)[flat, tokens].double()
    sums = iter(x.sum().item() for x in log_probs.split([len(row) for row in ids]))
    return [[next(sums) for _ in row] for row in choices]
