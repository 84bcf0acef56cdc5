"""Your own data set: change these few lines, and it trains.

To see whether it is read as you mean it, without training::

    python recipes/template/prepare.py DATA_FOLDER SAVE_FOLDER
"""

from ssr_plugin.data.datasets import DataSet, Utterance, bad_line, name_of
from ssr_plugin.data.prepare_cli import prepare_command
from ssr_plugin.data.tables import read_lines


class MyDataSet(DataSet):
    """Recordings, and a text file that says what is said in them.

    The layout::

        DATA_FOLDER/
            train.txt       "a1.wav<TAB>good morning" a line
            test.txt        another split, if you like: one that test_splits names
            a1.wav          or .flac, .mp3, .opus, ...; .m4a, .mp4 with ffmpeg
    """

    # If it is not English: what is spoken, as a BCP-47 code.
    # language = "de"

    def splits(self):
        return sorted(path.stem for path in self.folder.glob("*.txt"))

    def utterances(self, split):
        path = self.folder / f"{split}.txt"
        for line in read_lines(path):
            name, tab, text = line.text.partition("\t")
            if line.problem or not tab:
                # Not an exception: one bad line is named, counted and skipped; many
                # stop the run.
                reason = line.problem or "it has no tab between file and text"
                yield bad_line(path, line.number, reason)
                continue
            wav = self.folder / name.strip()
            yield Utterance(
                # Unique in the whole data set: caches go by it.
                id=name_of(wav),
                # A part of a long recording is f"{wav}#t=12.5,17.25", in seconds.
                wav=str(wav),
                text=text,
                # Whole speakers are held out for validation. If files are named
                # anna_1.wav, say who speaks:
                # speaker=wav.stem.partition("_")[0],
            )


if __name__ == "__main__":
    prepare_command(MyDataSet)
