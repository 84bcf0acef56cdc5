"""Trains a segmenter on forced segments; it then finds them in audio alone."""

import speechbrain as sb
import torch

from ssr_plugin.evaluation.segmentation import SegmentationMetrics
from ssr_plugin.training import augment
from ssr_plugin.training.brain import StageBrain


class SegmentBrain(StageBrain):
    """Trains the ``segmenter`` of its modules; ``encoder`` and ``llm`` are frozen."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.best_key = "boundary_f1"

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
        return loss, self.part("segmenter").segment_frames(features, lengths)

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
        ssr_plugin.evaluation.segmentation.SegmentationMetrics
        """
        self.evaluate(loader, max_key=self.best_key)
        return self.metrics
