"""Training speech at other speeds too: of each speaker, a few more (Ko et al. 2015).

Played faster or slower, a voice has another pitch and other formants, which no change
to an encoder's frames gives it. The encoder hears each speed once; cached, that costs
disk and the time to encode.
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
        Of all speeds; ``speed`` says of each which. Ids at a speed of 1 are as they
        were, others begin with ``sp<speed>-``.
    alignments : collections.abc.Mapping
        Of all of them.

    Raises
    ------
    ValueError
        If a speed is none, or occurs twice.

    Example
    -------
    >>> from ssr_plugin.alignment.record import Alignment, Unit
    >>> rows = {"a": {"wav": "a.wav", "duration": 2.0}}
    >>> aligned = {"a": Alignment("a", "hi", (Unit("hi", 0.5, 1.0, 0),), "word", 2.0)}
    >>> rows, aligned = add_speeds(rows, aligned, [1.0, 0.5])
    >>> rows["sp0.5-a"]
    {'wav': 'a.wav', 'duration': 4.0, 'speed': 0.5}
    >>> aligned["sp0.5-a"].units
    (Unit(text='hi', start=1.0, end=2.0, offset=0),)
    """
    if not speeds or len(set(speeds)) < len(speeds) or min(speeds) <= 0:
        raise ValueError(
            f"speed_perturbation: {speeds} are no different numbers above 0"
        )
    found, places = {}, {}
    for speed in speeds:
        for name, row in rows.items():
            if name in alignments:
                own = name if speed == 1 else f"sp{speed:g}-{name}"
                duration = row["duration"] / speed
                found[own] = {**row, "duration": duration, "speed": speed}
                places[own] = (name, speed)
    return found, _AtSpeeds(alignments, places)


class _AtSpeeds(collections.abc.Mapping):
    """Alignments whose times are made when asked for."""

    def __init__(self, alignments, places):
        self._alignments = alignments
        self._places = places

    def __getitem__(self, name):
        original, speed = self._places[name]
        alignment = self._alignments[original]
        return alignment if speed == 1 else alignment.at_speed(speed)

    def __contains__(self, name):
        # Mapping's own would make the alignment.
        return name in self._places

    def __iter__(self):
        return iter(self._places)

    def __len__(self):
        return len(self._places)
