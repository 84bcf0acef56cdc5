"""Word error rate of what the LLM writes when it is asked what it heard."""

import torch
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.llm.generation import transcribe
from ssr_plugin.metrics.wer import WordErrorRate


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


def first_line(text):
    """The transcript in what an LLM wrote: its first line, as examples teach it.

    Example
    -------
    >>> first_line("\\n the cat \\nand more")
    'the cat'
    """
    return text.strip().partition("\n")[0].strip()


class PromptedWER:
    """WER of transcripts that an LLM writes after speech and a prompt.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    prompt : str
        Text between speech and transcript.
    language : str
        BCP-47 code of what is spoken.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> prompted = PromptedWER(llm)
    >>> tokens = torch.tensor([29, 30])
    >>> prompted.add([llm.embed(tokens)], [tokens])
    >>> prompted.summary()["prompted_wer"] > 0
    True
    """

    def __init__(self, llm, prompt="\n", language="en"):
        self.llm = llm
        self.prompt = prompt
        self.rate = WordErrorRate(language)
        #: Of each utterance the reference and the first line that was written.
        self.transcripts = []

    def add(self, vectors, tokens):
        """Lets the LLM write what was said in some utterances.

        Arguments
        ---------
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
        for ids, text in zip(tokens, written, strict=True):
            reference = self.llm.tokenizer.decode(ids).strip()
            hypothesis = first_line(text)
            self.transcripts.append((reference, hypothesis))
            self.rate.add(reference, hypothesis)

    def summary(self):
        """The figures over all utterances so far.

        Returns
        -------
        dict
            "prompted_wer" and "prompted_wer_whisper", or "prompted_cer" and
            "prompted_cer_whisper" (:mod:`ssr_plugin.metrics.wer`), %; None without any
            words.
        """
        return self.rate.summary("prompted_")
