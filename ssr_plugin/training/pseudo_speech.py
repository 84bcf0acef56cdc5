"""Text as vectors with the errors of speech: pseudo speech, from which stage 2 learns.

How well a connector hears is measured on held-out speech: which tokens it gives how
much of a vector, which ones it leaves out, and which it adds. A text is then read with
the errors of some such utterance, token by token, so that errors come as thickly as
they do in speech. What was heard for the right token is heard for the text's token;
what else was heard stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from speechbrain.utils.edit_distance import EDIT_SYMBOLS, alignment, op_table

from ssr_plugin.data.text_files import read_documents
from ssr_plugin.inference.posterior_gate import known_posteriors
from ssr_plugin.inference.reading import likeliest_tokens
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.segmenters.marks import words_of
from ssr_plugin.training.batch_hypotheses import hypotheses_of

# Tokens that are kept of what is heard in a segment.
_LIKELIEST = 8


@dataclasses.dataclass(frozen=True)
class HeardUtterance:
    """What was heard of an utterance whose transcript is known.

    Arguments
    ---------
    ids : numpy.ndarray
        [M, K] int, the likeliest tokens of each vector.
    shares : numpy.ndarray
        [M, K] float, of the vector; they sum to 1.
    said : numpy.ndarray
        [M] int, which of the transcript's N tokens each vector stands for, in order;
        one that was not said belongs to the token before it.
    right : numpy.ndarray
        [M, K] bool: which of ``ids`` is that token.
    count : int
        N.
    """

    ids: np.ndarray
    shares: np.ndarray
    said: np.ndarray
    right: np.ndarray
    count: int

    @classmethod
    def of(
        cls, ids: np.ndarray, shares: np.ndarray, tokens: Sequence[int]
    ) -> HeardUtterance:
        """What was heard, paired with a transcript by the fewest edits.

        Arguments
        ---------
        ids, shares : numpy.ndarray
            [M, K], the likeliest first.
        tokens : sequence of int
            [N], at least one.

        Returns
        -------
        HeardUtterance

        Example
        -------
        >>> ids, shares = np.array([[5, 6], [7, 5], [9, 8]]), np.full((3, 2), 0.5)
        >>> heard = HeardUtterance.of(ids, shares, [5, 8, 9])
        >>> heard.said.tolist(), heard.right.tolist()
        ([0, 1, 2], [[True, False], [False, False], [True, False]])
        """
        reference = [int(x) for x in tokens]
        hypothesis = ids[:, 0].tolist() if len(ids) else []
        said = np.zeros(len(ids), dtype=np.int64)
        right = np.zeros(ids.shape, dtype=bool)
        last = 0
        for operation, i, j in alignment(op_table(reference, hypothesis)):
            if operation == EDIT_SYMBOLS["del"]:
                last = i
            elif operation == EDIT_SYMBOLS["ins"]:
                said[j] = last
            else:
                last = said[j] = i
                right[j] = ids[j] == reference[i]
        return cls(ids, shares, said, right, len(reference))


@dataclasses.dataclass
class PseudoSpeech:
    """Texts, and how utterances were heard.

    Arguments
    ---------
    texts : list of numpy.ndarray
        [N] int each, tokens; at least one.
    heard : list of HeardUtterance
        At least one.

    Example
    -------
    >>> heard = HeardUtterance.of(np.array([[5, 6]]), np.array([[0.7, 0.3]]), [5, 9])
    >>> speech = PseudoSpeech([np.array([20, 21, 22])], [heard])
    >>> (ids, shares, said, tokens), = speech.draw(1)
    >>> sorted(ids[0].tolist())[0], len(ids) in (1, 2)  # every second token is lost
    (6, True)
    """

    texts: list[np.ndarray]
    heard: list[HeardUtterance]

    def draw(
        self, count: int
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Draws texts and reads them with errors; torch's generator draws.

        Arguments
        ---------
        count : int
            Of the texts' tokens, about.

        Returns
        -------
        list of (ids, shares, said, tokens)
            [M, K], [M, K] and [M] as in :class:`HeardUtterance`, and the text [N].
        """
        drawn = []
        while count > 0:
            text, pattern = (_draw(self.texts), _draw(self.heard))
            start = int(torch.randint(pattern.count, (1,)))
            drawn.append((*misheard(text, pattern, start), text))
            count -= len(text)
        return drawn


def _draw(items: Sequence[Any]) -> Any:
    return items[int(torch.randint(len(items), (1,)))]


def misheard(
    text: np.ndarray, pattern: HeardUtterance, start: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A text, heard as an utterance was, from some token of it on, again and again.

    Arguments
    ---------
    text : numpy.ndarray
        [N] int, tokens.
    pattern : HeardUtterance
    start : int
        The token of the pattern that the text's first one is heard as.

    Returns
    -------
    ids, shares : numpy.ndarray
        [M, K]
    said : numpy.ndarray
        [M] int, which of the N tokens each vector stands for.

    Example
    -------
    >>> pattern = HeardUtterance.of(np.array([[5], [9]]), np.ones((2, 1)), [5, 6, 9])
    >>> ids, _, said = misheard(np.array([20, 21, 22, 23]), pattern, start=2)
    >>> ids[:, 0].tolist(), said.tolist()
    ([20, 21, 23], [0, 1, 3])
    """
    firsts = np.searchsorted(pattern.said, np.arange(pattern.count + 1))
    like = (np.arange(len(text)) + start) % pattern.count
    rows = [np.arange(firsts[i], firsts[i + 1]) for i in like]
    said = np.repeat(np.arange(len(text)), [len(x) for x in rows])
    index = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    ids = np.where(pattern.right[index], text[said][:, None], pattern.ids[index])
    return ids, pattern.shares[index], said


@torch.no_grad()
def hear(brain: Any, loader: Iterable[Any]) -> list[HeardUtterance]:
    """How a brain's speech LM hears utterances whose transcript is known.

    Arguments
    ---------
    brain : ssr_plugin.training.finetune_brain.FinetuneBrain
        Its connector scores tokens.
    loader : iterable of PaddedBatch
        Of utterances that the connector did not learn from.

    Returns
    -------
    list of HeardUtterance
        Of segments that are found in the audio alone, if there is a segmenter; else of
        forced ones.
    """
    lm, found = brain.lm, []
    for batch in loader:
        features, lengths = brain.frames(batch)
        segments, posteriors = batch.segments, None
        if brain.segmenter is not None:
            predicted = lm.embedder.segment(
                features, lengths, True, hypotheses_of(brain, batch)
            )
            segments = [x.segments for x in predicted]
            posteriors = known_posteriors(predicted)
        boundaries, starts, _ = pad_segments(segments)
        ids, shares, kept = likeliest_tokens(
            lm.connector,
            features,
            boundaries,
            starts,
            _LIKELIEST,
            predicted=brain.segmenter is not None,
            gate=lm.embedder.gate,
            posteriors=posteriors,
        )
        ends = np.cumsum(kept.sum(1).tolist())[:-1]
        rows = zip(
            np.split(ids.cpu().numpy(), ends),
            np.split(shares.cpu().numpy(), ends),
            batch.segments,
            strict=True,
        )
        found += [HeardUtterance.of(x, y, each.tokens) for x, y, each in rows]
    return found


def read_texts(
    source: Any, transcripts: Iterable[np.ndarray], cutter: Any, longest: int
) -> list[np.ndarray]:
    """The texts of pseudo speech, as tokens of what would be said.

    Arguments
    ---------
    source : str, list, dict or None
        Of :func:`ssr_plugin.data.text_files.read_documents`; None for the transcripts.
    transcripts : iterable of numpy.ndarray
        Tokens of the training utterances.
    cutter : ssr_plugin.segmenters.forced.ForcedSegmenter
        Gives a text the tokens that it gives transcripts; marks are left out.
    longest : int
        Longer texts are cut.

    Returns
    -------
    list of numpy.ndarray
        [N] int each, two or more: one token has no halves.

    Raises
    ------
    ValueError
        If there is none.

    Example
    -------
    >>> read_texts(None, [np.array([5, 6, 7]), np.array([8])], None, 2)
    [array([5, 6])]
    """
    if source is None:
        tokens: Iterable[Any] = transcripts
    else:
        documents = read_documents(source, "pseudo_speech_source")
        tokens = (cutter.tokenize(words_of(text))[0] for text in documents)
    texts = [
        np.asarray(ids[first : first + longest], dtype=np.int64)
        for ids in tokens
        for first in range(0, len(ids), longest)
    ]
    texts = [ids for ids in texts if len(ids) > 1]
    if not texts:
        raise ValueError("pseudo_speech_source: there is no text of two tokens")
    return texts
