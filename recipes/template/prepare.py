"""Copy this folder, change these few lines, and your own data set trains.

To see whether it is read as you mean it, without training::

    python recipes/template/prepare.py DATA_FOLDER SAVE_FOLDER
"""

from ssr_plugin.data.audio_headers import audio_files
from ssr_plugin.data.datasets import DataSet, Utterance, read_text
from ssr_plugin.data.prepare_cli import prepare_command


class MyDataSet(DataSet):
    """Audio files, each with a text file of the same name beside it.

    The layout::

        DATA_FOLDER/
            train/              a split; its name is what train_splits names
                anna/           a speaker
                    a1.wav      or .flac, .mp3, .opus, ...; .m4a, .mp4 with ffmpeg
                    a1.txt      what is said in a1.wav
    """

    # Splits are the sub-folders of data_folder. Where yours are something else,
    # say which there are:
    #
    # def splits(self):
    #     return ["train", "test"]

    def utterances(self, split):
        folder = self.folder / split
        for speaker in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
            for wav in audio_files(speaker):
                txt = wav.with_suffix(".txt")
                yield Utterance(
                    # Unique in the whole data set: caches go by it.
                    id=f"{speaker.name}-{wav.stem}",
                    wav=str(wav),
                    # None, not an exception: one missing transcript is named, counted
                    # and skipped; many stop the run.
                    text=read_text(txt) if txt.exists() else None,
                    # Whole speakers are held out for validation. If you do not know
                    # who speaks, leave this line out.
                    speaker=speaker.name,
                )


if __name__ == "__main__":
    prepare_command(MyDataSet)
