"""LM fusion: what the LLM expects, multiplied into what the connector heard."""

import dataclasses
from collections.abc import Callable

import torch

from ssr_plugin.llm.next_token import read_logits
from ssr_plugin.llm.packing import can_pack, plan_layout, read_states, send
from ssr_plugin.llm.scoring import place_tokens
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.groups import split_groups

# Logits in memory at once: 256 MB in float32, a few times over.
_LOGITS = 2**26
# Longest run of vectors that the LLM reads at once, some two minutes of speech. Longer
# audio is read in several, each from a start of its own.
_LONGEST = 512


@dataclasses.dataclass(frozen=True)
class LMFusion:
    """How much the LLM's expectation adds to what was heard.

    Arguments
    ---------
    steps : int
        How often the LLM reads the vectors and corrects them; 0 leaves it out.
    weight : float
        Power of the LLM's probabilities.
    inverse_temperature : float
        Power of the probabilities that the vectors are made with in the end. Above 1
        they come nearer to the embeddings of single tokens, which LLMs know.
    """

    steps: int = 2
    weight: float = 0.7
    inverse_temperature: float = 2.0


@torch.no_grad()
def fuse_with_lm(
    llm: TextLLM,
    token_logits: Callable[[torch.Tensor], torch.Tensor],
    states: torch.Tensor,
    counts: list[int],
    settings: LMFusion,
) -> torch.Tensor:
    """Vectors from what was heard and what the frozen LLM expects after the vectors.

    The first vectors are those of what was heard alone, ``z_i = sum_v p(v | audio)
    E_v``. In each step the LLM reads the vectors so far and tells what it expects at
    each position, and ``p(v) ~ p(v | audio) p_LM(v | z_<i)^weight`` gives the next.
    Positions are read side by side, not one after another, so that a step costs what
    reading a prompt does. Nothing but audio is used.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
        The base model: as the connector learnt from it.
    token_logits : callable
        States [M, K] -> logits [M, V] of what was heard.
    states : torch.Tensor
        [M, K], those of all utterances one after another.
    counts : list of int
        How many each utterance has.
    settings : LMFusion

    Returns
    -------
    torch.Tensor
        [M, H]

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> head = torch.nn.Linear(4, llm.vocab_size)
    >>> fuse_with_lm(llm, head, torch.rand(5, 4), [3, 2], LMFusion(steps=1)).shape
    torch.Size([5, 16])
    """
    table = llm.table()
    most = max(_LOGITS // len(table), 1)
    vectors = []
    runs = [run for row in states.split(counts) for run in row.split(_LONGEST)]
    for group in split_groups(runs, len, most):
        log_probs = [token_logits(x).float().log_softmax(-1) for x in group]
        vectors += _fuse_group(llm, log_probs, table, settings)
    return torch.cat(vectors) if vectors else states.new_zeros(0, table.shape[1])


def _fuse_group(
    llm: TextLLM,
    log_probs: list[torch.Tensor],
    table: torch.Tensor,
    settings: LMFusion,
) -> list[torch.Tensor]:
    """The vectors [N, H] of each utterance of a group, given what was heard."""
    counts = [len(x) for x in log_probs]
    scores = log_probs
    if settings.steps and any(counts):
        device, model = table.device, llm.load_model()
        start = llm.embed(*send(device, torch.tensor([llm.start_id])))
        packed = can_pack(model)
        layout = plan_layout([n for n in counts if n], packed).to(device)
    for _ in range(settings.steps if any(counts) else 0):
        vectors = [x.softmax(-1).to(table.dtype) @ table for x in scores]
        inputs = [torch.cat([start, x[:-1]])[: len(x)] for x in vectors]
        embeds = place_tokens(torch.cat(inputs), layout)
        states = read_states(model, embeds, layout, layout.slots, packed)
        expected = read_logits(model, states).log_softmax(-1)
        scores = [
            x + settings.weight * prior
            for x, prior in zip(log_probs, expected.split(counts), strict=True)
        ]
    return [
        (settings.inverse_temperature * x).softmax(-1).to(table.dtype) @ table
        for x in scores
    ]
