"""Two alignments are compared word by word, whatever form they have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.alignment.compare_alignments import compare, main, read_words
from ssr_plugin.alignment.formats import FormatError
from ssr_plugin.alignment.quality import boundary_errors, match_words

times = st.lists(
    st.integers(-500, 500).map(lambda ms: ms / 1000), min_size=1, max_size=30
)


@given(times)
def test_boundary_errors_keep_to_their_bounds(differences):
    errors = boundary_errors(differences)
    assert abs(errors.bias) <= errors.mae + 1e-9
    assert errors.within_20 <= errors.within_50
    assert min(map(abs, differences)) * 1000 - 1e-6 <= errors.median


@given(times)
def test_swapping_judged_and_reference_flips_only_the_bias(differences):
    forward = boundary_errors(differences)
    backward = boundary_errors([-d for d in differences])
    assert backward.mae == pytest.approx(forward.mae)
    assert backward.bias == pytest.approx(-forward.bias)
    assert (backward.within_20, backward.within_50) == (
        forward.within_20,
        forward.within_50,
    )


def test_a_difference_of_exactly_20_ms_is_within_20_ms():
    assert boundary_errors([0.52 - 0.50, 0.50 - 0.52]).within_20 == 1


@given(st.lists(st.sampled_from("abcd"), max_size=8), st.data())
def test_match_words_pairs_equal_words_in_order(words, data):
    subset = [w for w in words if data.draw(st.booleans())]
    ours, theirs = ([(w, 0.0, 1.0) for w in side] for side in (words, subset))
    pairs = match_words(ours, theirs)
    assert all(words[i] == subset[j] for i, j in pairs)
    assert all(
        a < c and b < d for (a, b), (c, d) in zip(pairs, pairs[1:], strict=False)
    )


def test_missing_words_and_utterances_are_counted():
    judged = {"a": [("one", 0.0, 0.5), ("two", 0.5, 1.0)], "b": []}
    reference = {"a": [("ONE,", 0.1, 0.5), ("three", 0.5, 1.0)], "c": [], "d": []}
    result = compare(judged, reference)
    assert (result.utterances, result.only_judged, result.only_reference) == (1, 1, 2)
    assert (result.words, result.missing, result.extra) == (2, 1, 1)
    assert result.starts.bias == -100
    assert result.both.mae == 50


def test_comparing_sets_without_a_common_utterance_is_an_error_that_shows_ids():
    with pytest.raises(ValueError, match="'a', ... and 'b', ..."):
        compare({"a": []}, {"b": []})


def test_the_comparison_command_prints_a_table(tmp_path, capsys):
    (tmp_path / "a.ctm").write_text("u 1 0.10 0.20 hi\nu 1 0.40 0.20 bo\n")
    (tmp_path / "b.ctm").write_text("u 1 0.12 0.20 HI\nu 1 0.50 0.20 you\n")
    main([str(tmp_path / "a.ctm"), str(tmp_path / "b.ctm")])
    printed = capsys.readouterr().out.splitlines()
    assert printed[1] == "words: 2 in B, 1 missing in A (50.0 %), 1 only in A"
    assert printed[3].split() == [
        "starts", "20.0", "20.0", "-20.0", "100.0", "%", "100.0", "%",
    ]  # fmt: skip
    with pytest.raises(SystemExit, match="error: no alignment files in"):
        main([str(tmp_path / "none"), str(tmp_path / "b.ctm")])


def test_two_files_that_align_an_utterance_differently_are_refused(tmp_path):
    (tmp_path / "a.ctm").write_text("u 1 0.10 0.20 hi\n")
    (tmp_path / "b.ctm").write_text("u 1 0.12 0.20 hi\n")
    with pytest.raises(FormatError, match="'u' is aligned in .*a.ctm.* in .*b.ctm"):
        read_words(tmp_path)
