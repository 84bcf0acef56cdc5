"""Tasks that are published as text, and are spoken by a synthesiser."""

import abc
import json
import pathlib

from ssr_plugin.data.manifest import read_manifest
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceTask
from ssr_plugin.evaluation.harness.items import Spoken, draw_names
from ssr_plugin.tts.speak_texts import MANIFEST, SKIPPED
from ssr_plugin.tts.text_normalization import spoken_form


class TextTask(ChoiceTask):
    """A text set, of which a part of each item can be spoken.

    Arguments
    ---------
    data : path-like
        The release's own files.
    speech : path-like or None
        Folder that ``ssr speak`` wrote; without, the set is read as
        text alone.
    max_items : int or None
        Only so many, drawn at random but always the same.
    rule : str or None
        Of :class:`ChoiceTask`.
    """

    def __init__(self, data, speech=None, max_items=None, rule=None):
        super().__init__(rule)
        self.data = self.find_data(data)
        self.speech = None if speech is None else pathlib.Path(speech)
        self.max_items = max_items

    @abc.abstractmethod
    def questions(self):
        """The questions of the set.

        Returns
        -------
        dict
            By id (safe as a file's name) whatever the subclass makes of them.
        """

    @abc.abstractmethod
    def written(self, question):
        """Of a question, the text that is spoken, as the set writes it."""

    @abc.abstractmethod
    def item(self, name, question, spoken):
        """A question as an item.

        Arguments
        ---------
        name : str
        question
            One of :meth:`questions`.
        spoken : Spoken
            What is heard of it.

        Returns
        -------
        Item
        """

    def shown(self):
        """Examples of the set that come before its questions, and are spoken with them.

        Returns
        -------
        dict
            By id, as :meth:`questions`.
        """
        return {}

    def texts(self, max_items=None):
        """What is to be spoken.

        Arguments
        ---------
        max_items : int or None
            Only so many questions, drawn at random but always the same.

        Returns
        -------
        dict
            By id; all examples are among them.
        """
        questions = self.questions()
        chosen = {name: questions[name] for name in draw_names(questions, max_items)}
        return {name: self.written(q) for name, q in (self.shown() | chosen).items()}

    def items(self, align):
        """See :meth:`Task.items`."""
        questions = self.questions()
        self.notes = []
        heard = None if self.speech is None else self._spoken_questions(questions)
        names = draw_names(questions if heard is None else heard, self.max_items)
        items = []
        for name in names:
            wav = None if heard is None else heard[name]
            spoken = self.spoken(questions[name], wav)
            items.append(self.item(name, questions[name], spoken))
        return items

    def spoken(self, question, wav=None):
        """What is heard of a question, or of an example.

        Arguments
        ---------
        question
            One of :meth:`questions` or :meth:`shown`.
        wav : str or None
            Its recording.

        Returns
        -------
        Spoken
        """
        written = self.written(question)
        # What cannot be said is never heard: its text is read as it stands.
        return Spoken(spoken_form(written) or written, wav, written=written)

    def recordings(self, questions):
        """The manifest's row of each question, or example, that was spoken.

        Arguments
        ---------
        questions : dict
            Of :meth:`questions` or :meth:`shown`.

        Returns
        -------
        dict
            By id; those that were not spoken are missing.

        Raises
        ------
        ValueError
            If there is no speech, or it says another text than the set.
        """
        path = self.speech / MANIFEST
        if not path.is_file():
            raise ValueError(
                f"speech: '{self.speech}' holds no speech ({MANIFEST}): make some with "
                f"ssr speak {self.name} {self.data} --output {self.speech}"
            )
        rows = read_manifest(path)
        found = {name: rows[name] for name in questions if name in rows}
        for name, row in found.items():
            if row["wrd"] != spoken_form(self.written(questions[name])):
                raise ValueError(
                    f"speech: in {path} '{name}' says '{row['wrd']}', not what "
                    f"'{self.data}' says: speak it again"
                )
        return found

    def _spoken_questions(self, questions):
        """The recording of each question that was spoken."""
        found = self.recordings(questions)
        if not found:
            raise ValueError(
                f"speech: {self.speech / MANIFEST} has none of the items of "
                f"'{self.data}'"
            )
        skipped = {}
        if (self.speech / SKIPPED).is_file():
            skipped = json.loads((self.speech / SKIPPED).read_text(encoding="utf-8"))
        lost = [name for name in questions if name not in found]
        badly = sum(name in skipped for name in lost)
        if lost:
            self.notes.append(
                f"{len(lost)} of {len(questions)} items were not spoken, {badly} of "
                f"them because they read badly aloud"
            )
        voices = sorted({row["spk_id"] for row in found.values()})
        self.notes.append(f"spoken by a synthesiser, voices {', '.join(voices)}")
        return {name: row["wav"] for name, row in found.items()}
