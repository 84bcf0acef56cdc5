"""What was answered, as JSON lines: an item a line, never half-written."""

import json
import logging
import pathlib

from ssr_plugin.files import atomic_path
from ssr_plugin.json_files import parse_json

logger = logging.getLogger(__name__)


class Records:
    """A file of records by key, which a run that was killed goes on filling.

    Arguments
    ---------
    path : path-like or None
        None keeps them in memory alone.

    Example
    -------
    >>> path = getfixture("tmp_path") / "copa.jsonl"
    >>> Records(path).add([{"key": "a", "id": "1"}])
    >>> Records(path)["a"]
    {'key': 'a', 'id': '1'}
    """

    def __init__(self, path=None):
        self.path = None if path is None else pathlib.Path(path)
        self._records = {}
        if self.path is not None and self.path.is_file():
            self._read()

    def __contains__(self, key):
        return key in self._records

    def __getitem__(self, key):
        return self._records[key]

    def __iter__(self):
        return iter(self._records.values())

    def _read(self):
        damaged = 0
        for line in self.path.read_bytes().splitlines():
            try:
                record = parse_json(line, {"key": str})
                self._records[record["key"]] = record
            except ValueError:
                damaged += 1
        if damaged:
            logger.warning("%s: %d damaged lines, ignored", self.path, damaged)
            # Else the next line would be joined to one that was cut short.
            self._write()

    def _write(self):
        with atomic_path(self.path) as partial:
            partial.write_text("".join(map(_line, self)), encoding="utf-8")

    def add(self, records):
        """Keeps records, and writes them at once."""
        self._records.update({record["key"]: record for record in records})
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("".join(map(_line, records)))

    def keep(self, keys):
        """Leaves out all records but some, in that order: of other items or models."""
        self._records = {key: self._records[key] for key in keys}
        if self.path is not None:
            self._write()


def answers_path(folder, benchmark, distortion=None):
    """Where the answers of a benchmark are kept.

    Arguments
    ---------
    folder : path-like
        The output folder of an evaluation.
    benchmark : str
    distortion : str or None
        Its :attr:`~ssr_plugin.data.distortion.Distortion.name`; None for clean audio.

    Returns
    -------
    pathlib.Path

    Example
    -------
    >>> answers_path("run", "asr", "babble 5 dB").as_posix()
    'run/answers/asr.babble_5_dB.jsonl'
    """
    name = benchmark if distortion is None else f"{benchmark}.{distortion}"
    return pathlib.Path(folder) / "answers" / f"{name.replace(' ', '_')}.jsonl"


def add_unheard(records, clean):
    """Adds the answers that noise does not change: those of text, and of nothing.

    Arguments
    ---------
    records : list of dict
        Of :func:`ssr_plugin.evaluation.harness.answering.answer_items`, in noise, by
        the conditions that listen.
    clean : list of dict
        Of the same items and all conditions, without noise.

    Returns
    -------
    list of dict
        Without items that only one of them has.

    Example
    -------
    >>> clean = {"id": "1", "conditions": {"text": {}, "forced": {"readings": ["A"]}}}
    >>> noisy = {"id": "1", "conditions": {"forced": {"readings": ["B"]}}}
    >>> add_unheard([noisy], [clean])[0]["conditions"]
    {'text': {}, 'forced': {'readings': ['B']}}
    """
    unheard = {
        record["id"]: {
            name: answer
            for name, answer in record["conditions"].items()
            if "readings" not in answer
        }
        for record in clean
    }
    return [
        {**record, "conditions": unheard[record["id"]] | record["conditions"]}
        for record in records
        if record["id"] in unheard
    ]


def read_answers(folder, summary):
    """The answers that a benchmark's figures were made of.

    Arguments
    ---------
    folder : path-like
        The output folder of an evaluation.
    summary : dict
        Of the benchmark, in its ``metrics.json``.

    Returns
    -------
    list of dict
        Records; in noise, those of the conditions that listen are the noise's own.
    """
    records = list(Records(answers_path(folder, summary["benchmark"])))
    if "noise" not in summary:
        return records
    path = answers_path(folder, summary["benchmark"], summary["noise"]["name"])
    return add_unheard(list(Records(path)), records)


def _line(record):
    return json.dumps(record, ensure_ascii=False) + "\n"
