"""Benchmarks that are published as text, and are spoken by a synthesiser."""

import abc
import pathlib
from collections.abc import Mapping
from typing import Any

from ssr_plugin.data.datasets import read_text
from ssr_plugin.data.manifest import read_manifest
from ssr_plugin.data.subsets import draw_names
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.json_files import parse_json, read_json
from ssr_plugin.tts.speak_texts import MANIFEST, SKIPPED
from ssr_plugin.tts.text_normalization import spoken_form


class TextBenchmark(ChoiceBenchmark):
    """A text set, of which a part of each document can be spoken.

    Besides what a :class:`ChoiceBenchmark` declares, a subclass says what is spoken of
    a document (:meth:`text_to_speak`). Documents are dictionaries; when
    :meth:`doc_to_text` is asked, that text stands in them as ``doc["spoken"]``, a
    :class:`SpokenText` with its recording if there is one.

    Arguments
    ---------
    data : path-like
        The release's own files.
    speech : path-like or None
        Folder that ``ssr speak`` wrote; without, the set is read as text alone.
    max_items, metric
        Of :class:`ChoiceBenchmark`.
    """

    def __init__(
        self,
        data: str | pathlib.Path | None,
        speech: str | pathlib.Path | None = None,
        max_items: int | None = None,
        metric: str | None = None,
    ):
        super().__init__(metric, max_items)
        self.data = self.find_data(data)
        self.speech = None if speech is None else pathlib.Path(speech)

    # --- What a subclass declares ----------------------------------------------------

    @abc.abstractmethod
    def text_to_speak(self, doc: dict[str, Any]) -> str:
        """Of a document, the text that is spoken, as the set writes it."""

    def fewshot_docs(self) -> Mapping[str, Any]:
        """Examples of the set that come before its questions, and are spoken with them.

        Returns
        -------
        dict
            By id, as :meth:`docs`.
        """
        return {}

    def read_json_lines(self, path, name_of):
        """Documents of a file of JSON lines, each of which is tried at once.

        Arguments
        ---------
        path : pathlib.Path
        name_of : callable
            A document's id.

        Returns
        -------
        dict
            Documents by id.

        Raises
        ------
        ValueError
            If a line is no document of the set; names file, line and reason.
        """
        docs = {}
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if not line.strip():
                continue
            try:
                doc = parse_json(line)
                docs[name_of(doc)] = doc
                self.item("", doc)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{path}, line {number} is no question of {self.name}: "
                    f"{type(error).__name__}: {error}"
                ) from error
        return docs

    # --- What comes of it ------------------------------------------------------------

    def texts(self, max_items: int | None = None) -> dict[str, str]:
        """What is to be spoken.

        Arguments
        ---------
        max_items : int or None
            Only so many documents, drawn at random but always the same.

        Returns
        -------
        dict
            By id; all examples are among them.
        """
        docs = self.docs()
        chosen = {name: docs[name] for name in draw_names(docs, max_items)}
        docs = {**self.fewshot_docs(), **chosen}
        return {name: self.text_to_speak(doc) for name, doc in docs.items()}

    def items(self, align):
        """See :meth:`Benchmark.items`."""
        self.notes = []
        docs = self.docs()
        if self.speech is None:
            return [self.item(name, docs[name]) for name in self.draw(docs)]
        wavs = self._wavs_of(docs, self.speech)
        return [self.item(name, docs[name], wavs[name]) for name in self.draw(wavs)]

    def item(self, name, doc, wav=None):
        """A document as an item; with a recording, what is spoken of it is heard."""
        return super().item(name, {**doc, "spoken": self.spoken(doc, wav)})

    def spoken(self, doc: dict[str, Any], wav: str | None = None) -> SpokenText:
        """What is spoken of a document, or of an example.

        Arguments
        ---------
        doc : dict
            One of :meth:`docs` or :meth:`fewshot_docs`.
        wav : str or None
            Its recording.

        Returns
        -------
        SpokenText
        """
        written = self.text_to_speak(doc)
        # What cannot be said is never heard: its text is read as it stands.
        return SpokenText(spoken_form(written) or written, wav, written=written)

    def recordings(self, docs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The manifest's row of each document, or example, that was spoken.

        Arguments
        ---------
        docs : dict
            Of :meth:`docs` or :meth:`fewshot_docs`.

        Returns
        -------
        dict
            By id; those that were not spoken are missing, all without speech.

        Raises
        ------
        ValueError
            If there is no speech, or it says another text than the set.
        """
        if self.speech is None:
            return {}
        path = self.speech / MANIFEST
        if not path.is_file():
            raise ValueError(
                f"speech: '{self.speech}' holds no speech ({MANIFEST}): make some with "
                f"ssr speak {self.name} {self.data} --output {self.speech}"
            )
        rows = read_manifest(path)
        rows = {name: rows[name] for name in docs if name in rows}
        for name, row in rows.items():
            if row["wrd"] != spoken_form(self.text_to_speak(docs[name])):
                raise ValueError(
                    f"speech: in {path} '{name}' says '{row['wrd']}', not what "
                    f"'{self.data}' says: speak it again"
                )
        return rows

    def _wavs_of(self, docs: Mapping[str, Any], speech: pathlib.Path) -> dict[str, str]:
        """The recording of each document that was spoken."""
        rows = self.recordings(docs)
        if not rows:
            raise ValueError(
                f"speech: {speech / MANIFEST} has none of the items of '{self.data}'"
            )
        skipped = {}
        if (speech / SKIPPED).is_file():
            skipped = read_json(speech / SKIPPED, {str: str})
        lost = [name for name in docs if name not in rows]
        badly = sum(name in skipped for name in lost)
        if lost:
            self.notes = [
                f"{len(lost)} of {len(docs)} items were not spoken, {badly} of "
                f"them because they read badly aloud"
            ]
        voices = sorted({row["spk_id"] for row in rows.values()})
        self.notes = [
            *self.notes,
            f"spoken by a synthesiser, voices {', '.join(voices)}",
        ]
        return {name: row["wav"] for name, row in rows.items()}
