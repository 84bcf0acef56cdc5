"""How well vectors read as text: measured against the embeddings of the transcript."""

import torch
import torch.nn.functional as F

from ssr_plugin.metrics.wer import WordErrorRate
from ssr_plugin.nnet.nearest import nearest_tokens, squared_norms


class VectorMetrics:
    """Scores vectors utterance by utterance.

    Arguments
    ---------
    tokenizer : transformers.PreTrainedTokenizerFast
        Of the LLM.
    table : torch.Tensor
        [V, H], the LLM's embeddings.
    seen_tokens : torch.Tensor
        [V] bool: token types that the training data has. Accuracy is reported apart
        for the two kinds.
    language : str
        BCP-47 code of what is spoken.

    Example
    -------
    >>> from types import SimpleNamespace
    >>> words = ["a", "b", "c"]
    >>> tokenizer = SimpleNamespace(
    ...     decode=lambda ids, **options: " ".join(words[i] for i in ids)
    ... )
    >>> metrics = VectorMetrics(tokenizer, torch.eye(3), torch.tensor([True] * 3))
    >>> metrics.add("u1", torch.eye(3)[:2], torch.tensor([0, 2]), seconds=1.0)
    >>> metrics.summary()["token_accuracy"]
    50.0
    """

    def __init__(self, tokenizer, table, seen_tokens, language="en"):
        self.tokenizer = tokenizer
        self.table = table
        self.norms = squared_norms(table)
        self.seen_tokens = seen_tokens.to(table.device)
        self.rate = WordErrorRate(language)
        self.readings = []
        self.utterances = 0
        self.seconds = 0.0
        self.vectors = 0
        self.sums = {
            name: 0.0
            for name in (
                "tokens",
                "scored",
                "cosine",
                "error",
                "correct",
                "seen",
                "seen_correct",
            )
        }

    def add(self, name, vectors, tokens, seconds):
        """Scores one utterance.

        Arguments
        ---------
        name : str
            Its id.
        vectors : torch.Tensor
            [N, H]
        tokens : torch.Tensor
            [N] int, the transcript's tokens.
        seconds : float
            Length of its audio.
        """
        embeddings = self.table[tokens].float()
        nearest = self.add_reading(name, vectors, tokens, seconds)
        vectors = vectors.float()
        correct = nearest == tokens
        seen = self.seen_tokens[tokens]
        cosine = F.cosine_similarity(vectors, embeddings, dim=-1)
        for key, values in (
            ("scored", torch.ones_like(cosine)),
            ("cosine", cosine),
            ("error", (vectors - embeddings).square().sum(-1)),
            ("correct", correct),
            ("seen", seen),
            ("seen_correct", correct & seen),
        ):
            self.sums[key] += values.double().sum().item()

    def add_reading(self, name, vectors, tokens, seconds):
        """Scores one utterance whose vectors are not those of its tokens, one by one.

        Arguments
        ---------
        name, tokens, seconds
            As in :meth:`add`.
        vectors : torch.Tensor
            [M, H]

        Returns
        -------
        torch.Tensor
            [M] int, the nearest tokens.
        """
        nearest = nearest_tokens(vectors.float(), self.table, self.norms)
        self.sums["tokens"] += len(tokens)
        self.utterances += 1
        self.seconds += seconds
        self.vectors += len(vectors)
        reference = self.tokenizer.decode(tokens, skip_special_tokens=False)
        reading = self.tokenizer.decode(nearest, skip_special_tokens=False)
        self.readings.append((name, reference.strip(), reading.strip()))
        self.rate.add(reference, reading)
        return nearest

    def summary(self):
        """The figures over all utterances so far.

        Returns
        -------
        dict
            cosine; mse (squared distance, summed over dimensions); token_accuracy and
            that of seen and unseen token types, retrieval_wer and
            retrieval_wer_whisper, or retrieval_cer and retrieval_cer_whisper
            (:mod:`ssr_plugin.metrics.wer`), all in %;
            vectors_per_second (of audio); vectors_per_token; utterances. None where
            there is nothing to divide by.
        """

        def ratio(numerator, denominator, factor=1.0):
            return factor * numerator / denominator if denominator else None

        sums = self.sums
        unseen = sums["scored"] - sums["seen"]
        unseen_correct = sums["correct"] - sums["seen_correct"]
        return {
            "cosine": ratio(sums["cosine"], sums["scored"]),
            "mse": ratio(sums["error"], sums["scored"]),
            "token_accuracy": ratio(sums["correct"], sums["scored"], 100),
            "token_accuracy_seen": ratio(sums["seen_correct"], sums["seen"], 100),
            "token_accuracy_unseen": ratio(unseen_correct, unseen, 100),
            **self.rate.summary("retrieval_"),
            "vectors_per_second": ratio(self.vectors, self.seconds),
            "vectors_per_token": ratio(self.vectors, sums["tokens"]),
            "utterances": self.utterances,
        }
