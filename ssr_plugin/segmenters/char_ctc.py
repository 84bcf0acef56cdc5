"""Segments from a hypothesis: characters by CTC, tokens by the LLM's tokenizer."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from ssr_plugin.alignment.ctc import viterbi, with_star
from ssr_plugin.alignment.ctc_characters import label_times, spread_characters
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.segmenters.base import (
    Segmentation,
    SegmentationError,
    Segments,
)
from ssr_plugin.segmenters.character_segmenter import (
    CharacterSegmenter,
    check_fit,
    check_memory,
)
from ssr_plugin.segmenters.forced import ForcedSegmenter
from ssr_plugin.segmenters.network_segmenter import FrameNetworkSegmenter
from ssr_plugin.segmenters.posteriors import token_posteriors
from ssr_plugin.segmenters.spikes import runs_of_labels

BLANK = 0


class CharCTCSegmenter(CharacterSegmenter, FrameNetworkSegmenter):
    """Characters by CTC (Graves et al., 2006), then the tokens of what they spell.

    As in Tan et al. (arXiv 2410.00168): the most likely characters are the hypothesis,
    the LLM's tokenizer cuts it into tokens, and the characters' times cut the frames.
    Where the text is known, :meth:`align_text` finds it with Viterbi's search.

    Arguments
    ---------
    input_size, llm, frame_rate, **options
        Of :class:`ssr_plugin.segmenters.character_segmenter.CharacterSegmenter`.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> segmenter = CharCTCSegmenter(6, llm, 50.0, alphabet=" ab", width=8, num_heads=2)
    >>> len(segmenter.segment_frames(torch.rand(1, 9, 6), torch.tensor([9])))
    1
    >>> [index for index, _, _ in segmenter.align_text(torch.rand(9, 6), "a bé")]
    [0, 2, 3]
    """

    def __init__(self, input_size, llm, frame_rate, **options):
        super().__init__(input_size, llm, frame_rate, **options)
        self._cut = ForcedSegmenter(input_size, llm, frame_rate, text_case="as_is")

    def stream_windows(self):
        """Refused: its tokens are cut in a text whose beginning must be known."""
        raise ValueError(
            "the segmenter char_ctc cuts the text of a whole recording into tokens, "
            "which a stream's windows do not hold: take subword_ctc, boundary, fixed "
            "or asr"
        )

    def make_symbols(self):
        """See :meth:`CharacterSegmenter.make_symbols`."""
        self.output = nn.Linear(self.network.width, len(self.alphabet) + 1)

    def log_probs(self, states):
        """[..., width] to [..., C] float32."""
        return self.output(states).float().log_softmax(-1)

    def loss(self, features, lengths, boundaries, starts, tokens):
        """See :meth:`TrainableSegmenter.loss`: CTC, per character."""
        states, lengths = self.network(features, lengths)
        texts = [self.spell(row[row >= 0]) for row in tokens]
        targets = [[self.labels[c] for c in t if c in self.labels] for t in texts]
        counts = torch.tensor([len(t) for t in targets], device=states.device)
        loss = F.ctc_loss(
            self.log_probs(states).transpose(0, 1),
            torch.tensor(sum(targets, []), device=states.device),
            lengths,
            counts,
            blank=BLANK,
            reduction="sum",
            zero_infinity=True,
        )
        return loss / counts.sum().clamp_min(1)

    def find(self, states, labels):
        """See :meth:`CharacterSegmenter.find`."""
        repeats = sum(a == b for a, b in itertools.pairwise(labels))
        check_fit(len(labels) + repeats, len(states))
        check_memory(len(states) * (2 * len(labels) + 1))
        return viterbi(with_star(self.log_probs(states)).cpu(), labels, BLANK)

    def times(self, runs):
        """See :meth:`CharacterSegmenter.times`, and :func:`label_times`."""
        step = self.stack / self.frame_rate
        return label_times(runs, step, self.start_offset, self.end_offset)

    def segment_states(self, states, num_frames):
        """See :meth:`FrameNetworkSegmenter.segment_states`."""
        log_probs, best = self.log_probs(states).max(-1)
        labels, first, last = runs_of_labels(best, BLANK)
        text = "".join(self.alphabet[i - 1] for i in labels)
        spoken = [i for i, character in enumerate(text) if not character.isspace()]
        times = self.times([(first[i], last[i] + 1) for i in spoken])
        duration = num_frames / self.frame_rate
        # One frame tells a label; those beside it are often half blank.
        sure = log_probs.exp().cpu()
        confidences = {i: float(sure[first[i] : last[i] + 1].max()) for i in spoken}
        units = tuple(
            Unit(text[i], start, end, i, confidences[i])
            for i, start, end in spread_characters(
                [(i, i + 1) for i in spoken], times, duration
            )
        )
        try:
            alignment = Alignment("", text, units, "char", duration)
            tokenized = self._cut.tokenize(text)
            segments = self._cut.segment(alignment, num_frames, tokenized)
        except SegmentationError:
            # Silence, or more tokens than frames: there is nothing to read.
            return Segmentation(Segments.none(), text.strip())
        posteriors = token_posteriors(self._cut, alignment, tokenized)
        return Segmentation(segments, text.strip(), posteriors)
