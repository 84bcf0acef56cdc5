"""Segmenters: utterances to segments of frames, one per LLM token."""

import importlib
from typing import TYPE_CHECKING, Any

_MODULES = {
    "ASRSegmenter": "asr",
    "BoundarySegmenter": "boundary",
    "CIFSegmenter": "cif",
    "CharCTCSegmenter": "char_ctc",
    "FixedSegmenter": "fixed",
    "ForcedSegmenter": "forced",
    "FrameSegmenter": "base",
    "HearingSegmenter": "base",
    "Needs": "base",
    "Segmentation": "base",
    "SegmentationError": "base",
    "Segmenter": "base",
    "Segments": "base",
    "StreamWindows": "base",
    "SubwordCTCSegmenter": "subword_ctc",
    "TextAligner": "base",
    "TokenPosteriors": "base",
    "TrainableSegmenter": "base",
    "TranscriptSegmenter": "base",
    "Unity2Segmenter": "unity2",
    "load_segmenter": "trained",
    "save_segmenter": "trained",
}
__all__ = sorted(_MODULES)

if TYPE_CHECKING:
    from ssr_plugin.segmenters.asr import ASRSegmenter as ASRSegmenter
    from ssr_plugin.segmenters.base import FrameSegmenter as FrameSegmenter
    from ssr_plugin.segmenters.base import HearingSegmenter as HearingSegmenter
    from ssr_plugin.segmenters.base import Needs as Needs
    from ssr_plugin.segmenters.base import Segmentation as Segmentation
    from ssr_plugin.segmenters.base import SegmentationError as SegmentationError
    from ssr_plugin.segmenters.base import Segmenter as Segmenter
    from ssr_plugin.segmenters.base import Segments as Segments
    from ssr_plugin.segmenters.base import StreamWindows as StreamWindows
    from ssr_plugin.segmenters.base import TextAligner as TextAligner
    from ssr_plugin.segmenters.base import TokenPosteriors as TokenPosteriors
    from ssr_plugin.segmenters.base import TrainableSegmenter as TrainableSegmenter
    from ssr_plugin.segmenters.base import TranscriptSegmenter as TranscriptSegmenter
    from ssr_plugin.segmenters.boundary import BoundarySegmenter as BoundarySegmenter
    from ssr_plugin.segmenters.char_ctc import CharCTCSegmenter as CharCTCSegmenter
    from ssr_plugin.segmenters.cif import CIFSegmenter as CIFSegmenter
    from ssr_plugin.segmenters.fixed import FixedSegmenter as FixedSegmenter
    from ssr_plugin.segmenters.forced import ForcedSegmenter as ForcedSegmenter
    from ssr_plugin.segmenters.subword_ctc import (
        SubwordCTCSegmenter as SubwordCTCSegmenter,
    )
    from ssr_plugin.segmenters.trained import load_segmenter as load_segmenter
    from ssr_plugin.segmenters.trained import save_segmenter as save_segmenter
    from ssr_plugin.segmenters.unity2 import Unity2Segmenter as Unity2Segmenter
else:

    def __getattr__(name: str) -> Any:
        # Late: some need the LLM's and the aligners' modules, which take seconds.
        if name in _MODULES:
            return getattr(
                importlib.import_module(f"{__name__}.{_MODULES[name]}"), name
            )
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
