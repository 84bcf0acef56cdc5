"""Segmenters: utterances to segments of frames, one per LLM token."""

import importlib
from typing import Any

_MODULES = {
    "BoundarySegmenter": "boundary",
    "CIFSegmenter": "cif",
    "CharCTCSegmenter": "char_ctc",
    "FixedSegmenter": "fixed",
    "ForcedSegmenter": "forced",
    "FrameSegmenter": "base",
    "Needs": "base",
    "Segmentation": "base",
    "SegmentationError": "base",
    "Segmenter": "base",
    "Segments": "base",
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


def __getattr__(name: str) -> Any:
    # Late: some need the LLM's and the aligners' modules, which take seconds.
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
