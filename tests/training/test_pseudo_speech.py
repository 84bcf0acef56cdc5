"""Pseudo speech: texts are read with the errors that were made on held-out speech."""

import numpy as np
import pytest
import torch

from ssr_plugin.segmenters.forced import ForcedSegmenter
from ssr_plugin.training.pseudo_speech import (
    HeardUtterance,
    PseudoSpeech,
    misheard,
    read_texts,
)


def heard(tops, tokens, others=0):
    """What was heard, given the likeliest tokens, each with 0.75 of its vector."""
    ids = np.array([[top, others] for top in tops]).reshape(-1, 2)
    return HeardUtterance.of(ids, np.tile([0.75, 0.25], (len(ids), 1)), tokens)


def test_tokens_that_are_heard_right_become_the_texts_and_others_stay():
    pattern = heard([5, 9, 7], [5, 6, 7], others=3)
    ids, shares, said = misheard(np.array([20, 21, 22, 23]), pattern, start=0)
    assert ids.tolist() == [[20, 3], [9, 3], [22, 3], [23, 3]]
    assert said.tolist() == [0, 1, 2, 3] and shares.tolist() == [[0.75, 0.25]] * 4


def test_the_right_token_may_be_heard_beside_a_likelier_one():
    pattern = heard([9], [6], others=6)
    ids, _, _ = misheard(np.array([20, 21]), pattern, start=0)
    assert ids.tolist() == [[9, 20], [9, 21]]


@pytest.mark.parametrize(
    "tops, said, found",
    [
        ([5, 7], [0, 2], [20, 22]),  # the second is lost
        ([5, 6, 6, 7], [0, 1, 1, 2], [20, 21, 6, 22]),  # and here said twice
        ([8, 5, 6, 7], [0, 0, 1, 2], [8, 20, 21, 22]),  # before the first one
        ([], [], []),
    ],
)
def test_tokens_are_lost_and_added_as_they_were(tops, said, found):
    pattern = heard(tops, [5, 6, 7])
    ids, _, where = misheard(np.array([20, 21, 22]), pattern, start=0)
    # Of two that say the same, one was added: which of them is all one.
    assert where.tolist() == said
    assert sorted(ids[:, 0]) == sorted(found)


def test_a_text_of_any_length_borrows_errors_from_any_token_on():
    pattern = heard([5, 6], [5, 6, 7])
    ids, _, said = misheard(np.arange(20, 27), pattern, start=1)
    assert said.tolist() == [0, 2, 3, 5, 6]
    assert ids[:, 0].tolist() == [20, 22, 23, 25, 26]


def test_as_many_tokens_are_drawn_as_are_asked_for_the_same_by_the_same_seed():
    texts = [np.array([20, 21]), np.array([22, 23, 24])]
    speech = PseudoSpeech(texts, [heard([5, 6], [5, 6]), heard([], [5])])
    assert speech.draw(0) == []
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        runs.append(speech.draw(50))
    for one, other in zip(*runs, strict=True):
        assert all(map(np.array_equal, one, other))
    tokens = [text for *_, text in runs[0]]
    assert 50 <= sum(map(len, tokens)) < 53
    assert {len(text) for text in tokens} == {2, 3}
    assert {len(ids) for ids, *_ in runs[0]} == {0, 2, 3}


def test_texts_are_cut_and_have_two_tokens_at_least(llm, tmp_path):
    cutter = ForcedSegmenter(4, llm, 50.0)
    path = tmp_path / "mine.txt"
    path.write_text("The cat -- sat!\nA\nb, c: d (e) f\n")
    found = read_texts(str(path), None, cutter, 3)
    expected = [cutter.tokenize(x)[0] for x in ("the cat sat", "b c d e f")]
    assert [x.tolist() for x in found] == [
        expected[0],
        expected[1][:3],
        expected[1][3:],
    ]
    with pytest.raises(ValueError, match="pseudo_speech_source: .* no text"):
        read_texts(None, [np.array([4])], cutter, 3)
