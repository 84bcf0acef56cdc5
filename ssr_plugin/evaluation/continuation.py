"""What the LLM makes of the vectors: its loss on the second half of an utterance."""

import torch
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.models.scoring import token_log_probs

CONTEXTS = ("text", "speech", "none")


class ContinuationLoss:
    """Loss per token of second halves, given first halves as text, vectors or nothing.

    The LLM profits from the vectors by as much as "speech" lies below "none"; "text" is
    the best to hope for. Each context starts with the LLM's ``start_id``.

    Arguments
    ---------
    llm : ssr_plugin.models.llm.TextLLM
    batch_size : int
        Sequences that go through the LLM at once.

    Example
    -------
    >>> from ssr_plugin.models.llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> loss = ContinuationLoss(llm)
    >>> tokens = torch.tensor([5, 6, 7, 8])
    >>> loss.add(llm.embed(tokens), tokens)
    >>> nll = loss.summary()
    >>> nll["text"] == nll["speech"] and nll["text"] != nll["none"]
    True
    """

    def __init__(self, llm, batch_size=24):
        self.llm = llm
        self.model = llm.load_model()
        self.batch_size = batch_size
        self.sums = dict.fromkeys(CONTEXTS, 0.0)
        self.count = 0
        self._waiting = []

    def add(self, vectors, tokens):
        """Adds an utterance; one of a single token has no halves and is left out.

        Arguments
        ---------
        vectors : torch.Tensor
            [N, H]
        tokens : torch.Tensor
            [N] int
        """
        half = len(tokens) // 2
        if not half:
            return
        start = self.llm.embed(tokens.new_tensor([self.llm.start_id]))
        end = self.llm.embed(tokens[half:-1])
        firsts = {
            "text": self.llm.embed(tokens[:half]),
            "speech": vectors[:half].to(start.dtype),
            "none": start[:0],
        }
        for context in CONTEXTS:
            embeddings = torch.cat([start, firsts[context], end])
            self._waiting.append((context, embeddings, tokens[half:]))
        self.count += len(tokens) - half
        if len(self._waiting) >= self.batch_size:
            self._score()

    @torch.no_grad()
    def _score(self):
        contexts, embeddings, targets = zip(*self._waiting, strict=True)
        self._waiting = []
        lengths = [len(x) for x in embeddings]
        mask = pad_sequence([torch.ones(n, dtype=torch.bool) for n in lengths], True)
        padded = torch.full(mask.shape, -1)
        for row, (length, ids) in enumerate(zip(lengths, targets, strict=True)):
            padded[row, length - len(ids) : length] = ids
        device = embeddings[0].device
        scores = token_log_probs(
            self.model,
            pad_sequence(embeddings, batch_first=True),
            mask.to(device),
            padded.to(device),
        )
        for context, row in zip(contexts, scores, strict=True):
            self.sums[context] -= row.double().sum().item()

    def summary(self):
        """The losses over all utterances so far.

        Returns
        -------
        dict
            "text", "speech", "none": nats per token, None without any; "gain_kept":
            share of text's gain over nothing that the vectors give, in %.
        """
        if self._waiting:
            self._score()
        if not self.count:
            return dict.fromkeys((*CONTEXTS, "gain_kept"))
        nll = {context: total / self.count for context, total in self.sums.items()}
        gain = nll["none"] - nll["text"]
        kept = 100 * (nll["none"] - nll["speech"]) / gain if gain > 0 else None
        return {**nll, "gain_kept": kept}
