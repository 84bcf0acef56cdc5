"""LibriSpeech, and any corpus in its folder layout, as a data set."""

from collections import defaultdict

from ssr_plugin.data.audio_headers import audio_files
from ssr_plugin.data.datasets import DataSet, Utterance, read_text


class LibriSpeech(DataSet):
    """LibriSpeech (Panayotov et al., 2015) as published, whole or in part.

    The layout, with any split names and any type of audio file::

        LibriSpeech/
            train-clean-100/
                19/                          speaker
                    198/                     chapter
                        19-198-0000.flac
                        19-198.trans.txt     "19-198-0000 NORTHANGER ABBEY" a line

    Arguments
    ---------
    data_folder : path-like
        The folder ``LibriSpeech`` or the one it lies in.
    """

    def __init__(self, data_folder):
        super().__init__(data_folder)
        if (self.folder / "LibriSpeech").is_dir():
            self.folder = self.folder / "LibriSpeech"

    def utterances(self, split):
        for chapter in sorted((self.folder / split).glob("*/*/")):
            if not chapter.is_dir():
                continue
            speaker = chapter.parent.name
            texts = defaultdict(list)
            for path in sorted(chapter.glob("*.trans.txt")):
                for line in read_text(path).split("\n"):
                    if words := line.split(maxsplit=1):
                        texts[words[0]].append(" ".join(words[1:]))
            # Each line is an utterance: the preparation names ids that come twice.
            for wav in audio_files(chapter):
                for text in texts.pop(wav.stem, [None]):
                    yield Utterance(wav.stem, str(wav), text, speaker)
            for name, copies in texts.items():
                for text in copies:
                    yield Utterance(name, str(chapter / f"{name}.flac"), text, speaker)
