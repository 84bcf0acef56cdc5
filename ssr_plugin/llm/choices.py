"""Log-likelihoods of several texts after one context, which the LLM reads once."""

import copy
import itertools
import math

import torch
from transformers import DynamicCache

from ssr_plugin.llm.memory import positions_at_once
from ssr_plugin.llm.next_token import chosen_log_probs
from ssr_plugin.llm.packing import send
from ssr_plugin.llm.scoring import cache_argument, pad_rows, states_at


@torch.no_grad()
def score_choices(model, embed, contexts, choices, vectors=None, batch_size=None):
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
    batch_size : int or None
        Texts that are scored together, unless one context has more. Those of one token
        each count as one, since one position tells of them all. None: as many as the
        memory of the device takes.

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
    most = positions_at_once(model)
    batch_size = batch_size or most
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
        for group in _groups(indices, widths, lengths, batch_size, most):
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
    runs, common = [], _common_lengths(contexts)
    for i, context in enumerate(contexts):
        if runs:
            run, head = runs[-1]
            # What all of a run have in common, the last of it has.
            head = min(head, common[i - 1], len(context) - 1)
            if all(widths[j] * (len(contexts[j]) - head) <= head for j in (run[0], i)):
                runs[-1] = ([*run, i], head)
                continue
        runs.append(([i], len(context) - 1))
    return runs


def _common_lengths(contexts):
    """How many positions each context has in common with the next, at its beginning."""
    counts = []
    for one, two in itertools.pairwise(contexts):
        most = min(len(one), len(two))
        same = (one[:most] == two[:most]).all(1)
        counts.append(same.long().cumprod(0).sum())
    return torch.stack(counts).tolist() if counts else []


def _groups(indices, widths, lengths, batch_size, most):
    """Runs of contexts that go through together, in bounded memory."""
    group, count = [], 0
    for i in indices:
        more = widths[i]
        # The last is the longest.
        full = count + more > batch_size or (count + more) * lengths[i] > most
        if group and full:
            yield group
            group, count = [], 0
        group.append(i)
        count += more
    if group:
        yield group


def _read(contexts, model):
    """Keys and values of contexts, and where they are no padding, on the left."""
    past = DynamicCache()
    embeds, mask = pad_rows(contexts, "left")
    nothing = torch.zeros(0, dtype=torch.long, device=mask.device)
    states_at(model, embeds, mask, nothing, past, mask[:, :0])
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
    width = mask.shape[1]
    places = [
        row * width + position
        for row, owner in enumerate(owners)
        for position in range(len(contexts[owner]) - 1, len(rows[row]))
    ]
    (places,) = send(device, torch.tensor(places))
    states = states_at(model, embeds, mask, places, past, past_mask)
    flat = [i for row in positions for i in row]
    tokens = [token for row in ids for token in row]
    scores = iter(chosen_log_probs(model, states, flat, tokens).double().tolist())
    sums = (math.fsum(itertools.islice(scores, len(row))) for row in ids)
    return [[next(sums) for _ in row] for row in choices]
