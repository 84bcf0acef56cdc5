"""Recognisers with a CTC head: wav2vec 2.0, HuBERT, WavLM and their like."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ssr_plugin import hub
from ssr_plugin.alignment.ctc_characters import label_times
from ssr_plugin.alignment.ctc_model import CTCModel
from ssr_plugin.alignment.record import Alignment
from ssr_plugin.recognizers.base import Recognizer
from ssr_plugin.recognizers.pauses import is_silent
from ssr_plugin.recognizers.words import Piece, to_hypothesis

# How SentencePiece shows the blank before a word.
_BLANK = "\u2581"
# Shorter audio, in s, is less than the first layers of some models can take.
_SHORTEST = 0.05


class CTCRecognizer(Recognizer):
    """The likeliest labels of a CTC model, frame by frame (greedy).

    Labels may be characters or SentencePiece's. Audio longer than 40 s goes through the
    model in windows with context. It encodes for itself: a CTC model is tuned, so that
    its encoder's frames are not those of the encoder that it was made from.

    Arguments
    ---------
    source : str
        Hub id or folder.
    batch_seconds : float
        Of :class:`ssr_plugin.alignment.ctc_model.CTCModel`.
    """

    def __init__(self, source: str, batch_seconds: float = 120.0) -> None:
        super().__init__()
        self.source = str(source)
        self._ctc = CTCModel(self.source, batch_seconds)
        # So that it is sent to a device with the rest.
        self.model = self._ctc.model.requires_grad_(False)
        self.sample_rate = self._ctc.sample_rate

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells the model's weights and settings from others."""
        fingerprint: str = hub.fingerprint(self.source)
        return fingerprint

    def settings(self) -> dict[str, Any]:
        """See :meth:`Recognizer.settings`."""
        return {"weights": self.fingerprint}

    @torch.no_grad()
    def recognize(
        self,
        wavs: Sequence[Tensor],
        windows: Sequence[Tensor | None] | None = None,
    ) -> list[Alignment]:
        """See :meth:`Recognizer.recognize`; windows are not read."""
        self._ctc.device = next(self.model.parameters()).device
        least = _SHORTEST * self.sample_rate
        inputs = {
            i: self._ctc.inputs(wav.float().cpu().numpy())
            for i, wav in enumerate(wavs)
            if len(wav) >= least and not is_silent(wav)
        }
        pieces: dict[int, list[Piece]] = {}
        for batch in self._ctc.batches(inputs):
            emissions = self._ctc.emissions([inputs[i] for i in batch])
            for i, emission in zip(batch, emissions, strict=True):
                pieces[i] = self._pieces(emission, len(wavs[i]) / self.sample_rate)
        hypotheses = [
            to_hypothesis(pieces.get(i, []), len(wav) / self.sample_rate)
            for i, wav in enumerate(wavs)
        ]
        self.note_loops(hypotheses)
        return hypotheses

    def _pieces(self, log_probs: Tensor, duration: float) -> list[Piece]:
        """The labels of an utterance, [T, C]."""
        best, labels = log_probs.max(-1)
        found, counts = torch.unique_consecutive(labels, return_counts=True)
        stops = counts.cumsum(0).tolist()
        runs, texts, scores = [], [], []
        gap = ""
        for label, count, stop in zip(
            found.tolist(), counts.tolist(), stops, strict=True
        ):
            if label == self._ctc.blank:
                continue
            text = self._text(label)
            if not text.strip():
                gap += text
                continue
            texts.append(gap + text)
            gap = ""
            runs.append((stop - count, stop))
            # One frame tells a label; those beside it are often half blank.
            scores.append(float(best[stop - count : stop].max()))
        hop = duration / max(len(log_probs), 1)
        if self._ctc.hop:
            hop = self._ctc.hop / self.sample_rate
        times = label_times(runs, hop, 0.0, 0.0)
        return [
            Piece(text, start, end, score)
            for text, (start, end), score in zip(texts, times, scores, strict=True)
        ]

    def _text(self, label: int) -> str:
        """What a label adds to a text; nothing of what is no text."""
        if label == self._ctc.delimiter:
            return " "
        if label in self._ctc.tokenizer.all_special_ids:
            return ""
        token = self._ctc.tokenizer.convert_ids_to_tokens(label)
        return str(token).replace(_BLANK, " ")
