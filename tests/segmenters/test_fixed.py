"""Fixed segments: runs of k frames, whatever is said."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssr_plugin import build
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.segmenters.base import Needs, TrainableSegmenter
from ssr_plugin.segmenters.fixed import FixedSegmenter

LLM = SimpleNamespace(tokenizer=None)


def cut(segmenter, *lengths):
    features = torch.zeros(len(lengths), max(lengths, default=0), 2)
    found = segmenter.segment_frames(features, torch.tensor(lengths, dtype=torch.long))
    return [each.segments for each in found]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.sampled_from([12.5, 25.0, 50.0]), st.floats(0.5, 60))
def test_fixed_segments_cover_all_frames_without_gap_or_overlap(
    length, frame_rate, rate
):
    segmenter = FixedSegmenter(6, LLM, frame_rate, rate)
    (segments,) = cut(segmenter, length)
    frames = [
        frame
        for start, boundary in zip(segments.starts, segments.boundaries, strict=True)
        for frame in range(start, boundary + 1)
    ]
    assert frames == list(range(length))
    sizes = segments.boundaries - segments.starts + 1
    assert (sizes[:-1] == segmenter.size).all()
    assert len(segments) == -(-length // segmenter.size)


@pytest.mark.parametrize(
    "frame_rate, rate, size",
    [(50.0, 5.0, 10), (50.0, 3.0, 17), (25.0, 10.0, 2), (50.0, 50.0, 1), (25.0, 90, 1)],
)
def test_the_size_of_fixed_segments_is_the_nearest_to_the_rate_asked_for(
    frame_rate, rate, size
):
    assert FixedSegmenter(6, LLM, frame_rate, rate).size == size


def test_the_fixed_segmenter_cuts_utterances_by_their_lengths_not_the_padded_one():
    batch = cut(FixedSegmenter(6, LLM, 50.0, 12.5), 9, 4, 1, 0)
    boundaries, starts, tokens = pad_segments(batch)
    assert boundaries.tolist() == [[3, 7, 8], [3, -1, -1], [0, -1, -1], [-1, -1, -1]]
    assert starts.tolist() == [[0, 4, 8], [0, -1, -1], [0, -1, -1], [-1, -1, -1]]
    assert (tokens == -1).all()


def test_the_fixed_segmenter_gives_no_segments_of_no_frames():
    segmenter = FixedSegmenter(6, LLM, 50.0)
    (segments,) = cut(segmenter, 0)
    assert len(segments) == 0
    assert {segments.tokens.dtype, segments.boundaries.dtype} == {np.dtype("int64")}
    assert cut(segmenter) == []


@pytest.mark.parametrize("rate", [0, -5.0, float("nan")])
def test_the_fixed_segmenter_names_a_rate_that_is_not_above_zero(rate):
    with pytest.raises(ValueError, match="vectors_per_second: .* is not above 0"):
        FixedSegmenter(6, LLM, 50.0, rate)


def test_the_fixed_segmenter_is_made_by_name_and_needs_no_transcript():
    encoder = SimpleNamespace(width=6, frame_rate=50.0)
    options = {"fixed": {"vectors_per_second": 10}}
    segmenter = build.segmenter("fixed", encoder, LLM, options)
    assert segmenter.size == 5
    assert segmenter.needs is Needs.FRAMES
    assert not isinstance(segmenter, TrainableSegmenter)
