"""SpeechBrain's CSV manifests: columns ID, duration (s), wav, spk_id, wrd."""

import csv

from ssr_plugin.files import atomic_path

FIELDS = ("ID", "duration", "wav", "spk_id", "wrd")


def write_manifest(path, rows):
    """Writes a manifest, whole or not at all.

    Arguments
    ---------
    path : path-like
        Where to write it.
    rows : iterable of tuple
        Values in the order of ``FIELDS``; the duration in seconds.
    """
    with (
        atomic_path(path) as partial,
        open(partial, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for name, duration, *values in rows:
            writer.writerow((name, f"{duration:.6f}", *values))


def read_manifest(path):
    """Reads a manifest, ready for SpeechBrain's ``DynamicItemDataset``.

    SpeechBrain's own reader takes the ``$5`` of a transcript for a variable and
    replaces it; this one keeps every character.

    Arguments
    ---------
    path : path-like
        A CSV file that :func:`write_manifest` wrote.

    Returns
    -------
    dict
        For each id a dict of ``duration`` (float, s), ``wav``, ``spk_id``, ``wrd``.

    Raises
    ------
    ValueError
        If a column is missing or an id occurs twice; it names the file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> write_manifest(path, [("a", 1.5, "/data/a.wav", "anna", "it cost $5, no more")])
    >>> read_manifest(path)["a"]["wrd"]
    'it cost $5, no more'
    """
    try:
        return _read(path)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it, and preparing writes it anew"
        ) from error


def _read(path):
    data = {}
    with open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        lacking = set(FIELDS) - set(table.fieldnames or [])
        if lacking:
            raise ValueError(
                f"{path} is no manifest: it lacks {', '.join(sorted(lacking))}; "
                f"delete it, and preparing writes it anew"
            )
        for row in table:
            name = row.pop("ID")
            if name in data:
                raise ValueError(
                    f"{path}: id '{name}' occurs twice; "
                    f"delete the file, and preparing writes it anew"
                )
            try:
                duration = float(row["duration"])
                if None in row or None in row.values() or not duration >= 0:
                    raise ValueError("a row of another length")
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {table.line_num} is damaged ({error}); delete the "
                    f"file, and preparing writes it anew"
                ) from error
            data[name] = row | {"duration": duration}
    return data
