"""Expresso: in which style an utterance is spoken, told by spoken examples."""

import random

from ssr_plugin.data.datasets import read_text
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.tts.text_normalization import transcript_of

_SPLITS = ("train", "dev", "test")


class Expresso(ChoiceBenchmark):
    """Styles of read speech (Expresso, Nguyen et al., arXiv 2308.05725).

    The layout: ``read_transcriptions.txt`` (id, tab, text), ``splits/<split>.txt`` (an
    id first in each line) and
    ``audio_48khz/read/<speaker>/<style>/base/<id>.wav``. The style is that of the
    folder. Long recordings and dialogues are left alone. ``ylacombe/expresso`` of the
    Hugging Face hub, whose one split is ``train``, is not read.

    Arguments
    ---------
    data : path-like
    styles : list of str
        Those to choose among.
    shots : int
        Examples of each style before each utterance: speech and the style's name. They
        are the same for all utterances, in an order drawn at random.
    split : str
        Whose utterances are heard.
    shot_split : str
        Whose utterances are examples.
    seed : int
        Which examples are drawn.
    max_items, metric
        Of :class:`ChoiceBenchmark`.
    """

    name = "expresso"

    def __init__(
        self,
        data,
        styles=("happy", "sad", "whisper", "confused"),
        shots=2,
        split="test",
        shot_split="train",
        max_items=None,
        seed=0,
        metric=None,
    ):
        super().__init__(metric, max_items)
        self.data = self.find_data(data)
        self.styles = list(styles)
        if len(set(self.styles)) < 2:
            raise ValueError(f"styles: {self.styles} leaves nothing to choose")
        if split == shot_split:
            raise ValueError(f"shot_split: '{split}' is what is measured")
        self.shots = shots
        self.split = split
        self.shot_split = shot_split
        self.seed = seed

    @property
    def about(self):
        """See :class:`Benchmark`."""
        return (
            f"An utterance is heard, after {self.shots} spoken examples of each of "
            f"{len(self.styles)} styles with the style's name; the names are the "
            f"choices. Read as text, they show what words alone tell of the style. "
            f"Expresso, arXiv 2308.05725."
        )

    def docs(self):
        """See :meth:`ChoiceBenchmark.docs`: each utterance with its style."""
        texts = self._texts()
        self._head = []
        for spoken, style in self._draw_examples(texts):
            self._head += ["Speech: ", spoken, f"\nStyle: {style}\n\n"]
        by_style = self._utterances(self.split, texts)
        self.notes = [
            f"{len(own)} utterances are {style}" for style, own in by_style.items()
        ]
        docs = {
            name: (spoken, style)
            for style, own in by_style.items()
            for name, spoken in own.items()
        }
        if not docs:
            raise ValueError(
                f"data: {self.split} of '{self.data}' has no utterance of "
                f"{', '.join(self.styles)}"
            )
        return docs

    def doc_to_text(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_text`."""
        spoken, _ = doc
        return *self._head, "Speech: ", spoken, "\nStyle:"

    def doc_to_choice(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_choice`."""
        return [f" {style}" for style in self.styles]

    def doc_to_target(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_target`."""
        _, style = doc
        return self.styles.index(style)

    def _texts(self):
        """What is said, by id."""
        path = self.data / "read_transcriptions.txt"
        if not path.is_file():
            raise ValueError(f"data: there is no {path}")
        rows = (line.partition("\t") for line in read_text(path).splitlines())
        return {name.strip(): text.strip() for name, _, text in rows if text.strip()}

    def _utterances(self, split, texts):
        """Of each style the utterances of a split: SpokenText by id."""
        path = self.data / "splits" / f"{split}.txt"
        if not path.is_file():
            raise ValueError(f"data: there is no {path} (splits: {', '.join(_SPLITS)})")
        names = {
            line.split()[0] for line in read_text(path).splitlines() if line.strip()
        }
        by_style = {}
        for style in self.styles:
            wavs = self.data.glob(f"audio_48khz/read/*/{style}/base/*.wav")
            by_style[style] = {
                wav.stem: SpokenText(transcript_of(texts[wav.stem]), str(wav))
                for wav in sorted(wavs)
                if wav.stem in names and wav.stem in texts
            }
        return by_style

    def _draw_examples(self, texts):
        """Spoken examples, each with its style."""
        if not self.shots:
            return []
        rng = random.Random(f"expresso {self.seed}")
        drawn = []
        for style, own in self._utterances(self.shot_split, texts).items():
            if len(own) < self.shots:
                raise ValueError(
                    f"shots: {self.shot_split} of '{self.data}' has {len(own)} "
                    f"utterances that are {style}, not {self.shots}"
                )
            drawn += [(own[x], style) for x in rng.sample(sorted(own), self.shots)]
        rng.shuffle(drawn)
        return drawn
