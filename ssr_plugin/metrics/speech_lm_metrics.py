"""What an LLM makes of speech: what it expects as it listens, and what it writes."""

import torch
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.languages import ENGLISH
from ssr_plugin.llm.scoring import token_log_probs
from ssr_plugin.metrics.prompted_wer import PromptedWER
from ssr_plugin.metrics.second_half_loss import SecondHalfLoss


class SpeechLMMetrics:
    """Scores an LLM, tuned or not, on speech that has become vectors.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM or ssr_plugin.llm.tuning.TunedLLM
    ask : callable or None
        Vectors [M, H] -> [L, H], with which the LLM is asked for a transcript after its
        start token. None asks for none.
    forced : bool
        Whether there is one vector for each token of the transcript.
    language : str
        BCP-47 code of what is spoken.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> tokens = torch.tensor([5, 6, 7, 8])
    >>> scores = SpeechLMMetrics(llm, ask=None, forced=True)
    >>> scores.add(["a"], [llm.embed(tokens)], [torch.arange(4) < 2], [tokens])
    >>> figures = scores.summary()
    >>> figures["speech_loss"] == figures["text_loss"] > 0
    True
    """

    def __init__(self, llm, ask, forced, language=ENGLISH):
        self.llm = llm
        self.ask = ask
        self.forced = forced
        self.continuation = SecondHalfLoss(llm)
        self.prompted = None
        if ask is not None:
            self.prompted = PromptedWER(llm, prompt="", language=language)
        self.sums = {"speech": 0.0, "text": 0.0}
        self.tokens = self.utterances = 0

    def add(self, names, vectors, firsts, tokens):
        """Adds utterances, which go through the LLM together.

        Arguments
        ---------
        names : list of str
        vectors : list of torch.Tensor
            [M, H] of each utterance.
        firsts : list of torch.Tensor
            [M] bool of each: whether a vector is spoken in the first half.
        tokens : list of torch.Tensor
            [N] int of each, the transcript's.
        """
        if self.forced:
            self._listen("speech", vectors, tokens)
            self._listen("text", [self.llm.embed(ids) for ids in tokens], tokens)
            self.tokens += sum(map(len, tokens))
        for rows, first, ids in zip(vectors, firsts, tokens, strict=True):
            self.continuation.add(rows[first], ids)
        if self.prompted is not None:
            self.prompted.add([self.ask(x) for x in vectors], tokens)
        self.utterances += len(names)

    def _listen(self, kind, vectors, tokens):
        """The loss of each token, given what comes before it."""
        targets = pad_sequence(tokens, batch_first=True, padding_value=-1)
        start = self.llm.embed(targets.new_full((1,), self.llm.start_id))
        rows = [torch.cat([start, x[:-1].to(start.dtype)]) for x in vectors]
        embeds = pad_sequence(rows, batch_first=True)
        model = self.llm.load_model()
        scores = token_log_probs(model, embeds, targets >= 0, targets)
        self.sums[kind] -= scores.double().sum().item()

    def summary(self):
        """The figures over all utterances so far.

        Returns
        -------
        dict
            Of forced segments "speech_loss" and "text_loss": nats per token, each
            given those before it as vectors or as the embeddings of the transcript;
            "nll", as :meth:`SecondHalfLoss.summary` gives it; "prompted_wer" and
            "prompted_wer_whisper", in %; "utterances". None where there is nothing to
            divide by.
        """
        figures = {}
        if self.forced:
            for kind, total in self.sums.items():
                figures[f"{kind}_loss"] = total / self.tokens if self.tokens else None
        figures["nll"] = self.continuation.summary()
        if self.prompted is not None:
            figures |= self.prompted.summary()
        return {**figures, "utterances": self.utterances}
