"""Forced character alignment over any Hugging Face CTC model."""

import itertools
import pathlib

import torch
import torchaudio
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

from ssr_plugin.alignment.aligner_audio import read_item_audio
from ssr_plugin.alignment.base import OTHER_ALIGNERS, Aligner
from ssr_plugin.alignment.ctc_characters import (
    PAUSE,
    ctc_spelling,
    label_times,
    spread_characters,
    unknown_letters,
)
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit
from ssr_plugin.files import digest, file_identity
from ssr_plugin.sources import address, pin

# Longer audio goes through the model in windows with context on both sides, s.
WINDOW = 40.0
CONTEXT = 5.0

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
        inputs = {}
        for i, item in enumerate(items):
            try:
                inputs[i] = self._input(item)
            except AlignmentError as error:
                results[i] = error
        for batch in self._batches(inputs):
            emissions = self._emissions([inputs[i][0] for i in batch])
            for i, emission in zip(batch, emissions, strict=True):
                try:
                    results[i] = self._align(items[i], emission, inputs[i][1])
                except AlignmentError as error:
                    results[i] = error
        return results

    def _load(self):
        if self._model is not None:
            return
        self._extractor = AutoFeatureExtractor.from_pretrained(
            **address(self.source), trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(
            **address(self.source), trust_remote_code=False
        )
        model = AutoModelForCTC.from_pretrained(
            **address(self.source), trust_remote_code=False, dtype=torch.float32
        )
        self._blank = tokenizer.pad_token_id
        if self._blank is None:
            self._blank = model.config.pad_token_id
        self._delimiter = tokenizer.get_vocab().get(
            getattr(tokenizer, "word_delimiter_token", None)
        )
        others = {self._blank, self._delimiter, *tokenizer.all_special_ids}
        tokens = {t: i for t, i in tokenizer.get_vocab().items() if i not in others}
        self._vocabulary = {t: label for t, label in tokens.items() if len(t) == 1}
        if 2 * len(self._vocabulary) <= len(tokens):
            raise ValueError(
                f"'{self.source}' is no character CTC model: {len(tokens)} labels, of "
                f"which {len(self._vocabulary)} are single characters"
            )
        self._sample_rate = self._extractor.sampling_rate
        self._takes_samples = self._extractor.model_input_names[0] == "input_values"
        # Samples from one frame to the next, where the model says so.
        self._hop = None
        if self._takes_samples:
            self._hop = getattr(model.config, "inputs_to_logits_ratio", None)
        # Other models take statistics over time, or do not mask padding.
        norm = getattr(model.config, "feat_extract_norm", None)
        self._may_pad = self._takes_samples and norm == "layer"
        self._model = model.eval().to(self.device)

    def _input(self, item):
        """The extractor's tensor for one utterance alone, and its duration in s."""
        self._check_letters(item)
        samples = read_item_audio(item, self._sample_rate)
        duration = len(samples) / self._sample_rate
        if duration < SHORTEST:
            raise AlignmentError(
                item.id, f"only {duration:.3f} s of audio in '{item.wav}'"
            )
        inputs = self._extractor(
            samples, sampling_rate=self._sample_rate, return_tensors="pt"
        )
        return inputs[self._extractor.model_input_names[0]][0], duration

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

    def _batches(self, inputs):
        """Indices of utterances to run together: little padding, within the limit."""
        batches, max_samples = [], self.batch_seconds * self._sample_rate
        for i in sorted(inputs, key=lambda i: len(inputs[i][0])):
            length = len(inputs[i][0])
            batch = batches[-1] if batches else []
            fits = bool(batch) and (len(batch) + 1) * length <= max_samples
            fits = fits and not self._needs_windows(length)
            equal = bool(batch) and len(inputs[batch[0]][0]) == length
            if fits and (equal or self._may_pad) and self._takes_samples:
                batch.append(i)
            else:
                batches.append([i])
        return batches

    def _needs_windows(self, length):
        return (
            self._takes_samples
            and self._hop is not None
            and length > WINDOW * self._sample_rate
        )

    def _emissions(self, inputs):
        """Log-probabilities [T, C] of each utterance, on the CPU."""
        if len(inputs) == 1 and self._needs_windows(len(inputs[0])):
            return [self._windowed(inputs[0])]
        lengths = [len(x) for x in inputs]
        padded = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True)
        mask = None
        if self._may_pad:
            mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
            mask = mask.long()
        logits = self._forward(padded, mask)
        frames = [logits.shape[1]] * len(inputs)
        if self._may_pad:
            # No public name for it, but transformers' CTC loss counts by it too.
            count = self._model._get_feat_extract_output_lengths
            frames = [int(count(torch.tensor(n))) for n in lengths]
        return [logits[b, :n] for b, n in enumerate(frames)]

    @torch.inference_mode()
    def _forward(self, padded, mask):
        arguments = {self._extractor.model_input_names[0]: padded.to(self.device)}
        if mask is not None:
            arguments["attention_mask"] = mask.to(self.device)
        logits = self._model(**arguments).logits
        return logits.float().log_softmax(-1).cpu()

    def _windowed(self, samples):
        context = round(CONTEXT * self._sample_rate / self._hop)
        step = round(WINDOW * self._sample_rate / self._hop) - 2 * context
        emissions, first = [], 0
        while True:
            begin = max(first - context, 0)
            end = (first + step + context) * self._hop
            # No short rest may be left: the model cannot take one.
            last = end + context * self._hop >= len(samples)
            window = samples[begin * self._hop : None if last else end]
            emission = self._forward(window[None], None)[0]
            emissions.append(
                emission[first - begin : None if last else first - begin + step]
            )
            if last:
                return torch.cat(emissions)
            first += step

    def _align(self, item, emission, duration):
        star = emission.shape[1]
        spelling = ctc_spelling(item.text, self._vocabulary, self._delimiter, star)
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
        runs = viterbi(with_star(emission), spelling.tokens, self._blank)
        hop = self._hop / self._sample_rate if self._hop else duration / frames
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
