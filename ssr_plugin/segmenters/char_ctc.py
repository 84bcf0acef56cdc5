"""Segments from a hypothesis: characters by CTC, tokens by the LLM's tokenizer."""

import torch
import torch.nn.functional as F
from torch import nn

from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.segmenters.forced import (
    ForcedSegmenter,
    SegmentationError,
    Segments,
)
from ssr_plugin.segmenters.spikes import runs_of_labels
from ssr_plugin.segmenters.trained import TrainedSegmenter


class CharCTCSegmenter(TrainedSegmenter):
    """Characters by CTC (Graves et al., 2006), then the tokens of what they spell.

    As in Tan et al. (arXiv 2410.00168): the most likely characters are the hypothesis,
    the LLM's tokenizer cuts it into tokens, and the characters' times cut the frames.

    Arguments
    ---------
    input_size, llm, frame_rate, **network
        Of :class:`ssr_plugin.segmenters.trained.TrainedSegmenter`.
    alphabet : str
        The characters; learnt from the training text where empty.
    offset : float
        Added to all times, in ms: CTC tells a character when it is sure of it.

    Example
    -------
    >>> from ssr_plugin.models.llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> segmenter = CharCTCSegmenter(6, llm, 50.0, alphabet=" ab", width=8, num_heads=2)
    >>> len(segmenter.segment_frames(torch.rand(1, 9, 6), torch.tensor([9])))
    1
    """

    def __init__(self, input_size, llm, frame_rate, alphabet="", offset=0.0, **network):
        super().__init__(input_size, llm, frame_rate, **network)
        self.offset = offset
        self.set_alphabet(alphabet)
        self._cut = ForcedSegmenter(self.tokenizer, frame_rate, text_case="as_is")

    def set_alphabet(self, alphabet):
        """Makes the output layer; label 0 is CTC's blank."""
        self.alphabet = "".join(sorted(set(alphabet)))
        self.labels = {character: i + 1 for i, character in enumerate(self.alphabet)}
        self.output = nn.Linear(self.network.width, len(self.alphabet) + 1)

    def learn_symbols(self, segments):
        """See :meth:`TrainedSegmenter.learn_symbols`: the characters of the text."""
        seen = set()
        for each in segments:
            seen |= set(self.spell(each.tokens))
        self.set_alphabet("".join(seen))

    def symbols(self):
        """See :meth:`TrainedSegmenter.symbols`."""
        return {"alphabet": self.alphabet, "offset": self.offset}

    def spell(self, tokens):
        """The text of some tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()

    def log_probs(self, states):
        """[..., width] to [..., C] float32."""
        return self.output(states).float().log_softmax(-1)

    def loss(self, features, lengths, boundaries, starts, tokens):
        """See :meth:`TrainedSegmenter.loss`: CTC, per character."""
        states, lengths = self.network(features, lengths)
        texts = [self.spell(row[row >= 0]) for row in tokens]
        targets = [[self.labels[c] for c in t if c in self.labels] for t in texts]
        counts = torch.tensor([len(t) for t in targets], device=states.device)
        loss = F.ctc_loss(
            self.log_probs(states).transpose(0, 1),
            torch.tensor(sum(targets, []), device=states.device),
            lengths,
            counts,
            reduction="sum",
            zero_infinity=True,
        )
        return loss / counts.sum().clamp_min(1)

    def segment_states(self, states, num_frames):
        """See :meth:`TrainedSegmenter.segment_states`."""
        labels, first, last = runs_of_labels(self.log_probs(states).argmax(-1))
        text = "".join(self.alphabet[i - 1] for i in labels)
        step = self.stack / self.frame_rate
        shift = self.offset / 1000
        duration = num_frames / self.frame_rate
        units, ended = [], 0.0
        for place, (character, a, b) in enumerate(zip(text, first, last, strict=True)):
            start = min(max(a * step + shift, ended), duration)
            ended = min(max((b + 1) * step + shift, start), duration)
            if not character.isspace():
                units.append(Unit(character, start, ended, place))
        try:
            alignment = Alignment("", text, tuple(units), "char", duration)
            return self._cut.segment(alignment, num_frames)
        except SegmentationError:
            # Silence, or more tokens than frames: there is nothing to read.
            return Segments.none()
