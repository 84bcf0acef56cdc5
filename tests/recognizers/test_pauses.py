"""Long audio cut where it is quiet."""

import torch

from ssr_plugin.recognizers.pauses import cut_at_pauses


def test_parts_hold_all_of_the_audio_once_and_are_not_too_long():
    wav = torch.randn(10007, generator=torch.Generator().manual_seed(0))
    parts = cut_at_pauses(wav, 1000, sample_rate=100)
    assert parts[0][0] == 0 and parts[-1][1] == len(wav)
    assert [stop for _, stop in parts[:-1]] == [first for first, _ in parts[1:]]
    assert max(stop - first for first, stop in parts) <= 1000


def test_a_cut_is_in_the_pause():
    wav = torch.ones(1500)
    wav[800:850] = 0.01
    (_, cut), _ = cut_at_pauses(wav, 1000, sample_rate=100)
    assert 800 < cut < 850


def test_audio_that_fits_is_one_part_and_none_is_no_part():
    assert cut_at_pauses(torch.ones(1000), 1000, 100) == [(0, 1000)]
    assert cut_at_pauses(torch.ones(0), 1000, 100) == []
