"""CTC prefix beam search in which an LLM says which tokens go together.

Prefix search: Hannun et al., arXiv 1408.2873. The LLM has its say by shallow fusion, as
any language model of the same tokens would.
"""

import dataclasses
import math

import numpy as np

from ssr_plugin.llm.prefixes import GrowingTexts
from ssr_plugin.nnet.groups import split_groups

# Texts that the LLM reads side by side.
_TEXTS = 64
# Most states that tell something to search through in one run: half a minute.
_LONGEST = 128


@dataclasses.dataclass
class Emissions:
    """What CTC tells at those states of an utterance that are not surely blank.

    Arguments
    ---------
    states : list of int
        [S], in order.
    blanks : list of float
        [S], log-probability of the blank at each.
    tokens : list of list of int
        [S][K], the likeliest tokens at each.
    scores : list of list of float
        [S][K], their log-probabilities.
    """

    states: list
    blanks: list
    tokens: list
    scores: list

    def __len__(self):
        return len(self.states)

    def __getitem__(self, index):
        """Those of a slice of the states."""
        fields = (self.states, self.blanks, self.tokens, self.scores)
        return Emissions(*(field[index] for field in fields))


@dataclasses.dataclass
class _Prefix:
    """A way to begin an utterance: log-probabilities that it ends in a blank or not."""

    blank: float = 0.0
    token: float = -math.inf
    # The LLM's, and that of the likeliest way to the states its tokens begin in.
    text: float = 0.0
    likeliest: float = 0.0
    states: tuple = ()
    # Its text among those that the LLM has read, or that which it adds a token to.
    row: int = 0
    added: int | None = None

    @property
    def ctc(self):
        return _log_sum(self.blank, self.token)

    @property
    def score(self):
        return self.ctc + self.text


def search_prefixes(emissions, llm, beam_size=4, weight=0.4, bonus=2.0):
    """The likeliest tokens of utterances, in what CTC hears and the LLM expects.

    Maximises ``log p_CTC(tokens) + weight log p_LM(tokens) + bonus |tokens|``.

    Arguments
    ---------
    emissions : list of Emissions
    llm : ssr_plugin.llm.text_llm.TextLLM
    beam_size : int
        Beginnings of an utterance that are kept at each state.
    weight, bonus : float

    Returns
    -------
    list of (list of int, list of int)
        Of each utterance its tokens and the states in which they begin.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> emissions = Emissions([3, 7], [-9.0, -0.1], [[5], [6]], [[-0.1], [-3.0]])
    >>> search_prefixes([emissions], llm, weight=0.0, bonus=0.0)
    [([5], [3])]
    """
    runs = [(i, run) for i, each in enumerate(emissions) for run in _cut(each)]
    runs.sort(key=lambda run: -len(run[1]))
    hypotheses = [[] for _ in emissions]
    for group in split_groups(runs, lambda run: beam_size, _TEXTS):
        batch = [run for _, run in group]
        best = _search(batch, llm, beam_size, weight, bonus)
        for (i, _), hypothesis in zip(group, best, strict=True):
            hypotheses[i].append(hypothesis)
    return [_join(runs) for runs in hypotheses]


def _cut(emissions):
    """Runs that are short enough, cut where least is told."""
    runs = []
    while len(emissions) > _LONGEST:
        gaps = np.diff(emissions.states[_LONGEST // 2 : _LONGEST + 1])
        end = _LONGEST // 2 + int(gaps.argmax()) + 1
        runs.append(emissions[:end])
        emissions = emissions[end:]
    return [*runs, emissions] if len(emissions) else runs


def _join(runs):
    """Tokens of the runs of an utterance and the states they begin in, in order."""
    runs = sorted((run for run in runs if run[0]), key=lambda run: run[1][0])
    tokens = [token for run in runs for token in run[0]]
    return tokens, [state for run in runs for state in run[1]]


def _search(emissions, llm, beam_size, weight, bonus):
    """What :func:`search_prefixes` gives, of utterances that go through together."""
    texts = GrowingTexts(llm, len(emissions))
    beams = [{(): _Prefix(row=row)} for row in range(len(emissions))]
    for step in range(max(map(len, emissions))):
        active = [i for i, each in enumerate(emissions) if step < len(each)]
        for i in active:
            utterance, beam = emissions[i], beams[i]
            states = utterance.states
            if step and states[step] > states[step - 1] + 1:
                for prefix in beam.values():
                    prefix.blank, prefix.token = prefix.ctc, -math.inf
            rows = [[prefix.row] for prefix in beam.values()]
            expected = texts.log_probs[rows, utterance.tokens[step]]
            gains = (weight * expected + bonus).tolist()
            beams[i] = _extend(beam, utterance, step, gains, beam_size)
        # Texts that are of no use any more are left behind with the next that grow.
        kept = [prefix for i in active for prefix in beams[i].values()]
        if any(prefix.added is not None for prefix in kept):
            texts.grow([x.row for x in kept], [x.added for x in kept])
            for row, prefix in enumerate(kept):
                prefix.row, prefix.added = row, None
    best = (max(beam.items(), key=lambda item: item[1].score) for beam in beams)
    return [(list(tokens), list(prefix.states)) for tokens, prefix in best]


def _extend(beam, emissions, step, gains, beam_size):
    """The best prefixes after one more state, given the LLM's say on its tokens."""
    log_probs = dict(zip(emissions.tokens[step], emissions.scores[step], strict=True))
    prefixes = {}
    for (tokens, prefix), token_gains in zip(beam.items(), gains, strict=True):
        total, last = prefix.ctc, tokens[-1] if tokens else None
        stays = _Prefix(
            total + emissions.blanks[step],
            prefix.token + log_probs.get(last, -math.inf),
            prefix.text,
            states=prefix.states,
            row=prefix.row,
        )
        stays.likeliest = stays.ctc
        _add(prefixes, tokens, stays)
        for (token, score), gain in zip(log_probs.items(), token_gains, strict=True):
            # A token that is told twice is one, unless there is a blank between.
            score = score + (prefix.blank if token == last else total)
            if score == -math.inf:
                continue
            grown = _Prefix(
                -math.inf,
                score,
                prefix.text + gain,
                score,
                (*prefix.states, emissions.states[step]),
                prefix.row,
                token,
            )
            _add(prefixes, (*tokens, token), grown)
    best = sorted(prefixes.items(), key=lambda item: -item[1].score)
    return dict(best[:beam_size])


def _add(prefixes, tokens, prefix):
    """Adds a way to a prefix to others to it, if there are any."""
    other = prefixes.get(tokens)
    if other is None:
        prefixes[tokens] = prefix
        return
    best = max(prefix, other, key=lambda way: way.likeliest)
    # A text that was read already need not be read again.
    read = prefix if prefix.added is None else other
    prefixes[tokens] = dataclasses.replace(
        best,
        blank=_log_sum(prefix.blank, other.blank),
        token=_log_sum(prefix.token, other.token),
        row=read.row,
        added=read.added,
    )


def _log_sum(a, b):
    """log(exp(a) + exp(b))"""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
