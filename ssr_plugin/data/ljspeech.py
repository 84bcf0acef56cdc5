"""LJSpeech as a data set."""

from collections import defaultdict

from ssr_plugin.data.audio_headers import audio_files
from ssr_plugin.data.datasets import DataSet, Utterance, read_text


class LJSpeech(DataSet):
    """LJSpeech 1.1 (Ito and Johnson, 2017) as published, whole or in part.

    The layout::

        LJSpeech-1.1/
            metadata.csv           LJ001-0001|as printed, in 1455|normalised, in ...
            wavs/
                LJ001-0001.wav

    One speaker, ``LJ``; transcripts are the normalised column. The data set publishes
    no splits: here the last chapter, LJ050, is ``test`` and all else is ``train``.

    Arguments
    ---------
    data_folder : path-like
        The folder ``LJSpeech-1.1`` or the one it lies in.

    Raises
    ------
    FileNotFoundError
        If there is no ``metadata.csv``.
    """

    TEST_CHAPTER = "LJ050"
    language = "en"

    def __init__(self, data_folder):
        super().__init__(data_folder)
        if (self.folder / "LJSpeech-1.1").is_dir():
            self.folder = self.folder / "LJSpeech-1.1"
        metadata = self.folder / "metadata.csv"
        if not metadata.is_file():
            raise FileNotFoundError(
                f"data_folder: no metadata.csv in '{self.folder}'; "
                f"name the folder LJSpeech-1.1"
            )
        # Bars separate the columns; quotation marks are plain text.
        rows = (line.split("|") for line in read_text(metadata).split("\n") if line)
        # Each row is an utterance: the preparation names ids that come twice.
        self._texts = defaultdict(list)
        for name, *texts in rows:
            self._texts[name].append(texts[-1] if texts else None)
        wavs = self.folder / "wavs"
        self._wavs = {path.stem: path for path in audio_files(wavs)}
        for name in self._texts:
            self._wavs.setdefault(name, wavs / f"{name}.wav")

    def splits(self):
        return sorted({self._split(name) for name in self._wavs})

    def utterances(self, split):
        for name, wav in self._wavs.items():
            if self._split(name) == split:
                for text in self._texts.get(name, [None]):
                    yield Utterance(name, str(wav), text, "LJ")

    def _split(self, name):
        return "test" if name.startswith(self.TEST_CHAPTER) else "train"
