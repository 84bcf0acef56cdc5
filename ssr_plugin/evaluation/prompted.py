"""Word error rate of what the LLM writes when it is asked what it heard."""

import torch
from speechbrain.utils.metric_stats import ErrorRateStats
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.models.through import transcribe

# A transcript may have so many tokens for each vector, and more, before it is cut off.
_LONGER, _MORE = 1.3, 5


class PromptedWER:
    """WER of transcripts that an LLM writes after speech and a prompt.

    Arguments
    ---------
    llm : ssr_plugin.models.llm.TextLLM
    prompt : str
        Text between speech and transcript.

    Example
    -------
    >>> from ssr_plugin.models.llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> words = PromptedWER(llm)
    >>> tokens = torch.tensor([29, 30])
    >>> words.add(["a"], [llm.embed(tokens)], [tokens])
    >>> words.summary() > 0
    True
    """

    def __init__(self, llm, prompt="\n"):
        self.llm = llm
        self.prompt = prompt
        self.words = ErrorRateStats()
        self.count = 0

    def add(self, names, vectors, tokens):
        """Lets the LLM write what was said in some utterances.

        Arguments
        ---------
        names : list of str
        vectors : list of torch.Tensor
            [M, H] of each utterance; M may be 0.
        tokens : list of torch.Tensor
            [N] int of each, the reference's.
        """
        table = self.llm.table()
        written = transcribe(
            self.llm,
            pad_sequence(vectors, batch_first=True).to(table),
            torch.tensor([len(x) for x in vectors]),
            max_new_tokens=[round(_LONGER * len(x)) + _MORE for x in vectors],
            prompt=self.prompt,
        )
        said = [self.llm.tokenizer.decode(x) for x in tokens]
        self.words.append(
            names, [text.split() for text in written], [text.split() for text in said]
        )
        self.count += len(names)

    def summary(self):
        """The WER over all utterances so far, %; None without any."""
        return self.words.summarize()["error_rate"] if self.count else None
