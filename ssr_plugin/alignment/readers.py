"""Alignments that another tool has made, found by utterance id among its files."""

import pathlib

from ssr_plugin.alignment.base import Aligner
from ssr_plugin.alignment.formats import FormatError, alignment_files, read_file
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit
from ssr_plugin.data.audio_headers import audio_duration
from ssr_plugin.data.samples import AudioError
from ssr_plugin.files import digest, file_identity


class FileAligner(Aligner):
    """Reads alignments of MFA and others (see :mod:`ssr_plugin.alignment.formats`).

    Arguments
    ---------
    source : path-like
        A file, or a folder with the files, also in subfolders. A TextGrid is found by
        its name, ``<id>.TextGrid``; other files name their ids.

    Raises
    ------
    FileNotFoundError
        If there are no alignment files.

    Example
    -------
    >>> path = getfixture("tmp_path") / "all.ctm"
    >>> _ = path.write_text("utt-1 1 0.5 0.25 hello\\n")
    >>> aligner = FileAligner(path)
    >>> aligner.find("utt-1").units, aligner.find("utt-2")
    ((('hello', 0.5, 0.75),), None)
    """

    name = "files"
    batch_size = 64
    # One process looks up a thousand in a second.
    parallel_from = 20_000

    def __init__(self, source):
        self.source = pathlib.Path(source).absolute()
        self._files = alignment_files(self.source)
        self._textgrids = {}
        for path in self._files:
            if path.suffix.lower() == ".textgrid":
                self._textgrids.setdefault(path.stem, []).append(path)
        self._by_id = None

    def __getstate__(self):
        return self.__dict__ | {"_by_id": None}

    def settings(self):
        """Where the files lie, and a digest that changes when one of them does."""
        identities = [file_identity(path) for path in self._files]
        return {"source": str(self.source), "files": digest(identities)}

    def find(self, id):
        """The timed units of an utterance, from whichever file has it.

        Returns
        -------
        Timed or None

        Raises
        ------
        AlignmentError
            If it has two TextGrids, or a damaged one.
        FormatError
            If a file with many utterances is damaged.
        """
        if id in self._textgrids:
            paths = self._textgrids[id]
            if len(paths) > 1:
                raise AlignmentError(id, f"aligned in '{paths[0]}' and '{paths[1]}'")
            try:
                return read_file(paths[0])[0]
            except FormatError as error:
                raise AlignmentError(id, str(error)) from None
        if self._by_id is None:
            self._by_id = self._read_lists()
        return self._by_id.get(id)

    def _read_lists(self):
        by_id = {}
        for path in self._files:
            if path.suffix.lower() == ".textgrid":
                continue
            for timed in read_file(path):
                if by_id.setdefault(timed.id, timed) != timed:
                    raise FormatError(
                        f"'{path}' aligns '{timed.id}' otherwise than a file before it"
                    )
        return by_id

    def align(self, items):
        """See :meth:`Aligner.align`."""
        return [self._align_or_error(item) for item in items]

    def _align_or_error(self, item):
        try:
            return self._align(item)
        except AlignmentError as error:
            return error

    def _align(self, item):
        timed = self.find(item.id)
        if timed is None:
            raise AlignmentError(item.id, f"not among the files of '{self.source}'")
        try:
            duration = audio_duration(item.wav)
        except AudioError as error:
            raise AlignmentError(item.id, str(error)) from None
        if timed.text == item.text and timed.offsets is not None:
            units = tuple(
                Unit(*unit, offset)
                for unit, offset in zip(timed.units, timed.offsets, strict=True)
            )
            return Alignment(item.id, item.text, units, timed.kind, duration)
        return Alignment.from_units(
            item.id, item.text, timed.units, duration, timed.kind
        )
