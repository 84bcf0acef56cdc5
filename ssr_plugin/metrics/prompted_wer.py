"""Word error rate of what the LLM writes when it is asked what it heard."""

import torch
from speechbrain.utils.edit_distance import count_ops, op_table
from speechbrain.utils.metric_stats import ErrorRateStats
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.alignment.record import sayable
from ssr_plugin.llm.generation import transcribe


def transcript_limit(count):
    """How many tokens a transcript may have before it is cut off.

    Arguments
    ---------
    count : int
        Vectors that are transcribed, one for each token or so.

    Returns
    -------
    int

    Example
    -------
    >>> transcript_limit(10)
    18
    """
    return round(1.3 * count) + 5


def word_errors(reference, hypothesis):
    """Errors and words of a transcript; case and punctuation do not count.

    Arguments
    ---------
    reference, hypothesis : str

    Returns
    -------
    errors : int
        Words that are wrong, missing or too many: the least that can be.
    words : int
        Of the reference.

    Example
    -------
    >>> word_errors("THE CAT'S MAT", "The cat's hat, there.")
    (2, 3)
    """
    said, heard = (
        [word for word in map(_letters, text.split()) if word]
        for text in (reference, hypothesis)
    )
    return sum(count_ops(op_table(said, heard)).values()), len(said)


def _letters(word):
    return "".join(character for character, _ in sayable(word))


class PromptedWER:
    """WER of transcripts that an LLM writes after speech and a prompt.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    prompt : str
        Text between speech and transcript.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
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
            max_new_tokens=[transcript_limit(len(x)) for x in vectors],
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
