"""A segmenter that needs no training: it cuts where frames change most."""

import numpy as np

from ssr_plugin.segmenters import FrameSegmenter, Segmentation, Segments


class ChangeSegmenter(FrameSegmenter):
    def __init__(self, input_size, llm, frame_rate, per_second=4.0):
        super().__init__(input_size, llm, frame_rate)
        self.per_second = per_second

    def segment_frames(self, features, lengths, use_lm=True):
        pairs = zip(features, lengths.tolist(), strict=True)
        return [self.cut(x[:length], length) for x, length in pairs]

    def cut(self, frames, length):
        if not length:
            return Segmentation(Segments.none())
        count = max(round(length / self.frame_rate * self.per_second), 1)
        change = frames.diff(dim=0).square().sum(-1)
        cuts = change.topk(min(count, length) - 1).indices.sort().values
        boundaries = np.append(cuts.cpu().numpy(), length - 1)
        starts = np.append(0, boundaries[:-1] + 1)
        return Segmentation(Segments(np.full_like(starts, -1), starts, boundaries))
