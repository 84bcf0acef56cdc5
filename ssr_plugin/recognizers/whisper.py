"""Whisper and what is made like it: audio to text by a decoder, word by word."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoFeatureExtractor,
    AutoTokenizer,
    GenerationMixin,
    LogitsProcessor,
    LogitsProcessorList,
)
from transformers import WhisperForConditionalGeneration as Whisper
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ssr_plugin import hub
from ssr_plugin.alignment.record import Alignment
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.languages import whisper_code
from ssr_plugin.llm.scoring import cache_argument
from ssr_plugin.nnet.groups import split_groups
from ssr_plugin.nnet.monotonic import runs_of_path, search
from ssr_plugin.recognizers.base import Recognizer, Rescorer
from ssr_plugin.recognizers.pauses import cut_at_pauses, is_silent
from ssr_plugin.recognizers.words import (
    Piece,
    add_alternatives,
    join,
    to_hypothesis,
)
from ssr_plugin.sources import address

# What Whisper's authors take for silence (Radford et al. 2023, section 4.5): the
# decoder's probability that nothing is said, and the mean log-probability of the
# tokens that it writes all the same.
_NO_SPEECH, _UNSURE = 0.6, -1.0
# What else might have been said is looked for at tokens below the first, in nats; so
# many tokens, all above the second.
_SURE, _UNLIKELY, _OTHERS = -0.02, -5.0, 5
# A decoder looks at a word before it begins, by so much, s: the mean over 5,082 words
# of LibriSpeech that whisper-base read, against pocketsphinx's forced alignment.
_EARLY = 0.07
# Of the letters of Whisper's own choice, other hypotheses have so many at least.
_SHORTEST = 0.8
# Raised when beams find other texts than before.
_SEARCH = 2
# More tokens than anybody says are a loop.
_TOKENS_PER_SECOND, _LEAST_TOKENS = 12, 16


class WhisperRecognizer(Recognizer):
    """The decoder of a Whisper model, its words with their times and probabilities.

    Words are written by transformers' ``generate``. Times are those of the best way
    through the decoder's attention to the frames, by the heads that the model's
    ``generation_config.json`` names (``alignment_heads``). Audio longer than Whisper's
    window is cut where it is quiet.

    Arguments
    ---------
    source : str
        Hub id or folder of a whole Whisper model.
    language : str or None
        What is spoken, as "en" or "pt-BR"; None finds it out, recording by recording.
        Models of English alone do not ask.
    num_beams : int
        Hypotheses followed at once; 1 is greedy.
    batch_size : int
        Windows decoded at once.

    Raises
    ------
    ValueError
        If the model cannot be loaded, or does not know the language, or has no
        ``alignment_heads``.
    """

    def __init__(
        self,
        source: str,
        language: str | None = None,
        num_beams: int = 1,
        batch_size: int = 8,
    ) -> None:
        super().__init__()
        self.source = str(source)
        self.language = language
        self.num_beams = num_beams
        self.batch_size = batch_size
        self.rescorer: Rescorer | None = None
        hub.check_weights(self.source)
        options: dict[str, Any] = {**address(source), "trust_remote_code": False}
        self.extractor = AutoFeatureExtractor.from_pretrained(**options)
        self.tokenizer = AutoTokenizer.from_pretrained(**options)
        self.model = Whisper.from_pretrained(
            **options, dtype=torch.float32, attn_implementation="eager"
        )
        # How long a text may be depends on the audio here.
        self.model.generation_config.max_length = None
        self.requires_grad_(False).eval()
        self.sample_rate = self.extractor.sampling_rate
        self._check()

    def _check(self) -> None:
        settings = self.model.generation_config
        heads = getattr(settings, "alignment_heads", None)
        if not heads:
            raise ValueError(
                f"'{self.source}' does not say when it hears its words: its "
                f"generation_config.json has no alignment_heads"
            )
        self._heads: list[tuple[int, int]] = [(layer, head) for layer, head in heads]
        names = ("<|nospeech|>", "<|nocaptions|>")
        unknown = self.tokenizer.unk_token_id
        told = [self.tokenizer.convert_tokens_to_ids(name) for name in names]
        self._no_speech = next((i for i in told if i not in (None, unknown)), None)
        self._frame_rate = (
            self.model.config.max_source_positions / self.extractor.chunk_length
        )
        self._multilingual = bool(getattr(settings, "is_multilingual", False))
        codes = getattr(settings, "lang_to_id", None) or {}
        self._languages = {i: code.strip("<|>") for code, i in codes.items()}
        known = sorted(self._languages.values())
        if self.language is not None and self.language not in known:
            self.language = whisper_code(self.language)
        if self._multilingual and self.language not in (None, *known):
            raise ValueError(
                f"language: '{self.source}' does not know '{self.language}'; known: "
                f"{', '.join(known)}"
            )

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells the model's weights and settings from others."""
        fingerprint: str = hub.fingerprint(self.source)
        return fingerprint

    def settings(self) -> dict[str, Any]:
        """See :meth:`Recognizer.settings`."""
        rescorer = self.rescorer
        return {
            "weights": self.fingerprint,
            "language": self.language,
            "num_beams": self.num_beams,
            **({"search": _SEARCH} if self.num_beams > 1 else {}),
            **({} if rescorer is None else {"rescorer": rescorer.settings()}),
        }

    def use_rescorer(self, rescorer: Rescorer) -> None:
        """See :meth:`Recognizer.use_rescorer`."""
        if self.num_beams == 1:
            super().use_rescorer(rescorer)
        self.rescorer = rescorer

    def use_encoder(self, encoder: SpeechEncoder) -> bool:
        """See :meth:`Recognizer.use_encoder`: if weights and spectrum are the same."""
        theirs = encoder.backbone.network.state_dict()
        own = self.model.model.encoder
        ours = {} if own is None else own.state_dict()
        shared = (
            encoder.backbone.is_last
            and encoder.window == "full"
            and encoder.frontend.extractor.to_dict() == self.extractor.to_dict()
            and theirs.keys() == ours.keys()
            and all(torch.equal(ours[k].cpu(), x.cpu()) for k, x in theirs.items())
        )
        if shared:
            # Not a module of this one: it is the user's.
            self._encoder = (encoder,)
        else:
            self.encoder = SpeechEncoder(self.source, dtype=encoder.dtype)
            self._encoder = (self.encoder,)
        # It would only take memory.
        self.model.model.encoder = None
        return shared

    @torch.no_grad()
    def recognize(
        self,
        wavs: Sequence[Tensor],
        windows: Sequence[Tensor | None] | None = None,
    ) -> list[Alignment]:
        """See :meth:`Recognizer.recognize`."""
        known = windows or [None] * len(wavs)
        rate, longest = self.sample_rate, self.extractor.n_samples
        cuts = [
            (i, first, last)
            for i, wav in enumerate(wavs)
            for first, last in cut_at_pauses(wav, longest, rate)
            if not is_silent(wav[first:last])
        ]
        # Of like length together: else short ones wait for long ones.
        order = sorted(range(len(cuts)), key=lambda j: cuts[j][2] - cuts[j][1])
        heard: dict[int, Alignment] = {}
        for group in split_groups(order, lambda _: 1, self.batch_size):
            parts = [
                wavs[i][first:last] for i, first, last in map(cuts.__getitem__, group)
            ]
            states = self._encode(parts, [known[cuts[j][0]] for j in group])
            heard |= zip(group, self._hear(parts, states), strict=True)
        found: list[list[tuple[float, Alignment]]] = [[] for _ in wavs]
        for j, (i, first, _) in enumerate(cuts):
            found[i].append((first / rate, heard[j]))
        hypotheses = [
            join(parts, len(wav) / rate) for parts, wav in zip(found, wavs, strict=True)
        ]
        self.note_loops(hypotheses)
        return hypotheses

    def _encode(self, wavs: Sequence[Tensor], known: Sequence[Tensor | None]) -> Tensor:
        """What the encoder makes of parts of recordings, [B, T, D]."""
        (encoder,) = self._encoder
        frames = self.model.config.max_source_positions
        states = {
            i: x for i, x in enumerate(known) if x is not None and len(x) == frames
        }
        rest = [i for i in range(len(wavs)) if i not in states]
        if rest:
            parts = [wavs[i] for i in rest]
            with encoder.keep_windows() as windows:
                encoder(pad_sequence(parts, batch_first=True), [*map(len, parts)])
            states |= {rest[row]: x for row, x in windows.items()}
        device = self.model.device
        return torch.stack([states[i].to(device) for i in range(len(wavs))])

    def _hear(self, wavs: Sequence[Tensor], states: Tensor) -> list[Alignment]:
        """What is said in recordings, none longer than a window."""
        seconds = [len(wav) / self.sample_rate for wav in wavs]
        encoded = BaseModelOutput(last_hidden_state=states)
        languages: list[str | None] = [None] * len(wavs)
        if self._multilingual:
            languages = [self.language] * len(wavs)
            if self.language is None:
                ids = self.model.detect_language(encoder_outputs=encoded)
                languages = [self._languages[i] for i in ids.tolist()]
        tokens = _LEAST_TOKENS + round(_TOKENS_PER_SECOND * max(seconds))
        prefix = torch.tensor([self._prefix(language) for language in languages])
        room = self.model.config.max_target_positions - prefix.shape[1]
        keys = _EncoderKeys.of(self.model, states)
        rows = torch.arange(len(wavs)).repeat_interleave(self.num_beams)
        # Not Whisper's own generate, which gives no n best of what is encoded already.
        found = GenerationMixin.generate(
            self.model,
            encoder_outputs=encoded,
            # Of the frames; a text is never padded on the left.
            attention_mask=states.new_ones(states.shape[:2], dtype=torch.long),
            decoder_input_ids=prefix.to(states.device),
            max_new_tokens=min(tokens, room),
            num_beams=self.num_beams,
            num_return_sequences=self.num_beams,
            do_sample=False,
            logits_processor=LogitsProcessorList(
                [_EndWhereLikeliest(self.model.generation_config.eos_token_id)]
            ),
            **keys.argument(self.model, rows),
        )[:, prefix.shape[1] :]
        return [
            self._choose(
                *(best.tolist(), states[row : row + 1], keys.pick([row])),
                *(languages[row], seconds[row]),
            )
            for row, best in enumerate(found.cpu().view(len(wavs), self.num_beams, -1))
        ]

    def _choose(
        self,
        sequences: list[list[int]],
        states: Tensor,
        keys: _EncoderKeys,
        language: str | None,
        seconds: float,
    ) -> Alignment:
        """The likeliest text of a recording, with its times, and what others say."""
        prefix = self._prefix(language)
        settings = self.model.generation_config
        end = settings.eos_token_id
        ids = [
            torch.tensor([x for x in sequence if x < end] + [end])
            for sequence in sequences
        ]
        counts = [len(x) for x in ids]
        inputs = torch.cat(
            [
                torch.tensor(prefix).expand(len(ids), -1),
                pad_sequence(ids, batch_first=True, padding_value=end),
            ],
            1,
        )
        output = self.model(
            encoder_outputs=BaseModelOutput(
                last_hidden_state=states.expand(len(ids), -1, -1)
            ),
            decoder_input_ids=inputs.to(states.device),
            output_attentions=True,
            **keys.argument(self.model, [0] * len(ids)),
        )
        log_probs = output.logits.float().log_softmax(-1)
        silence = 0.0
        if self._no_speech is not None:
            silence = float(log_probs[0, 0, self._no_speech].exp())
        log_probs = log_probs[:, len(prefix) - 1 : -1].cpu()
        told = log_probs.gather(2, inputs[:, len(prefix) :, None]).squeeze(2)
        scores = [float(row[:n].sum()) for row, n in zip(told, counts, strict=True)]
        # By token, as Whisper's authors do: a text that ends too soon is likelier.
        best = max(range(len(ids)), key=lambda i: scores[i] / counts[i])
        if silence > _NO_SPEECH and scores[best] / counts[best] < _UNSURE:
            return Alignment("", "", (), "word", seconds)
        attention = torch.stack(
            [output.cross_attentions[layer][:, head] for layer, head in self._heads], 1
        )
        frames = round(seconds * self._frame_rate)
        texts = [
            self._pieces(
                ids[i][:-1], log_probs[i], attention[i, :, len(prefix) - 1 :], frames
            )
            for i in range(len(ids))
        ]
        hypotheses = [to_hypothesis(pieces, seconds) for pieces in texts]
        # What ends too soon says nothing of the words that it lacks.
        shortest = _SHORTEST * len(hypotheses[best].text)
        kept = [i for i, x in enumerate(hypotheses) if len(x.text) >= shortest]
        hypotheses, scores = [hypotheses[i] for i in kept], [scores[i] for i in kept]
        best = kept.index(best)
        # Whether something is said is the recogniser's to hear.
        if self.rescorer is not None and hypotheses[best].units:
            more = self.rescorer.score(hypotheses)
            scores = [x + y for x, y in zip(scores, more, strict=True)]
            best = max(range(len(scores)), key=scores.__getitem__)
        posteriors = torch.tensor(scores).softmax(0).tolist()
        first = hypotheses.pop(best)
        del posteriors[best]
        return add_alternatives(first, hypotheses, posteriors)

    def _prefix(self, language: str | None) -> list[int]:
        """The tokens that generation starts with."""
        if self._multilingual:
            self.tokenizer.set_prefix_tokens(language=language, task="transcribe")
        prefix: list[int] = self.tokenizer.prefix_tokens
        return prefix

    def _pieces(
        self, ids: Tensor, log_probs: Tensor, attention: Tensor, frames: int
    ) -> list[Piece]:
        """A text's tokens, given the attention [heads, L, T] of what predicts each."""
        count = len(ids)
        if not count:
            return []
        # A token is told by the state before it; that of the last token tells the end.
        times = token_times(attention[:, : count + 1, : max(frames, count + 1)])
        times = times / self._frame_rate + _EARLY
        texts = [self._text(ids[: i + 1].tolist()) for i in range(count)]
        # Part of a letter's bytes is shown as a mark, until the rest is there.
        shown = [text.rstrip("\ufffd") for text in texts[:-1]] + texts[-1:]
        pieces, done, begun, before = [], 0, 0, 0.0
        for i, (token, text) in enumerate(zip(ids.tolist(), shown, strict=True)):
            piece = text[done:]
            done = max(done, len(text))
            score = before + float(log_probs[i, token])
            if not piece:
                # The letter is said from its first byte on, and as sure as all of them.
                before = score
                continue
            unsure = begun == i and score < _SURE
            others = self._others(token, log_probs[i]) if unsure else ()
            pieces.append(
                Piece(piece, float(times[begun]), float(times[i + 1]), score, others)
            )
            begun, before = i + 1, 0.0
        return pieces

    def _text(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(ids)
        assert isinstance(text, str)
        return text

    def _others(self, token: int, log_probs: Tensor) -> tuple[tuple[str, float], ...]:
        """The likeliest tokens in place of one, given their log-probabilities [V]."""
        # What follows the end's number is no text.
        end = self.model.generation_config.eos_token_id
        best, tokens = log_probs.topk(_OTHERS + 1)
        return tuple(
            (self._text([other]), math.exp(score))
            for other, score in zip(tokens.tolist(), best.tolist(), strict=True)
            if other != token and other < end and score > _UNLIKELY
        )


class _EndWhereLikeliest(LogitsProcessor):
    """A text ends only where the decoder would rather end it than go on.

    Else a search whose first ends are all too soon stops there, though it would have
    found better: five beams took "Chapter XII" for a sentence that begins so.

    Arguments
    ---------
    end : int
        The token that ends a text.
    """

    def __init__(self, end: int) -> None:
        self.end = end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [N, V] of what may come next."""
        goes_on = scores.argmax(-1) != self.end
        scores[:, self.end] = scores[:, self.end].masked_fill(goes_on, -math.inf)
        return scores


class _EncoderKeys(DynamicCache):
    """Keys and values of an encoder's states: made once, for all texts and beams.

    Without it, a decoder makes them of each beam's copy of the states, and copies them
    with each beam that changes its place: a third of a gigabyte at each token.
    """

    @classmethod
    def of(cls, model: Whisper, states: Tensor) -> _EncoderKeys:
        """What a model's decoder makes of states [B, T, D]."""
        keys = cls()
        model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            decoder_input_ids=torch.zeros_like(states[:, :1, 0], dtype=torch.long),
            **{_cache_argument(model): EncoderDecoderCache(DynamicCache(), keys)},
        )
        return keys

    def pick(self, rows: Sequence[int] | Tensor) -> _EncoderKeys:
        """Those of some rows, in that order, each as often as it is named."""
        picked = _EncoderKeys()
        index = torch.as_tensor(rows)
        layer: Any
        for number, layer in enumerate(self.layers):
            there = index.to(layer.keys.device)
            picked.update(layer.keys[there], layer.values[there], number)
        return picked

    def argument(
        self, model: Whisper, rows: Sequence[int] | Tensor
    ) -> dict[str, EncoderDecoderCache]:
        """Of a call of the model: its memory, with the keys of some rows."""
        memory = EncoderDecoderCache(DynamicCache(), self.pick(rows))
        return {_cache_argument(model): memory}

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Beams change places within their text alone, whose keys are the same."""


def _cache_argument(model: Whisper) -> str:
    name: str | None = cache_argument(model)
    assert name is not None
    return name


def token_times(attention: Tensor, smooth: int = 7) -> np.ndarray:
    """When a decoder's tokens are said, by its attention to the frames.

    Arguments
    ---------
    attention : torch.Tensor
        [heads, N, T]: of the states that tell N tokens.
    smooth : int
        Frames of the median that evens the attention out; odd.

    Returns
    -------
    np.ndarray
        [N] int, the frame in which each token begins.

    Example
    -------
    >>> attention = torch.eye(3).repeat_interleave(10, 1)[None]
    >>> token_times(attention).tolist()
    [0, 10, 20]
    """
    weights = attention.float().cpu()
    # As Whisper's own code does: what stands out from other tokens' attention.
    mean = weights.mean(1, keepdim=True)
    deviation = weights.std(1, keepdim=True, correction=0)
    weights = (weights - mean) / deviation.clamp_min(1e-8)
    edges = torch.nn.functional.pad(weights, (smooth // 2, smooth // 2), "reflect")
    weights = edges.unfold(-1, smooth, 1).median(-1).values.mean(0)
    scores = weights.T[None].double().numpy()
    count, length = weights.shape
    path = search([scores], [length], [count], np.zeros((1, count), dtype=bool))
    return np.array([first for first, _ in runs_of_path(path[0], count)])
