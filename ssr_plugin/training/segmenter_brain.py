"""Trains a segmenter on forced segments; it then finds them in audio alone."""

import contextlib

import speechbrain as sb
import torch

from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit
from ssr_plugin.metrics.segmentation_metrics import SegmentationMetrics
from ssr_plugin.segmenters.calibration import calibrate
from ssr_plugin.segmenters.forced import SegmentationError, Segments
from ssr_plugin.training import augment
from ssr_plugin.training.brain import StageBrain


class SegmentBrain(StageBrain):
    """Trains the ``segmenter`` of its modules; ``encoder`` and ``llm`` are frozen."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # Boundaries mean little beside even ones, or those that another aligner gave.
        if self.hparams.aligner != "even" and not self.part("segmenter").forced:
            self.best = {"max_key": "boundary_f1"}

    def compute_forward(self, batch, stage):
        """The loss of a batch; outside training also its segments.

        Returns
        -------
        loss : torch.Tensor
        found : list of ssr_plugin.segmenters.forced.Segments or None
        """
        features, lengths = self.frames(batch)
        batch = batch.to(self.device)
        if stage == sb.Stage.TRAIN:
            features = augment.augment_frames(features, lengths, self.hparams)
        segments = (batch.boundaries, batch.starts, batch.tokens)
        loss = self.modules.segmenter(features, lengths, *segments)
        if stage == sb.Stage.TRAIN:
            return loss, None
        quick = stage == sb.Stage.VALID
        return loss, self._find(batch, features, lengths, quick)

    def _find(self, batch, features, lengths, quick):
        """The segments of a batch, where need be with the help of its transcripts."""
        segmenter = self.part("segmenter")
        if not segmenter.forced:
            return segmenter.segment_frames(features, lengths, quick=quick)
        found = []
        for name, x, length, own in zip(
            batch.ids, features, lengths.tolist(), batch.segments, strict=True
        ):
            try:
                alignment = self._align(name, x[:length], segmenter.spell(own.tokens))
                cut = self.hparams.segmenters["forced"].segment
                found.append(cut(alignment, length))
            except (AlignmentError, SegmentationError):
                found.append(Segments.none())
        return found

    def _align(self, name, features, text):
        """One utterance's alignment by the segmenter that is trained."""
        segmenter = self.part("segmenter")
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
        segmenter, found = self.part("segmenter"), {}
        for batch in loader:
            features, lengths = self.frames(batch)
            for name, x, length in zip(
                batch.ids, features, lengths.tolist(), strict=True
            ):
                with contextlib.suppress(AlignmentError):
                    found[name] = self._align(name, x[:length], reference[name].text)
        offsets = calibrate(found, {name: reference[name] for name in found})
        segmenter.start_offset += offsets[0]
        segmenter.end_offset += offsets[1]

    def compute_objectives(self, predictions, batch, stage):
        """The loss; outside training the segments are scored too."""
        loss, found = predictions
        if stage != sb.Stage.TRAIN:
            for name, own, wanted in zip(batch.ids, found, batch.segments, strict=True):
                self.metrics.add(name, own, wanted)
        return loss

    def on_stage_start(self, stage, epoch=None):
        """Starts counting afresh for a validation or a test."""
        if stage != sb.Stage.TRAIN:
            self.metrics = SegmentationMetrics(
                self.modules.llm.tokenizer, self.modules.encoder.frame_rate
            )

    def valid_stats(self):
        """The figures of a validation that are worth following over the epochs."""
        return self.metrics.summary()

    @torch.no_grad()
    def score(self, loader):
        """Scores the best segmenter on a data set.

        Returns
        -------
        ssr_plugin.metrics.segmentation_metrics.SegmentationMetrics
        """
        self.evaluate(loader, **self.best)
        return self.metrics
