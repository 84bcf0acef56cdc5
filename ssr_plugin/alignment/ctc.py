"""Forced character alignment over any Hugging Face CTC model."""

import itertools
import pathlib

import torch
import torchaudio

from ssr_plugin.alignment.aligner_audio import read_item_audio
from ssr_plugin.alignment.base import OTHER_ALIGNERS, Aligner
from ssr_plugin.alignment.ctc_characters import (
    PAUSE,
    ctc_spelling,
    label_times,
    spread_characters,
    unknown_letters,
)
from ssr_plugin.alignment.ctc_model import CTCModel
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit
from ssr_plugin.files import digest, file_identity
from ssr_plugin.sources import pin

# Shorter audio, in s, is less than the first layers of some models can take.
SHORTEST = 0.05

# Bytes that the search may take: one for each frame and state.
MAX_TRELLIS_BYTES = 4e9


class CTCAligner(Aligner):
    """Aligns characters with the emissions of a character CTC model.

    Letters and digits outside its vocabulary are matched by a star, which may be any
    sound, as in torchaudio's ``MMS_FA``. If more than half of a transcript's letters
    are outside, it is refused: stars alone do not show when a word is said.

    Arguments
    ---------
    source : str
        Hub id or folder of a model with a CTC head (wav2vec2, HuBERT, WavLM ...).
    start_offset, end_offset : float
        Added to every start, and to ends before pauses, in ms. CTC emits a character
        inside its sound (:func:`ssr_plugin.alignment.ctc_characters.label_times`):
        compare with boundaries you trust (``python -m
        ssr_plugin.alignment.compare_alignments``) and set the bias, negated, here.
    batch_seconds : float
        Most audio in one forward pass, padding included, in s. More is faster on a
        GPU; it changes no result.
    device : str, optional
        By default the first GPU, or the CPU where there is none.

    Raises
    ------
    ValueError
        If the model's labels are not characters.
    """

    name = "ctc"
    batch_size = 32
    parallel = False
    wants_words = True

    def __init__(
        self, source, start_offset=0.0, end_offset=0.0, batch_seconds=120.0, device=None
    ):
        self.source = str(source)
        self.start_offset = start_offset
        self.end_offset = end_offset
        self.batch_seconds = batch_seconds
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = None

    def settings(self):
        """The model, its version, and the offsets."""
        folder = pathlib.Path(self.source)
        if folder.is_dir():
            files = sorted(p for p in folder.iterdir() if p.is_file())
            version = digest([file_identity(path) for path in files])
        else:
            version = pin(self.source)
        return {
            "source": self.source,
            "version": version,
            "start_offset": self.start_offset,
            "end_offset": self.end_offset,
            "pause": PAUSE,
        }

    def align(self, items):
        """See :meth:`Aligner.align`."""
        self._load()
        results = [None] * len(items)
        inputs, durations = {}, {}
        for i, item in enumerate(items):
            try:
                inputs[i], durations[i] = self._input(item)
            except AlignmentError as error:
                results[i] = error
        for batch in self._model.batches(inputs):
            emissions = self._model.emissions([inputs[i] for i in batch])
            for i, emission in zip(batch, emissions, strict=True):
                try:
                    results[i] = self._align(items[i], emission, durations[i])
                except AlignmentError as error:
                    results[i] = error
        return results

    def _load(self):
        if self._model is not None:
            return
        model = CTCModel(self.source, self.batch_seconds, self.device)
        tokenizer = model.tokenizer
        others = {model.blank, model.delimiter, *tokenizer.all_special_ids}
        tokens = {t: i for t, i in tokenizer.get_vocab().items() if i not in others}
        self._vocabulary = {t: label for t, label in tokens.items() if len(t) == 1}
        if 2 * len(self._vocabulary) <= len(tokens):
            raise ValueError(
                f"'{self.source}' is no character CTC model: {len(tokens)} labels, of "
                f"which {len(self._vocabulary)} are single characters"
            )
        self._model = model

    def _input(self, item):
        """The extractor's tensor for one utterance alone, and its duration in s."""
        self._check_letters(item)
        samples = read_item_audio(item, self._model.sample_rate)
        duration = len(samples) / self._model.sample_rate
        if duration < SHORTEST:
            raise AlignmentError(
                item.id, f"only {duration:.3f} s of audio in '{item.wav}'"
            )
        return self._model.inputs(samples), duration

    def _check_letters(self, item):
        unknown = unknown_letters(item.text, self._vocabulary)
        count = sum(character.isalpha() for character in item.text)
        if 2 * len(unknown) > count:
            letters = "".join(dict.fromkeys(unknown))[:20]
            raise AlignmentError(
                item.id,
                f"'{self.source}' does not know {len(unknown)} of its {count} letters "
                f"('{letters}'): take {OTHER_ALIGNERS}",
            )

    def _align(self, item, emission, duration):
        star = emission.shape[1]
        spelling = ctc_spelling(
            item.text, self._vocabulary, self._model.delimiter, star
        )
        if not any(spelling.spans):
            raise AlignmentError(
                item.id, f"nothing that '{self.source}' can say in '{item.text}'"
            )
        frames, labels = len(emission), len(spelling.tokens)
        repeats = sum(a == b for a, b in itertools.pairwise(spelling.tokens))
        if labels + repeats > frames:
            raise AlignmentError(
                item.id,
                f"{labels + repeats} characters do not fit in its {frames} frames "
                f"({duration:.2f} s of '{item.wav}')",
            )
        if frames * (2 * labels + 1) > MAX_TRELLIS_BYTES:
            raise AlignmentError(
                item.id, f"{duration / 60:.0f} minutes are too long to align: cut it"
            )
        runs = viterbi(with_star(emission), spelling.tokens, self._model.blank)
        hop = self._model.hop
        hop = hop / self._model.sample_rate if hop else duration / frames
        spans, runs = spelling.spoken(runs)
        times = label_times(runs, hop, self.start_offset, self.end_offset)
        units = tuple(
            Unit(item.text[i], start, end, i)
            for i, start, end in spread_characters(spans, times, duration)
        )
        return Alignment(item.id, item.text, units, "char", duration)


def with_star(log_probs):
    """Adds a last label with probability 1 in every frame (as torchaudio does).

    Arguments
    ---------
    log_probs : torch.Tensor
        [T, C]

    Returns
    -------
    torch.Tensor
        [T, C + 1]
    """
    return torch.nn.functional.pad(log_probs, (0, 1))


def viterbi(log_probs, tokens, blank):
    """The most likely frames of CTC labels, by torchaudio's Viterbi search.

    Arguments
    ---------
    log_probs : torch.Tensor
        [T, C]
    tokens : sequence of int
        Labels, no blanks.
    blank : int

    Returns
    -------
    list of (int, int)
        Half-open range of frames of each label.

    Example
    -------
    >>> probs = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
    >>> viterbi(probs.log(), [1, 1], blank=0)
    [(0, 1), (2, 4)]
    """
    targets = torch.tensor([list(tokens)], dtype=torch.int32)
    path, scores = torchaudio.functional.forced_align(
        log_probs[None], targets, blank=blank
    )
    spans = torchaudio.functional.merge_tokens(path[0], scores[0], blank=blank)
    return [(span.start, span.end) for span in spans]
