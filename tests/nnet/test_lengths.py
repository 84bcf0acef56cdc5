"""Lengths: counts and SpeechBrain's shares are the same; what is neither is refused."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.connectors.cif import CIFConnector
from ssr_plugin.nnet.frames import FrameNetwork, frame_mask
from ssr_plugin.nnet.lengths import absolute_lengths
from ssr_plugin.nnet.segment_lists import zero_after
from ssr_plugin.segmenters.fixed import FixedSegmenter
from ssr_plugin.training import augment

T = 40
FEATURES = torch.randn(2, T, 6, generator=torch.Generator().manual_seed(0))
COUNTS, SHARES = torch.tensor([40, 10]), torch.tensor([1.0, 0.25])
LLM = SimpleNamespace(hidden_size=8, tokenizer=None)


def cut(lengths):
    segments = FixedSegmenter(6, LLM, 50.0).segment_frames(FEATURES, lengths)
    return torch.cat([torch.as_tensor(x.segments.boundaries) for x in segments])


#: Each module and function that takes lengths, given these.
USERS = {
    "FrameNetwork": lambda n: FrameNetwork(6, 8, 1, 2, dropout=0.0)(FEATURES, n)[0],
    "FrameNetwork's lengths": lambda n: FrameNetwork(6, 8, 1, 2)(FEATURES, n)[1],
    "FixedSegmenter": cut,
    "CIFConnector.weigh": lambda n: CIFConnector(6, LLM).weigh(FEATURES, n),
    "frame_mask": lambda n: frame_mask(n, T),
    "zero_after": lambda n: zero_after(FEATURES, n),
}


@pytest.mark.parametrize("user", USERS)
def test_shares_of_the_padded_length_are_the_counts(user):
    torch.manual_seed(1)
    expected = USERS[user](COUNTS)
    torch.manual_seed(1)
    assert torch.equal(USERS[user](SHARES), expected)
    torch.manual_seed(1)
    # Else lengths would have no say at all.
    assert not torch.equal(USERS[user](torch.tensor([40, 40])), expected)


@pytest.mark.parametrize("user", USERS)
def test_counts_as_floats_are_refused(user):
    with pytest.raises(ValueError, match="give whole numbers of steps, or"):
        USERS[user](COUNTS.float())


def test_boundaries_can_be_jittered_by_counts_alone():
    boundaries, starts = torch.tensor([[2, 5]]), torch.tensor([[0, 3]])
    augment.jitter_boundaries(boundaries, starts, torch.tensor([6]), 1.0)
    with pytest.raises(ValueError, match="padded length is not known"):
        augment.jitter_boundaries(boundaries, starts, torch.tensor([1.0]), 1.0)


@given(st.lists(st.integers(0, 10**6), min_size=1), st.integers(0, 1000))
def test_absolute_lengths_undoes_what_speechbrain_does(counts, padding):
    total = max(counts) + padding or 1
    lengths = torch.tensor(counts)
    assert torch.equal(absolute_lengths(lengths, total), lengths)
    assert torch.equal(absolute_lengths(lengths / total, total), lengths)


@pytest.mark.parametrize("wrong", [1.01, 2.0, -0.1, float("nan"), float("inf")])
def test_absolute_lengths_refuses_what_is_neither_share_nor_count(wrong):
    with pytest.raises(ValueError, match=r"lengths are \[.*\]: give"):
        absolute_lengths(torch.tensor([1.0, wrong]), 10)
