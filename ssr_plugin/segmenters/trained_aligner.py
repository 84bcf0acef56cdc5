"""Forced character alignment with a segmenter that was trained here."""

import torch
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.alignment.aligner_audio import read_item_audio
from ssr_plugin.alignment.base import Aligner
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.groups import split_groups
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.base import TextAligner
from ssr_plugin.segmenters.trained import (
    load_segmenter,
    read_settings,
    segmenter_mark,
)


class TrainedAligner(Aligner):
    """Aligns characters with a trained segmenter that can read a known text.

    Arguments
    ---------
    source : path-like
        Folder of a trained segmenter (``hparams/segmenter.yaml``), ``unity2`` or
        ``char_ctc``.
    encoder_source, llm_source : str, optional
        Hub ids or folders of the encoder and the LLM that it was trained with, if they
        are no longer where they were then.
    batch_seconds : float
        Most audio that is encoded at once, padding included, in s. More is faster on a
        GPU; it changes no result.
    device : str, optional
        By default the first GPU, or the CPU where there is none.

    Raises
    ------
    ValueError
        If the folder holds no trained segmenter, or one that cannot align.

    Example
    -------
    >>> TrainedAligner(getfixture("tmp_path"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: '...' holds no trained segmenter (segmenter.json): train one with ...
    """

    name = "trained"
    parallel = False
    wants_words = True

    def __init__(
        self,
        source,
        encoder_source=None,
        llm_source=None,
        batch_seconds=120.0,
        device=None,
    ):
        self.source = str(source)
        settings = read_settings(self.source)
        if not get_registry().segmenters.makes(settings["segmenter"], TextAligner):
            raise ValueError(
                f"the segmenter in '{self.source}' ({settings['segmenter']}) cannot "
                f"align a text: train unity2 or char_ctc with hparams/segmenter.yaml"
            )
        self.encoder_source = encoder_source
        self.llm_source = llm_source
        self.batch_seconds = batch_seconds
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._segmenter = None

    def settings(self):
        """What tells the segmenter from another: its weights, offsets and models."""
        return {"segmenter": segmenter_mark(self.source)}

    def align(self, items):
        """See :meth:`Aligner.align`."""
        self._load()
        results = [None] * len(items)
        wavs = {}
        for i, item in enumerate(items):
            try:
                samples = read_item_audio(item, self._encoder.sample_rate)
                wavs[i] = torch.from_numpy(samples)
            except AlignmentError as error:
                results[i] = error
        for batch in self._batches(wavs):
            frames = self._encode([wavs[i] for i in batch])
            for i, features in zip(batch, frames, strict=True):
                duration = len(wavs[i]) / self._encoder.sample_rate
                try:
                    results[i] = self._align(items[i], features, duration)
                except AlignmentError as error:
                    results[i] = error
        return results

    def _load(self):
        if self._segmenter is not None:
            return
        noted = read_settings(self.source)
        encoder, llm = noted["encoder"], noted["llm"]
        self._encoder = _find(
            SpeechEncoder,
            self.encoder_source or encoder["source"],
            "encoder_source",
            layer=encoder["layer"],
            dtype=encoder["dtype"],
            window="short" if encoder["window"][-1] else "full",
        ).to(self.device)
        llm = _find(TextLLM, self.llm_source or llm["source"], "llm_source")
        segmenter = load_segmenter(self.source, self._encoder, llm)
        self._segmenter = segmenter.to(self.device)

    def _batches(self, wavs):
        """Indices to encode together, of like length and within the limit."""
        order = sorted(wavs, key=lambda i: -len(wavs[i]))
        most = self.batch_seconds * self._encoder.sample_rate
        return split_groups(order, lambda i: len(wavs[i]), most, padded=True)

    @torch.no_grad()
    def _encode(self, wavs):
        """The frames [T, D] of each utterance."""
        features, lengths = self._encoder(
            pad_sequence(wavs, batch_first=True).to(self.device),
            torch.tensor([len(wav) for wav in wavs]),
        )
        return [x[:n] for x, n in zip(features, lengths.tolist(), strict=True)]

    def _align(self, item, features, duration):
        times = self._segmenter.align_text(features, item.text, item.id)
        units = tuple(Unit(item.text[i], start, end, i) for i, start, end in times)
        return Alignment(item.id, item.text, units, "char", duration)


def _find(load, source, option, **arguments):
    """A model that was noted by its path, or an error that says how to name another."""
    try:
        return load(source, **arguments)
    except ValueError as error:
        raise ValueError(
            f"{error}; if it has moved, say where with {option}"
        ) from error
