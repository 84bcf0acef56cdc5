"""The Open ASR leaderboard's words: where they are not Whisper's."""

import pytest

from ssr_plugin.metrics.leaderboard_wer import (
    is_scored,
    leaderboard_errors,
    leaderboard_words,
)
from ssr_plugin.metrics.wer import whisper_words


@pytest.mark.parametrize(
    "text, words",
    [
        ("the U.S.A. and the U.S.", "the usa and the us"),
        ("CEOs: C.E.O.s, I.B.M. at 8 a.m. sharp", "ceos ceos ibm at 8 am sharp"),
        ("well... so .... yes...", "well so yes"),
        ("kinda 'cause I dunno", "kinda cause i dunno"),
        # Joined letters are no filler.
        ("U.M. and um", "um and"),
    ],
)
def test_letters_and_ellipses_are_joined_as_the_leaderboard_does(text, words):
    assert leaderboard_words(text) == words.split()
    assert whisper_words(text) != words.split()


@pytest.mark.parametrize(
    "text", ["Mr. Brown's colour is twenty-one", "uh, $3.50 [noise] won't", ""]
)
def test_all_else_is_whispers(text):
    assert leaderboard_words(text) == whisper_words(text)


def test_errors_are_counted_in_its_words():
    assert leaderboard_errors("THE U S ARMY", "The U.S. Army") == (2, 4)
    assert leaderboard_errors("the us army", "The U.S. army... uh") == (0, 3)


def test_what_it_does_not_score_is_known():
    assert not is_scored("ignore_time_segment_in_scoring")
    assert not is_scored("<unk> (laughs) uh")
    assert is_scored("ignore the time segment in scoring")
