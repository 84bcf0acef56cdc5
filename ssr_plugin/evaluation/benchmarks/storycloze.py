"""Spoken StoryCloze: which ending belongs to the story that is heard."""

import dataclasses
import pathlib
import re
from collections import defaultdict

from ssr_plugin.data.audio_headers import audio_files
from ssr_plugin.data.datasets import read_text
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.tts.text_normalization import transcript_of

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


class StoryCloze(ChoiceBenchmark):
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
    max_items, metric
        Of :class:`ChoiceBenchmark`.

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
    metric = "acc_norm"

    def __init__(self, data, form="S->T", max_items=None, metric=None):
        super().__init__(metric, max_items)
        self.data = self.find_data(data)
        if form not in FORMS:
            raise ValueError(f"form: '{form}' is none of {', '.join(FORMS)}")
        self.form = form

    @property
    def about(self):
        """See :class:`Benchmark`."""
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

    def docs(self):
        """See :meth:`ChoiceBenchmark.docs`: the context, and both endings."""
        read = self._whole_stories if self.form == "whole" else self._stories
        folders = (self.data, *sorted(self.data.glob("*/")))
        docs = {
            (folder.relative_to(self.data) / name).as_posix(): doc
            for folder in folders
            if folder.is_dir()
            for name, doc in read(folder).items()
        }
        if not docs and self.form == "whole":
            raise ValueError(
                f"data: there is no pair of <id>_correct.wav and <id>_incorrect.wav in "
                f"'{self.data}'"
            )
        if not docs:
            raise ValueError(
                f"data: there is no <id>_mutual.txt in '{self.data}'; the release of "
                f"whole stories does not tell where the ending begins, and is for the "
                f"form whole alone"
            )
        return docs

    def doc_to_text(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_text`."""
        return doc["story"]

    def doc_to_choice(self, doc):
        """See :meth:`ChoiceBenchmark.doc_to_choice`: the right ending comes first."""
        return doc["endings"]

    def _stories(self, folder):
        """The documents of a folder of stories in three parts, by name."""
        story_heard, ending_heard = FORMS[self.form]
        wavs = {path.stem: str(path) for path in audio_files(folder)}
        docs = {}
        for path in folder.glob("*_mutual.txt"):
            name = path.stem.removesuffix("_mutual")
            story, *endings = (
                _read_segment(folder / f"{name}_{segment}", wavs if heard else None)
                for segment, heard in (
                    ("mutual", story_heard),
                    ("correct", ending_heard),
                    ("incorrect", ending_heard),
                )
            )
            story = dataclasses.replace(
                story, written=_read_text(folder / f"{name}_mutual")
            )
            docs[name] = {"story": [story], "endings": endings}
        return docs

    def _whole_stories(self, folder):
        """The documents of a folder of whole stories, by name."""
        stories: dict[str, dict[str, pathlib.Path]] = defaultdict(dict)
        for path in audio_files(folder):
            if match := _WHOLE.fullmatch(path.stem):
                name, ending = match.groups()
                if ending == "mutual":
                    raise ValueError(f"form: {path} is a part, not a whole story")
                if ending in stories[name]:
                    raise ValueError(f"{path}: story {name} has two {ending} endings")
                stories[name][ending] = path
        lost = sum(len(paths) < 2 for paths in stories.values())
        if lost:
            self.notes = [*self.notes, f"{lost} recordings without a partner"]
        return {
            name: {
                "story": [],
                "endings": [_whole_story(paths[x]) for x in ("correct", "incorrect")],
            }
            for name, paths in stories.items()
            if len(paths) == 2
        }


def _whole_story(path):
    """A story with its ending, and what is said if that lies beside it."""
    transcript = path.with_suffix(".txt")
    text = transcript_of(read_text(transcript)) if transcript.is_file() else ""
    return SpokenText(text, str(path))


def _read_text(path):
    """A transcript as it is written."""
    path = path.with_name(f"{path.name}.txt")
    if not path.is_file():
        raise ValueError(f"data: there is no {path}, a transcript")
    return " ".join(read_text(path).split())


def _read_segment(path, wavs):
    """A part of a story, with its recording if there is a choice of some."""
    if wavs is not None and path.name not in wavs:
        raise ValueError(f"data: there is no {path}.wav, a recording")
    return SpokenText(transcript_of(_read_text(path)), wavs and wavs[path.name])


class TopicStoryCloze(StoryCloze):
    """The same with endings of other stories: easier.

    Arguments
    ---------
    data, form, max_items, metric
        Of :class:`StoryCloze`.
    """

    name = "tstorycloze"
