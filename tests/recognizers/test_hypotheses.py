"""What a recogniser hears of a corpus: kept, and counted where a loop was cut."""

import logging
import re

import numpy as np
import pytest
import soundfile

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.recognizers.base import Recognizer
from ssr_plugin.recognizers.hypotheses import recognize_all


class Repeats(Recognizer):
    """Says "no" of all, and of recordings of a second in a loop that was cut."""

    sample_rate = 16000

    def settings(self):
        return {"weights": "x"}

    def recognize(self, wavs, windows=None):
        found = [
            Alignment("", "no", (Unit("no", 0, 0.1, 0, 0.5),), "word", d, int(d == 1.0))
            for d in (len(wav) / self.sample_rate for wav in wavs)
        ]
        self.note_loops(found)
        return found


@pytest.mark.parametrize("seconds, count", [((1, 1, 0.5), 2), ((0.5, 0.5), 0)])
def test_utterances_with_a_cut_loop_are_counted_when_heard_and_when_found_again(
    tmp_path, caplog, seconds, count
):
    items = []
    for number, length in enumerate(seconds):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.ones(int(length * 16000)) / 2, 16000)
        items.append(AlignmentItem(f"utt-{number}", str(path), ""))
    recognizer = Repeats()
    for heard in (count, 0):
        recognizer.num_looped = 0
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found, _ = recognize_all(items, recognizer, tmp_path / "cache")
        assert recognizer.num_looped == heard
        assert sum(x.cut_loops for x in found.values()) == count
        told = [text for text in caplog.messages if "utterances" in text]
        assert len(told) == (count > 0)
        for text in told:
            assert re.match("in 2 of 3 utterances .* once: utt-0, utt-1$", text)
        # The first is shown, as soon as it is heard.
        shown = [text for text in caplog.messages if text.endswith("of audio: 'no'")]
        assert len(shown) == (heard > 0)
