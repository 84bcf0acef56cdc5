"""What an LLM expects helps to choose among a recogniser's hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.alignment.record import Alignment
from ssr_plugin.llm.scoring import token_log_probs
from ssr_plugin.recognizers.base import Rescorer
from ssr_plugin.segmenters.forced import ForcedSegmenter
from ssr_plugin.segmenters.marks import as_read

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM

# Nats of what has no words: any that has some is chosen before it.
_NO_WORDS = -1e4


class LLMRescorer(Rescorer):
    """How likely an LLM finds hypotheses, as it will read them.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
        Asked without adapters, so that what is heard does not change by tuning it.
    weight : float
        Of its log-probabilities.
    cutter : ssr_plugin.segmenters.forced.ForcedSegmenter
        Makes tokens of a text.
    marks : bool
        Of :class:`ASRSegmenter`.

    Raises
    ------
    ValueError
        If the weight is negative.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> cutter = ForcedSegmenter(6, llm, frame_rate=50.0)
    >>> rescorer = LLMRescorer(llm, 0.5, cutter, marks=True)
    >>> texts = "one", "one two"
    >>> said = [Alignment("", text, (), "word", 1.0) for text in texts]
    >>> short, long = rescorer.score(said)
    >>> 0 > short > long
    True
    """

    def __init__(
        self, llm: TextLLM, weight: float, cutter: ForcedSegmenter, marks: bool
    ) -> None:
        if weight < 0:
            raise ValueError(f"llm_weight is {weight}: give 0 or more")
        self.llm = llm
        self.weight = weight
        self.cutter = cutter
        self.marks = marks

    def settings(self) -> dict[str, Any]:
        """See :meth:`Rescorer.settings`."""
        return {
            "llm": self.llm.fingerprint,
            "llm_weight": self.weight,
            "marks": self.marks,
            "text_case": self.cutter.text_case,
            "prefix": self.cutter.prefix,
        }

    @torch.no_grad()
    def score(self, hypotheses: Sequence[Alignment]) -> list[float]:
        """See :meth:`Rescorer.score`."""
        texts = [
            torch.tensor([self.llm.start_id, *self.cutter.tokenize(said.text)[0]])
            for said in (as_read(each, self.marks) for each in hypotheses)
        ]
        lengths = torch.tensor([len(ids) for ids in texts])
        ids = pad_sequence(texts, batch_first=True)
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        targets = ids.roll(-1, 1).masked_fill(~mask.roll(-1, 1), -1)
        targets[:, -1] = -1
        with self.llm.base_model() as llm:
            model = llm.load_model()
            device = llm.embedding.weight.device
            found = token_log_probs(
                *(model, llm.embed(ids.to(device))),
                *(mask.to(device), targets.to(device)),
            )
        scores = (self.weight * found.sum(1)).cpu()
        # Marks alone are no words, and nothing is unlikely about them.
        told: list[float] = scores.where(lengths > 1, _NO_WORDS).tolist()
        return told
