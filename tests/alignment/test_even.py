"""Even alignment: no tool, only the first and the last sound and the letters."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin import build
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.even import EvenAligner, first_and_last_sound
from ssr_plugin.alignment.record import AlignmentError

RATE = 16000


def sound(path, *bursts, rate=RATE):
    """Parts of (seconds, loudness): noise in no silence."""
    rng = np.random.default_rng(0)
    samples = [level * rng.standard_normal(round(s * rate)) for s, level in bursts]
    soundfile.write(path, np.concatenate(samples), rate)
    return str(path)


def test_letters_share_the_time_from_the_first_to_the_last_sound(tmp_path):
    wav = sound(tmp_path / "a.wav", (0.4, 0.001), (1.2, 0.1), (0.6, 0.001))
    (alignment,) = EvenAligner().align([AlignmentItem("a", wav, "Ab, cd efg’h 12!")])
    assert alignment.kind == "word"
    assert alignment.duration == pytest.approx(2.2)
    assert [unit.text for unit in alignment.units] == ["Ab,", "cd", "efg’h", "12!"]
    times = [(unit.start, unit.end) for unit in alignment.units]
    expected = [(0.4, 0.64), (0.64, 0.88), (0.88, 1.36), (1.36, 1.6)]
    assert np.abs(np.subtract(times, expected)).max() < 0.021


def test_neither_loudness_nor_soft_noise_changes_an_even_alignment(tmp_path):
    bursts = [(0.5, 0.0), (1.0, 0.1), (0.5, 0.0)]
    items = [AlignmentItem("a", sound(tmp_path / "a.wav", *bursts), "one two")]
    for i, (voice, noise) in enumerate([(0.001, 0.0), (0.1, 0.0005)]):
        bursts = [(0.5, noise), (1.0, voice), (0.5, noise)]
        wav = sound(tmp_path / f"{i}.wav", *bursts)
        items.append(AlignmentItem("a", wav, "one two"))
    first, *others = EvenAligner().align(items)
    assert all(other == first for other in others)


def test_steady_noise_is_sound_from_end_to_end(tmp_path):
    wav = sound(tmp_path / "a.wav", (1.01, 0.1), rate=8000)
    (alignment,) = EvenAligner().align([AlignmentItem("a", wav, "one two")])
    assert (alignment.units[0].start, alignment.units[-1].end) == (0.0, 1.01)


def test_the_even_aligner_gives_an_error_for_each_utterance_it_cannot_align(tmp_path):
    good = sound(tmp_path / "a.wav", (0.5, 0.1))
    silent = sound(tmp_path / "b.wav", (0.5, 0.0))
    items = [
        AlignmentItem("good", good, "hello"),
        AlignmentItem("mute", good, "... -"),
        AlignmentItem("gone", "gone.wav", "hello"),
        AlignmentItem("silent", silent, "hello"),
    ]
    results = EvenAligner().align(items)
    assert [isinstance(result, AlignmentError) for result in results] == [0, 1, 1, 1]
    assert str(results[1]) == "mute: no letter or digit in '... -'"
    assert str(results[2]) == "gone: there is no audio file gone.wav"
    assert str(results[3]) == f"silent: nothing but silence in '{silent}'"


def test_the_even_aligner_is_made_by_name_and_cached(tmp_path):
    wav = sound(tmp_path / "a.wav", (0.5, 0.1))
    aligner = build.aligner("even")
    items = [AlignmentItem("a", wav, "日本 hello")]
    alignments, problems = align(items, aligner, tmp_path / "cache", num_workers=1)
    assert [unit.text for unit in alignments["a"].units] == ["日", "本", "hello"]
    assert not len(problems)


@given(
    st.lists(st.sampled_from([0.0, 1e-3, 0.5, 1.0]), min_size=1, max_size=40),
    st.integers(1, 9),
)
def test_sound_lies_inside_the_audio_and_around_the_loudest_sample(samples, size):
    samples = np.array(samples)
    sound_times = first_and_last_sound(samples, 10, step=size / 10)
    if not samples.any():
        assert sound_times is None
        return
    start, end = np.round(10 * np.array(sound_times)).astype(int)
    assert 0 <= start < end <= len(samples)
    assert not (samples[:start] >= 0.5).any() and not (samples[end:] >= 0.5).any()
