"""A data set: one table for each split, an audio file and a transcript in each line."""

import pathlib

from ssr_plugin.data.datasets import DataSet, Utterance


class TableDataSet(DataSet):
    def splits(self):
        return sorted(path.stem for path in self.folder.glob("*.tsv"))

    def utterances(self, split):
        for line in (self.folder / f"{split}.tsv").read_text().splitlines():
            wav, speaker, text = line.split("\t")
            yield Utterance(pathlib.Path(wav).stem, wav, text, speaker)
