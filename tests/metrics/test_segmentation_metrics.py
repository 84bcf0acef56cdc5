"""Found segments against forced ones, in figures counted by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssr_plugin.metrics.segmentation_metrics import SegmentationMetrics, match_times
from ssr_plugin.segmenters.base import Segments

RATE = 50.0


def segments_of(starts, tokens=None, frames=100):
    """Segments that begin at these frames; tokens are unknown unless given."""
    starts = np.asarray(starts, dtype=np.int64)
    boundaries = np.append(starts[1:], frames)[: len(starts)] - 1
    tokens = [-1] * len(starts) if tokens is None else tokens
    return Segments(np.asarray(tokens, dtype=np.int64), starts, boundaries)


def summary(tokenizer, *utterances):
    """The figures of pairs of found and forced segments."""
    metrics = SegmentationMetrics(tokenizer, RATE)
    for i, (found, reference) in enumerate(utterances):
        metrics.add(f"u{i}", found, reference)
    return metrics.summary()


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


FIRST, LAST = [0, 10, 30], [5, 20]


def test_equal_segments_are_without_fault(tiny_tokenizer):
    tokens = ids(tiny_tokenizer, "the cat sat")
    reference = segments_of(FIRST, tokens)
    figures = summary(tiny_tokenizer, (reference, reference))
    assert figures == {
        "boundary_mae_ms": 0.0,
        "boundary_precision": 100.0,
        "boundary_recall": 100.0,
        "boundary_f1": 100.0,
        "count_error": 0.0,
        "segments_per_token": 1.0,
        "hypothesis_wer": 0.0,
        "hypothesis_wer_whisper": 0.0,
    }


def test_boundaries_count_as_found_within_50_ms_each_once():
    # 40 ms late; 60 ms late; one that is met twice; one more.
    found = segments_of([2, 13, 29, 31, 50])
    figures = summary(None, (found, segments_of(FIRST)))
    assert figures["boundary_precision"] == pytest.approx(100 * 2 / 5)
    assert figures["boundary_recall"] == pytest.approx(100 * 2 / 3)
    assert figures["boundary_f1"] == pytest.approx(100 * 4 / 8)
    assert figures["boundary_mae_ms"] == pytest.approx((40 + 60 + 20) / 3)
    assert figures["count_error"] == pytest.approx(100 * 2 / 3)
    assert figures["segments_per_token"] == pytest.approx(5 / 3)
    assert figures["hypothesis_wer"] is None


def test_figures_are_of_all_utterances_and_too_many_do_not_make_up_for_too_few():
    figures = summary(
        None,
        (segments_of([0, 10]), segments_of(FIRST)),
        (segments_of([5, 20, 40]), segments_of(LAST)),
    )
    assert figures["count_error"] == pytest.approx(100 * 2 / 5)
    assert figures["segments_per_token"] == 1.0
    assert figures["boundary_f1"] == pytest.approx(100 * 8 / 10)


def test_an_utterance_in_which_nothing_is_found_is_all_missed():
    figures = summary(None, (Segments.none(), segments_of(FIRST)))
    assert figures["boundary_recall"] == figures["boundary_f1"] == 0.0
    assert figures["count_error"] == 100.0
    assert figures["segments_per_token"] == 0.0
    # There is nothing to divide by.
    assert figures["boundary_precision"] is None
    assert figures["boundary_mae_ms"] is None


def test_without_any_utterance_all_figures_are_none(tiny_tokenizer):
    assert set(summary(tiny_tokenizer).values()) == {None}
    assert set(summary(None, (Segments.none(), Segments.none())).values()) == {None}


def test_a_hypothesis_is_scored_by_words(tiny_tokenizer):
    said, heard = (ids(tiny_tokenizer, x) for x in ("the cat sat", "the sat sat a"))
    metrics = SegmentationMetrics(tiny_tokenizer, RATE)
    reference = segments_of(FIRST, said)
    metrics.add("a", segments_of([0, 9, 30, 60], heard), reference)
    assert metrics.summary()["hypothesis_wer"] == pytest.approx(100 * 2 / 3)
    # One that hears nothing has missed all words.
    metrics.add("b", Segments.none(), reference)
    assert metrics.summary()["hypothesis_wer"] == pytest.approx(100 * 5 / 6)
    assert metrics.hypotheses == [
        ("a", "the cat sat", "the sat sat a"),
        ("b", "the cat sat", ""),
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_a_segmenter_that_tells_no_tokens_has_no_hypothesis(tiny_tokenizer, order):
    """Not even of an utterance in which it finds nothing."""
    reference = segments_of(FIRST, ids(tiny_tokenizer, "the cat sat"))
    utterances = [(Segments.none(), reference), (segments_of(LAST), reference)]
    metrics = SegmentationMetrics(tiny_tokenizer, RATE)
    for i, (found, wanted) in enumerate(utterances[::order]):
        metrics.add(f"u{i}", found, wanted)
    assert metrics.summary()["hypothesis_wer"] is None
    assert metrics.hypotheses == []


# Quarters, of which many are equal and exactly as far apart as may be.
TIMES = st.lists(st.integers(0, 12).map(lambda n: n / 4), max_size=5).map(sorted)


@settings(max_examples=150, deadline=None)
@given(TIMES, TIMES, st.sampled_from([0.0, 0.25, 0.5]))
def test_as_many_times_are_paired_as_can_be(found, reference, most):
    pairs = match_times(found, reference, most)
    for side in zip(*pairs, strict=True):
        assert list(side) == sorted(set(side))
    assert all(abs(found[i] - reference[j]) <= most for i, j in pairs)

    def pairs_up(count):
        return any(
            all(abs(found[i] - reference[j]) <= most for i, j in zip(a, b, strict=True))
            for a in itertools.combinations(range(len(found)), count)
            for b in itertools.combinations(range(len(reference)), count)
        )

    assert not pairs_up(len(pairs) + 1)
