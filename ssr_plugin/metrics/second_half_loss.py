"""What the LLM makes of the vectors: its loss on the second half of an utterance."""

import math

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.llm.scoring import token_log_probs
from ssr_plugin.metrics.intervals import interval, kept_share, resample_sums

CONTEXTS = ("text", "speech", "none")


class SecondHalfLoss:
    """Loss per token of second halves, given first halves as text, vectors or nothing.

    The LLM profits from the vectors by as much as "speech" lies below "none"; "text" is
    the best to hope for. Each context starts with the LLM's ``start_id``.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    batch_size : int
        Sequences that go through the LLM at once.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> loss = SecondHalfLoss(llm)
    >>> tokens = torch.tensor([5, 6, 7, 8])
    >>> loss.add(llm.embed(tokens[:2]), tokens)
    >>> nll = loss.summary()
    >>> nll["text"] == nll["speech"] and nll["text"] != nll["none"]
    True
    """

    def __init__(self, llm, batch_size=96):
        self.llm = llm
        self.batch_size = batch_size
        # Of each utterance, in nats, and the tokens of its second half.
        self.losses = {context: [] for context in CONTEXTS}
        self.counts = []
        self._waiting = []

    def add(self, speech, tokens, cascade=None, lm_fusion=None):
        """Adds an utterance; one of a single token has no halves and is left out.

        Arguments
        ---------
        speech : torch.Tensor
            [M, H], the vectors of the first half's speech, :func:`first_half` of it.
        tokens : torch.Tensor
            [N] int, the transcript's.
        cascade : torch.Tensor or None
            [K] int, what a segmenter's hypothesis says of the first half. Its loss is
            that of all utterances: where one has none, none is given.
        lm_fusion : torch.Tensor or None
            [M, H], as ``speech``, read with LM fusion.
        """
        half = len(tokens) // 2
        if not half:
            return
        text = self.llm.embed(tokens[:half])
        firsts = {"text": text, "speech": speech, "none": text[:0]}
        if cascade is not None:
            firsts["cascade"] = self.llm.embed(cascade)
        if lm_fusion is not None:
            firsts["lm_fusion"] = lm_fusion
        for context, first in firsts.items():
            self._waiting.append((context, first, tokens))
        self.counts.append(len(tokens) - half)
        if len(self._waiting) >= self.batch_size:
            self._score()

    def _score(self):
        contexts, firsts, tokens = zip(*self._waiting, strict=True)
        self._waiting = []
        losses = second_half_losses(self.llm, firsts, tokens)
        for context, loss in zip(contexts, losses, strict=True):
            self.losses.setdefault(context, []).append(loss)

    def summary(self):
        """The losses over all utterances so far.

        Returns
        -------
        dict
            "text", "speech", "none", and "cascade" and "lm_fusion" if all had one:
            nats per token, None without any; "gain_kept", "cascade_kept" and
            "lm_fusion_kept": the share of text's gain over nothing that the vectors,
            the cascade and vectors with LM fusion give, in %; "ahead": how many of
            those points the vectors are ahead of the cascade. Of all but "cascade_kept"
            the 95 % "..._interval", too, by bootstrap over utterances.
        """
        if self._waiting:
            self._score()
        if not self.counts:
            return dict.fromkeys((*CONTEXTS, "gain_kept"))
        # A cascade that some utterances lack would be divided by the tokens of all.
        losses = {
            context: values
            for context, values in self.losses.items()
            if len(values) == len(self.counts)
        }
        values = np.array([*losses.values(), self.counts]).T
        draws = resample_sums(values, range(len(values)))
        nll, likely = (
            dict(zip(losses, (sums[..., :-1] / sums[..., -1:]).T, strict=True))
            for sums in (values.sum(0), draws)
        )
        summary = {context: float(loss) for context, loss in nll.items()}
        kept, drawn = _kept(nll), _kept(likely)
        summary["gain_kept"] = _number(kept["speech"])
        summary["gain_kept_interval"] = interval(drawn["speech"])
        if "lm_fusion" in kept:
            summary["lm_fusion_kept"] = _number(kept["lm_fusion"])
            summary["lm_fusion_kept_interval"] = interval(drawn["lm_fusion"])
        if "cascade" in kept:
            summary["cascade_kept"] = _number(kept["cascade"])
            summary["ahead"] = _number(kept["speech"] - kept["cascade"])
            summary["ahead_interval"] = interval(drawn["speech"] - drawn["cascade"])
        return summary


def _kept(nll):
    """The share of text's gain over nothing that each context keeps, in %."""
    return {
        context: gain_kept(loss, nll["text"], nll["none"])
        for context, loss in nll.items()
    }


def gain_kept(loss, text, none):
    """The share of the text's gain over nothing that is kept, in %.

    Arguments
    ---------
    loss, text, none : array-like
        Losses of second halves, given first halves as something, as text, and left out.

    Returns
    -------
    numpy.ndarray
        NaN where the text gains nothing.

    Example
    -------
    >>> float(gain_kept(4.0, text=2.0, none=10.0))
    75.0
    """
    loss, text, none = (np.asarray(x, dtype=float) for x in (loss, text, none))
    return kept_share(-loss, -text, -none)


@torch.no_grad()
def second_half_losses(llm, firsts, tokens):
    """The loss of each second half, given something for the first.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM or ssr_plugin.llm.tuning.TunedLLM
    firsts : list of torch.Tensor
        [M, H] of each utterance: what stands for the first half of its tokens.
    tokens : list of torch.Tensor
        [N] int of each: the transcript's, two or more. The second half is the longer
        one.

    Returns
    -------
    list of float
        Nats, summed over the second half's tokens.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> tokens = torch.tensor([5, 6, 7])
    >>> (loss,) = second_half_losses(llm, [llm.embed(tokens[:1])], [tokens])
    >>> loss > 0
    True
    """
    start = llm.embed(tokens[0].new_tensor([llm.start_id]))
    embeddings = [
        torch.cat([start, first.to(start.dtype), llm.embed(ids[len(ids) // 2 : -1])])
        for first, ids in zip(firsts, tokens, strict=True)
    ]
    lengths = [len(x) for x in embeddings]
    mask = pad_sequence([torch.ones(n, dtype=torch.bool) for n in lengths], True)
    targets = torch.full(mask.shape, -1)
    for row, (length, ids) in enumerate(zip(lengths, tokens, strict=True)):
        second = ids[len(ids) // 2 :]
        targets[row, length - len(second) : length] = second
    scores = token_log_probs(
        llm.load_model(),
        pad_sequence(embeddings, batch_first=True),
        mask.to(start.device),
        targets.to(start.device),
    )
    return (-scores.double().sum(1)).tolist()


def _number(value):
    """None for what is no number, as in JSON."""
    return None if math.isnan(value) else float(value)


def first_half(starts, boundaries, reference):
    """Which segments are spoken in the first half of a transcript's tokens.

    Arguments
    ---------
    starts, boundaries : torch.Tensor
        [M] int, first and last frames of some segments.
    reference : torch.Tensor
        [N] int, the first frames of the transcript's own segments; at least one.

    Returns
    -------
    torch.Tensor
        [M] bool: whether a segment's middle is before the second half.

    Example
    -------
    >>> starts, boundaries = torch.tensor([0, 5, 9]), torch.tensor([4, 8, 12])
    >>> first_half(starts, boundaries, torch.tensor([0, 7]))
    tensor([ True,  True, False])
    """
    return (starts + boundaries) / 2 < reference[len(reference) // 2]
