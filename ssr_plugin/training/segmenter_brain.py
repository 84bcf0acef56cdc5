"""Trains a segmenter on forced segments; it then finds them in audio alone."""

import contextlib
import dataclasses

import speechbrain as sb
import torch

from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit
from ssr_plugin.languages import ENGLISH
from ssr_plugin.metrics.segmentation_metrics import SegmentationMetrics
from ssr_plugin.segmenters.base import FrameSegmenter, SegmentationError, Segments
from ssr_plugin.segmenters.calibration import calibrate
from ssr_plugin.training.brain import ReadOptions, Scorer, StageBrain


@dataclasses.dataclass
class SegmenterPredictions:
    """The loss or the segments of a batch.

    Arguments
    ---------
    loss : torch.Tensor or None
        A scalar. The segmenter's own ``forward`` gives it, as DDP needs.
    segments : list of ssr_plugin.segmenters.base.Segments or None
        Of each utterance; None in training.
    """

    loss: torch.Tensor | None = None
    segments: list | None = None


class SegmentScorer(Scorer):
    """Compares segments with the forced ones.

    Arguments
    ---------
    tokenizer : transformers.PreTrainedTokenizerFast
        Of the LLM.
    frame_rate : float
        Of the encoder, in Hz.
    language : str
        BCP-47 code of what is spoken.
    """

    def __init__(self, tokenizer, frame_rate, language=ENGLISH):
        self.metrics = SegmentationMetrics(tokenizer, frame_rate, language)

    def add(self, batch, reading):
        """See :meth:`Scorer.add`; takes a batch's :class:`SegmenterPredictions`."""
        for name, segments, reference in zip(
            batch.ids, reading.segments, batch.segments, strict=True
        ):
            self.metrics.add(name, segments, reference)

    def summary(self):
        """See :meth:`Scorer.summary`: ``SegmentationMetrics.summary``."""
        return self.metrics.summary()

    def readings(self):
        """Transcripts beside hypotheses: id, and "said" and "read"."""
        return [
            (name, {"said": transcript, "read": hypothesis})
            for name, transcript, hypothesis in self.metrics.hypotheses
        ]


class SegmenterBrain(StageBrain):
    """Trains the ``segmenter`` of its modules; ``encoder`` and ``llm`` are frozen."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # The F1 of boundaries says little if the reference ones are even, or if the
        # segmenter needs the transcript.
        predicts = isinstance(self.unwrapped("segmenter"), FrameSegmenter)
        if self.hparams.aligner != "even" and predicts:
            self.best = {"max_key": "boundary_f1"}

    def compute_forward(self, batch, stage):
        """The loss of a batch, and in a validation its segments.

        Returns
        -------
        SegmenterPredictions
        """
        on_device = batch.to(self.device)
        features, lengths = self.frames(on_device)
        if stage == sb.Stage.TRAIN:
            features = self.augment(features, on_device)
        segments = (on_device.boundaries, on_device.starts, on_device.tokens)
        loss = self.modules.segmenter(features, lengths, *segments)
        if stage == sb.Stage.TRAIN:
            return SegmenterPredictions(loss)
        options = ReadOptions(predicted=True, use_lm=False)
        return SegmenterPredictions(
            loss, self._segment(batch, features, lengths, options)
        )

    def compute_objectives(self, predictions, batch, stage):
        """The segmenter's loss."""
        return predictions.loss

    @torch.no_grad()
    def read(self, batch, options):
        """See :meth:`StageBrain.read`: predictions without a loss."""
        features, lengths = self.frames(batch)
        segments = self._segment(batch, features, lengths, options)
        return SegmenterPredictions(segments=segments)

    def _segment(self, batch, features, lengths, options):
        """The segments of a batch, with its transcripts if the segmenter needs them."""
        segmenter = self.unwrapped("segmenter")
        if isinstance(segmenter, FrameSegmenter):
            segmentations = segmenter.segment_frames(features, lengths, options.use_lm)
            return [segmentation.segments for segmentation in segmentations]
        segments = []
        cut = self.hparams.segmenters["forced"].segment
        for name, x, length, reference in zip(
            batch.ids, features, lengths.tolist(), batch.segments, strict=True
        ):
            text = segmenter.spell(reference.tokens)
            try:
                alignment = self._align(name, x[:length], text)
                segments.append(cut(alignment, length))
            except (AlignmentError, SegmentationError):
                segments.append(Segments.none())
        return segments

    def _align(self, name, features, text):
        """One utterance's alignment by the segmenter in training."""
        segmenter = self.unwrapped("segmenter")
        units = [
            Unit(text[i], start, end, i)
            for i, start, end in segmenter.align_text(features, text, name)
        ]
        duration = len(features) / segmenter.frame_rate
        return Alignment(name, text, tuple(units), "char", duration)

    @torch.no_grad()
    def calibrate(self, loader, reference):
        """Sets the offsets of a segmenter that can align, from held-out utterances.

        Arguments
        ---------
        loader : torch.utils.data.DataLoader
        reference : collections.abc.Mapping
            Id -> ssr_plugin.alignment.record.Alignment, trusted.
        """
        self.modules.eval()
        segmenter, alignments = self.unwrapped("segmenter"), {}
        for batch in loader:
            features, lengths = self.frames(batch)
            for name, x, length in zip(
                batch.ids, features, lengths.tolist(), strict=True
            ):
                with contextlib.suppress(AlignmentError):
                    text = reference[name].text
                    alignments[name] = self._align(name, x[:length], text)
        reference = {name: reference[name] for name in alignments}
        offsets = calibrate(alignments, reference)
        segmenter.start_offset += offsets[0]
        segmenter.end_offset += offsets[1]

    def valid_scorer(self):
        """See :meth:`StageBrain.valid_scorer`."""
        return SegmentScorer(
            self.modules.llm.tokenizer, self.modules.encoder.frame_rate, self.language
        )
