"""Alignment files of this and of other tools, read into one plain form.

===========================  ==============================================
``*.TextGrid``               Praat's, long or short, as MFA writes them: the
                             tier "words"; the file's name is the id
``*.ctm``                    id, channel, start, duration, word
``*.json``, ``*.jsonl``      records of this package; or a list of words
                             with times, alone or in a record with its id;
(``.gz`` too)                or Lhotse supervisions
===========================  ==============================================
"""

import bisect
import dataclasses
import gzip
import pathlib
import re

from ssr_plugin.alignment.record import UNKNOWN
from ssr_plugin.json_files import check_form, parse_json
from ssr_plugin.languages import word_spans

SUFFIXES = (".textgrid", ".ctm", ".json", ".jsonl", ".json.gz", ".jsonl.gz")
SILENCE = re.compile(r"|sil|sp|[<\[{(].*[>\]})]", re.IGNORECASE)


class FormatError(ValueError):
    """A file is not in the form that its name promises."""


@dataclasses.dataclass(frozen=True)
class Timed:
    """Units with times, as some tool wrote them.

    Arguments
    ---------
    id : str
        The utterance.
    units : tuple of (str, float, float)
        Text, start (s), end (s).
    kind : str
        "word" or "char".
    text : str or None
        The transcript, where the file has it.
    offsets : tuple of int or None
        Index of each unit's first character in ``text``, where the file has them.
    """

    id: str
    units: tuple[tuple[str, float, float], ...]
    kind: str = "word"
    text: str | None = None
    offsets: tuple[int, ...] | None = None

    def words(self):
        """The words with their times; characters are joined to words.

        Of a script without blanks each letter is a word
        (:func:`ssr_plugin.languages.word_spans`).

        Example
        -------
        >>> units = (("h", 0.0, 0.1), ("i", 0.1, 0.2), ("u", 0.5, 0.6))
        >>> Timed("utt-1", units, "char", "hi, u", (0, 1, 4)).words()
        [('hi', 0.0, 0.2), ('u', 0.5, 0.6)]
        """
        if self.kind == "word" or self.offsets is None:
            return list(self.units)
        starts = [start for start, _ in word_spans(self.text)]
        words, word = [], None
        for (_, start, end), offset in zip(self.units, self.offsets, strict=True):
            at = bisect.bisect_right(starts, offset)
            if at != word:
                words.append([offset, start, end])
            word = at
            words[-1][2:] = [end, offset + 1]
        return [(self.text[a:b], start, end) for a, start, end, b in words]


def alignment_files(source):
    """The alignment file at a path, or those anywhere in the folder there.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    source = pathlib.Path(source)
    if source.is_file():
        return [source]
    files = [
        path
        for path in sorted(source.rglob("*"))
        if path.name.lower().endswith(SUFFIXES) and path.name != "settings.json"
    ]
    if not files:
        raise FileNotFoundError(
            f"no alignment files in '{source}' (known: *.TextGrid, *.ctm, *.json, "
            f"*.jsonl)"
        )
    return files


def read_file(path):
    """Reads all that one file holds.

    Arguments
    ---------
    path : path-like

    Returns
    -------
    list of Timed

    Raises
    ------
    FormatError
        If it cannot be read; it names the file.
    ImportError
        If the library that reads it is not installed; it says what to install.

    Example
    -------
    >>> path = getfixture("tmp_path") / "all.ctm"
    >>> _ = path.write_text("utt-1 1 0.5 0.25 hello\\n")
    >>> read_file(path)[0].units
    (('hello', 0.5, 0.75),)
    """
    path = pathlib.Path(path)
    name = path.name.lower()
    try:
        if name.endswith(".textgrid"):
            return [_read_textgrid(path)]
        if name.endswith(".ctm"):
            return _read_ctm(path)
        return _read_json(path)
    except ImportError:
        raise
    except Exception as error:
        raise FormatError(
            f"cannot read alignments from '{path}': {type(error).__name__}: {error}"
        ) from error


def _without_silence(units):
    return tuple(
        (text, float(start), float(end))
        for text, start, end in units
        if text in UNKNOWN or not SILENCE.fullmatch(text.strip())
    )


def _read_textgrid(path):
    from praatio import textgrid

    grid = textgrid.openTextgrid(
        str(path), includeEmptyIntervals=False, duplicateNamesMode="rename"
    )
    tiers = [n for n in grid.tierNames if re.search(r"\bwords?\b", n, re.IGNORECASE)]
    if not tiers and len(grid.tierNames) == 1:
        tiers = grid.tierNames
    if len(tiers) != 1:
        raise ValueError(
            f"wanted one tier of words, found {len(tiers)} among "
            f"{', '.join(grid.tierNames)}"
        )
    entries = grid.getTier(tiers[0]).entries
    return Timed(
        path.stem, _without_silence((e.label, e.start, e.end) for e in entries)
    )


def _read_ctm(path):
    by_id = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        try:
            id, _, start, duration, word = fields[:5]
            unit = (word, float(start), round(float(start) + float(duration), 6))
        except ValueError:
            raise ValueError(
                f"line {number} is not 'id channel start duration word': '{line}'"
            ) from None
        by_id.setdefault(id, []).append(unit)
    return [
        Timed(id, _without_silence(sorted(units, key=lambda unit: unit[1])))
        for id, units in by_id.items()
    ]


def _read_json(path):
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    stem = path.name.partition(".json")[0]
    with opened(path, "rt", encoding="utf-8") as file:
        if ".jsonl" in path.name.lower():
            lines = file.readlines()
            records = [parse_json(line) for line in lines if line.endswith("\n")]
            # A last line cut short was being written when its writer was killed.
            records += [parse_json(lines[-1])] if _is_json(lines[-1:]) else []
        else:
            records = parse_json(file.read())
    if isinstance(records, dict):
        records = [records]
    if records and not isinstance(records[0], dict) or _is_word(records[:1]):
        records = [{"id": stem, "words": records}]
    records = [r.get("alignment", r) if "key" in r else r for r in records]
    return [_from_record(r, stem) for r in records if "error" not in r]


def _is_json(last):
    if not last or last[0].endswith("\n"):
        return False
    try:
        parse_json(last[0])
    except ValueError:
        return False
    return True


def _is_word(first):
    return bool(first) and "start" in first[0] and not {"id"} & first[0].keys()


# An alignment as this package writes it.
_RECORD = {"id": str, "text": str, "kind": str, "units": [list]}


def _from_record(record, stem):
    if "recording_id" in record:
        return _from_lhotse(record)
    if "units" in record:
        check_form(record, _RECORD)
        return Timed(
            record["id"],
            tuple(
                (str(text), float(start), float(end))
                for text, start, end, *_ in record["units"]
            ),
            record["kind"],
            record["text"],
            tuple(int(unit[3]) for unit in record["units"]),
        )
    words = [
        (word.get("text", word.get("word")), word["start"], word["end"])
        if isinstance(word, dict)
        else word[:3]
        for word in record["words"]
    ]
    return Timed(
        str(record.get("id", stem)), _without_silence(words), text=record.get("text")
    )


def _from_lhotse(record):
    try:
        from lhotse import SupervisionSegment
    except ImportError as error:
        raise ImportError(
            "Lhotse supervisions need lhotse: pip install ssr-plugin[lhotse]"
        ) from error
    supervision = SupervisionSegment.from_dict(record)
    if not supervision.alignment or "word" not in supervision.alignment:
        raise ValueError(f"supervision '{supervision.id}' has no alignment 'word'")
    # Lhotse's times count from the start of the recording, ours from the utterance's.
    begin = supervision.start
    units = [
        (item.symbol, round(item.start - begin, 6), round(item.end - begin, 6))
        for item in supervision.alignment["word"]
    ]
    return Timed(supervision.id, _without_silence(units), text=supervision.text)
