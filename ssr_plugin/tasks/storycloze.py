"""Spoken StoryCloze: which ending belongs to the story that is heard."""

import dataclasses

from ssr_plugin.data.datasets import read_text
from ssr_plugin.data.headers import audio_files
from ssr_plugin.tasks.choice_task import ChoiceTask
from ssr_plugin.tasks.items import Item, Spoken
from ssr_plugin.tasks.saying import spoken_form

_PARTS = ("mutual", "correct", "incorrect")
#: What is heard in each form: the story, and the endings.
FORMS = {
    "T": (False, False),
    "S": (True, True),
    "S->T": (True, False),
    "T->S": (False, True),
}


class StoryCloze(ChoiceTask):
    """Spoken StoryCloze with transcripts, in the layout of slp-rl.

    The layout, in a folder or its sub-folders: ``<id>_mutual.wav`` (the story without
    its end), ``<id>_correct.wav`` and ``<id>_incorrect.wav`` (the endings), and the
    transcript of each as ``.txt``. What a form does not hear need not be there.

    Arguments
    ---------
    data : path-like
    form : str
        What is heard, and what is scored: "S->T" (the story, and transcripts of its
        endings), "S" (both are heard), "T->S" (the story is text, its endings are
        heard), "T" (nothing is heard).
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
        heard = "heard" if story else "text"
        tokens = "its transcript's tokens"
        if ending:
            tokens += (
                " (forced) or those that its vectors read as (predicted), each given "
                "the vectors before it"
            )
        return (
            f"Form {self.form}: the story is {heard}; its ending is scored by "
            f"{tokens}. Spoken StoryCloze of Hassid et al., arXiv 2305.13009, mean "
            f"log-likelihood and ties as half as in slp-rl/slamkit."
        )

    def items(self, align):
        """See :meth:`Task.items`."""
        items = {}
        for folder in (self.data, *self.data.glob("*/")):
            if not folder.is_dir():
                continue
            wavs = {path.stem: str(path) for path in audio_files(folder)}
            for path in folder.glob("*_mutual.txt"):
                name = path.stem.removesuffix("_mutual")
                place = (folder.relative_to(self.data) / name).as_posix()
                items[place] = self._item(place, folder / name, wavs)
        if not items:
            raise ValueError(
                f"data: there is no <id>_mutual.txt in '{self.data}'; the release of "
                f"whole stories does not tell where the ending begins, nor what is said"
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
    return Spoken(spoken_form(_read_text(path)), wavs and wavs[path.name])


class TopicStoryCloze(StoryCloze):
    """The same with endings of other stories: easier.

    Arguments
    ---------
    data, form, rule
        Of :class:`StoryCloze`.
    """

    name = "tstorycloze"
