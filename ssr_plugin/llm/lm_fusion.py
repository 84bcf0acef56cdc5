"""What the LLM expects, to settle what the ear leaves open."""

import torch
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.llm.scoring import logits_at
from ssr_plugin.nnet.groups import split_groups

# Logits in memory at once: 256 MB in float32, a few times over.
_LOGITS = 2**26
# Longest run of vectors that the LLM reads at once, some two minutes of speech. Longer
# audio is read in several, each from a start of its own.
_LONGEST = 512


@torch.no_grad()
def refine(llm, score, states, counts, passes, weight, inverse_temperature=1.0):
    """Vectors from what was heard and what the frozen LLM expects after the vectors.

    A first reading is what was heard alone, ``z_i = sum_v p(v | audio) E_v``. In each
    pass the LLM reads the vectors so far and tells what it expects at each place, and
    ``p(v) ~ p(v | audio) p_LM(v | z_<i)^weight`` gives the next. Places are read side
    by side, not one after another, so that a pass costs what reading a prompt does.
    Nothing but audio is used.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    score : callable
        States [M, K] -> logits [M, V] of what was heard.
    states : torch.Tensor
        [M, K], those of all utterances one after another.
    counts : list of int
        How many each utterance has.
    passes : int
        0 leaves the LLM out.
    weight : float
    inverse_temperature : float
        Power of the probabilities that the vectors are made with in the end. Above 1
        they come nearer to the embeddings of single tokens, which LLMs know.

    Returns
    -------
    torch.Tensor
        [M, H]

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> heard = torch.nn.Linear(4, llm.vocab_size)
    >>> refine(llm, heard, torch.rand(5, 4), [3, 2], passes=1, weight=0.3).shape
    torch.Size([5, 16])
    """
    table = llm.table()
    most = max(_LOGITS // len(table), 1)
    found = []
    runs = [run for own in states.split(counts) for run in own.split(_LONGEST)]
    for part in split_groups(runs, len, most):
        heard = [score(x).float().log_softmax(-1) for x in part]
        found += _refine(llm, heard, table, passes, weight, inverse_temperature)
    return torch.cat(found) if found else states.new_zeros(0, table.shape[1])


def _refine(llm, heard, table, passes, weight, inverse_temperature):
    """The vectors [N, H] of each utterance of a group, given log-probabilities."""
    start = llm.embed(torch.tensor([llm.start_id], device=table.device))
    counts = [len(x) for x in heard]
    scores = heard
    for _ in range(passes if any(counts) else 0):
        vectors = [x.softmax(-1).to(table.dtype) @ table for x in scores]
        inputs = [torch.cat([start, x[:-1]])[: len(x)] for x in vectors]
        mask = pad_sequence([x.new_ones(len(x)).bool() for x in inputs], True)
        expected = logits_at(
            llm.load_model(), pad_sequence(inputs, batch_first=True), mask, mask
        ).log_softmax(-1)
        scores = [
            x + weight * prior
            for x, prior in zip(heard, expected.split(counts), strict=True)
        ]
    return [
        (inverse_temperature * x).softmax(-1).to(table.dtype) @ table for x in scores
    ]
