"""Probabilities of tokens, from those of the words or characters that they spell."""

from __future__ import annotations

import math

import numpy as np

from ssr_plugin.alignment.record import Alignment
from ssr_plugin.segmenters.base import Tokenized, TokenPosteriors
from ssr_plugin.segmenters.forced import ForcedSegmenter

# Probabilities are kept off 0 and 1, whose logarithms say too much.
_LEAST = 1e-4


def token_posteriors(
    cutter: ForcedSegmenter, said: Alignment, tokenized: Tokenized | None = None
) -> TokenPosteriors:
    """How probable each token of a hypothesis is, and what may stand in its place.

    A token is as sure as all units together of which it has a letter. Alternatives are
    those of words: the k-th token of another word stands in the place of the k-th.

    Arguments
    ---------
    cutter : ssr_plugin.segmenters.forced.ForcedSegmenter
        That cuts the hypothesis into tokens.
    said : ssr_plugin.alignment.record.Alignment
        The hypothesis; its units have confidences, and may have alternatives.
    tokenized : tuple or None
        What the cutter's ``tokenize`` gives for its text, if that is known.

    Returns
    -------
    TokenPosteriors
        Of each token of the hypothesis, which comes first even where another is
        likelier.

    Example
    -------
    >>> from ssr_plugin.alignment.record import Unit
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> cutter = ForcedSegmenter(4, TextLLM(getfixture("tiny_llm_folder")), 50.0)
    >>> units = [Unit("a", 0.0, 0.1, 0, 0.5, (("b", 0.25),)), Unit("c", 0.1, 0.2, 2)]
    >>> said = Alignment("", "a c", tuple(units), "word", 1.0)
    >>> found = token_posteriors(cutter, said)
    >>> np.exp(found.log_probs).round(2).tolist()
    [[0.5, 0.25], [1.0, 0.0]]
    """
    tokens, spans = tokenized or cutter.tokenize(said.text)
    scored: list[dict[int, float]] = [{} for _ in tokens]
    sure = [1.0 for _ in tokens]
    for unit in said.units:
        stop = unit.offset + len(unit.text)
        inside = [
            i
            for i, (first, last) in enumerate(spans)
            if first < stop and last > unit.offset
        ]
        for text, probability in unit.alternatives:
            others = cutter.tokenize(text)[0] if text else []
            for i, token in zip(inside, others, strict=False):
                scored[i][token] = scored[i].get(token, 0.0) + probability
        for i in inside:
            sure[i] *= 1.0 if unit.confidence is None else unit.confidence
    ranked = []
    for token, confidence, masses in zip(tokens, sure, scored, strict=True):
        masses.pop(token, None)
        likeliest = sorted(masses.items(), key=lambda item: -item[1])
        ranked.append([(token, confidence), *likeliest])
    most = max(map(len, ranked), default=1)
    ids = np.zeros((len(tokens), most), dtype=np.int64)
    log_probs = np.full((len(tokens), most), -np.inf, dtype=np.float32)
    for i, row in enumerate(ranked):
        for k, (token, probability) in enumerate(row):
            ids[i, k] = token
            log_probs[i, k] = math.log(min(max(probability, _LEAST), 1 - _LEAST))
    return TokenPosteriors(ids, log_probs)
