"""Spoken StoryCloze: which ending belongs to the story that is heard."""

import dataclasses
import re
from collections import defaultdict

from ssr_plugin.data.audio_headers import audio_files
from ssr_plugin.data.datasets import read_text
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceTask
from ssr_plugin.evaluation.harness.items import Item, Spoken
from ssr_plugin.tts.text_normalization import transcript_of

_PARTS = ("mutual", "correct", "incorrect")
# A story with its right, or its wrong ending: <number>_<id>_correct, or <id>_correct.
_WHOLE = re.compile(r"(?:.*_)?([^_]+)_(mutual|correct|incorrect)")
#: What is heard in each form: the story, and the endings.
FORMS = {
    "T": (False, False),
    "S": (True, True),
    "S->T": (True, False),
    "T->S": (False, True),
    "whole": (False, True),
}


class StoryCloze(ChoiceTask):
    """Spoken StoryCloze, in the layouts of slp-rl.

    The layout, in a folder or its sub-folders, is that of slamkit's tasks across
    modalities: ``<id>_mutual.wav`` (the story without its end), ``<id>_correct.wav``
    and ``<id>_incorrect.wav`` (the endings), and the transcript of each as ``.txt``.
    What a form does not hear need not be there.

    The release of whole stories (slp-rl/SpokenStoryCloze) has
    ``<number>_<id>_correct.wav`` and ``<number>_<id>_incorrect.wav``, with or without
    transcripts, and is for the form "whole" alone: it does not tell where an ending
    begins.

    Arguments
    ---------
    data : path-like
    form : str
        What is heard, and what is scored: "S->T" (the story, and transcripts of its
        endings), "S" (both are heard), "T->S" (the story is text, its endings are
        heard), "T" (nothing is heard); or "whole" (stories are heard from start to end,
        one with either ending, and scored whole, as speech alone always was).
    rule : str or None
        Of :class:`ChoiceTask`.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name, text in [("mutual", "Ann fell."), ("correct", "She cried."),
    ...     ("incorrect", "She flew.")]:
    ...     _ = (folder / f"7_{name}.txt").write_text(text)
    >>> (item,) = StoryCloze(folder, form="T").items(align=None)
    >>> item.id, item.context[0].text, item.choices[0].text
    ('7', 'ann fell', 'she cried')
    """

    name = "sstorycloze"
    rule = "mean"

    def __init__(self, data, form="S->T", rule=None):
        super().__init__(rule)
        self.data = self.find_data(data)
        if form not in FORMS:
            raise ValueError(f"form: '{form}' is none of {', '.join(FORMS)}")
        self.form = form

    @property
    def about(self):
        """See :class:`Task`."""
        story, ending = FORMS[self.form]
        what = f"the story is {'heard' if story else 'text'}; its ending"
        if self.form == "whole":
            what = "each story is heard from start to end, and"
        tokens = "its transcript's tokens"
        if ending:
            tokens += (
                " (forced) or those that its vectors read as (predicted), each given "
                "the vectors before it"
            )
        return (
            f"Form {self.form}: {what} is scored by {tokens}. Spoken StoryCloze of "
            f"Hassid et al., arXiv 2305.13009, mean log-likelihood and ties as half as "
            f"in slp-rl/slamkit."
        )

    def items(self, align):
        """See :meth:`Task.items`."""
        items, self.notes = {}, []
        for folder in (self.data, *self.data.glob("*/")):
            if not folder.is_dir():
                continue
            if self.form == "whole":
                items |= self._whole_stories(folder)
                continue
            wavs = {path.stem: str(path) for path in audio_files(folder)}
            for path in folder.glob("*_mutual.txt"):
                name = path.stem.removesuffix("_mutual")
                place = (folder.relative_to(self.data) / name).as_posix()
                items[place] = self._item(place, folder / name, wavs)
        if not items and self.form == "whole":
            raise ValueError(
                f"data: there is no pair of <id>_correct.wav and <id>_incorrect.wav in "
                f"'{self.data}'"
            )
        if not items:
            raise ValueError(
                f"data: there is no <id>_mutual.txt in '{self.data}'; the release of "
                f"whole stories does not tell where the ending begins, and is for the "
                f"form whole alone"
            )
        return [items[place] for place in sorted(items)]

    def _item(self, place, stem, wavs):
        story, ending = FORMS[self.form]
        heard, right, wrong = (
            _read_part(stem.with_name(f"{stem.name}_{part}"), wavs if spoken else None)
            for part, spoken in zip(_PARTS, (story, ending, ending), strict=True)
        )
        written = _read_text(stem.with_name(f"{stem.name}_{_PARTS[0]}"))
        heard = dataclasses.replace(heard, written=written)
        return Item(place, (heard,), (right, wrong), answer=0)

    def _whole_stories(self, folder):
        """The items of a folder of whole stories."""
        stories = defaultdict(dict)
        for path in audio_files(folder):
            if match := _WHOLE.fullmatch(path.stem):
                name, ending = match.groups()
                place = (folder.relative_to(self.data) / name).as_posix()
                if ending == "mutual":
                    raise ValueError(f"form: {path} is a part, not a whole story")
                if ending in stories[place]:
                    raise ValueError(f"{path}: story {name} has two {ending} endings")
                stories[place][ending] = path
        lost = sum(len(own) < 2 for own in stories.values())
        if lost:
            self.notes.append(f"{lost} recordings without a partner")
        return {
            place: Item(place, (), tuple(_whole(own[x]) for x in _PARTS[1:]), answer=0)
            for place, own in stories.items()
            if len(own) == 2
        }


def _whole(path):
    """A story with its ending, and what is said if that lies beside it."""
    told = path.with_suffix(".txt")
    return Spoken(transcript_of(read_text(told)) if told.is_file() else "", str(path))


def _read_text(path):
    """A transcript as it is written."""
    path = path.with_name(f"{path.name}.txt")
    if not path.is_file():
        raise ValueError(f"data: there is no {path}, a transcript")
    return " ".join(read_text(path).split())


def _read_part(path, wavs):
    """A part of a story, with its recording if there is a choice of some."""
    if wavs is not None and path.name not in wavs:
        raise ValueError(f"data: there is no {path}.wav, a recording")
    return Spoken(transcript_of(_read_text(path)), wavs and wavs[path.name])


class TopicStoryCloze(StoryCloze):
    """The same with endings of other stories: easier.

    Arguments
    ---------
    data, form, rule
        Of :class:`StoryCloze`.
    """

    name = "tstorycloze"
