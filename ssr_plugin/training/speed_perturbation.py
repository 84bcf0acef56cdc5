"""Training speech at other speeds, too: as if by more speakers (Ko et al. 2015).

Played faster or slower, a voice has another pitch and other formants. No change to an
encoder's frames does that. The encoder runs once for each speed; the cache then needs
more space on the disk.
"""

import collections.abc


def add_speeds(rows, alignments, speeds):
    """The utterances of a manifest that are aligned, each at several speeds.

    Arguments
    ---------
    rows : dict
        Manifest rows by id.
    alignments : collections.abc.Mapping
        ssr_plugin.alignment.record.Alignment by id.
    speeds : list of float
        Above 1 is faster; 1 is the speech as it is.

    Returns
    -------
    rows : dict
        Rows of all speeds; ``speed`` is that of each. Ids at a speed of 1 stay, others
        begin with ``sp<speed>-``.
    alignments : collections.abc.Mapping
        Of all of them.

    Raises
    ------
    ValueError
        If a speed is not above 0, or occurs twice.

    Example
    -------
    >>> from ssr_plugin.alignment.record import Alignment, Unit
    >>> rows = {"a": {"wav": "a.wav", "duration": 2.0}}
    >>> aligned = {"a": Alignment("a", "hi", (Unit("hi", 0.5, 1.0, 0),), "word", 2.0)}
    >>> rows, aligned = add_speeds(rows, aligned, [1.0, 0.5])
    >>> rows["sp0.5-a"]
    {'wav': 'a.wav', 'duration': 4.0, 'speed': 0.5}
    >>> [(unit.start, unit.end) for unit in aligned["sp0.5-a"].units]
    [(1.0, 2.0)]
    """
    check_speeds(speeds)
    speed_rows, originals = {}, {}
    for speed in speeds:
        for name, row in rows.items():
            if name in alignments:
                speed_name = name_at_speed(name, speed)
                duration = row["duration"] / speed
                speed_rows[speed_name] = {**row, "duration": duration, "speed": speed}
                originals[speed_name] = (name, speed)
    return speed_rows, AtSpeeds(alignments, originals)


def check_speeds(speeds):
    """Refuses speeds of which one is not above 0, or occurs twice.

    Arguments
    ---------
    speeds : list of float

    Raises
    ------
    ValueError
    """
    if not speeds or len(set(speeds)) < len(speeds) or min(speeds) <= 0:
        raise ValueError(
            f"speed_perturbation: {speeds} must be different numbers above 0"
        )


def name_at_speed(name, speed):
    """The id of an utterance at a speed: another one than at a speed of 1.

    Example
    -------
    >>> name_at_speed("a", 1.0), name_at_speed("a", 0.9)
    ('a', 'sp0.9-a')
    """
    return name if speed == 1 else f"sp{speed:g}-{name}"


class AtSpeeds(collections.abc.Mapping):
    """Alignments of copies of recordings, computed on access.

    Arguments
    ---------
    alignments : collections.abc.Mapping
        ssr_plugin.alignment.record.Alignment by id.
    originals : dict
        Of each copy's id, the id of its original and its speed.
    """

    def __init__(self, alignments, originals):
        self._alignments = alignments
        self._originals = originals

    def __getitem__(self, name):
        original, speed = self._originals[name]
        alignment = self._alignments[original]
        return alignment if speed == 1 else alignment.at_speed(speed)

    def __contains__(self, name):
        # Mapping's own would make the alignment.
        return name in self._originals

    def __iter__(self):
        return iter(self._originals)

    def __len__(self):
        return len(self._originals)
