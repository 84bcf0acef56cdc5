"""Alignments as files of other tools, which :mod:`.formats` reads again."""

from ssr_plugin.alignment.formats import Timed
from ssr_plugin.alignment.record import AlignmentError
from ssr_plugin.files import atomic_path


def words(alignment):
    """The words of an alignment, whatever its units.

    Arguments
    ---------
    alignment : Alignment

    Returns
    -------
    list of (str, float, float)
        Word, start and end in s.
    """
    units = tuple((unit.text, unit.start, unit.end) for unit in alignment.units)
    offsets = tuple(unit.offset for unit in alignment.units)
    return Timed(alignment.id, units, alignment.kind, alignment.text, offsets).words()


def to_ctm(alignment):
    """An alignment as lines of CTM: id, channel, start, duration, word.

    Arguments
    ---------
    alignment : Alignment

    Returns
    -------
    str

    Example
    -------
    >>> from ssr_plugin.alignment.record import Alignment, Unit
    >>> units = (Unit("Hi", 0.1, 0.3, 0), Unit("Bo", 0.5, 0.8, 4))
    >>> print(to_ctm(Alignment("utt-1", "Hi, Bo", units, "word", 1.0)))
    utt-1 1 0.100 0.200 Hi
    utt-1 1 0.500 0.300 Bo
    """
    # Blanks separate fields.
    return "\n".join(
        f"{'_'.join(alignment.id.split())} 1 {start:.3f} {end - start:.3f} "
        f"{'_'.join(word.split())}"
        for word, start, end in words(alignment)
    )


def write_textgrid(path, alignment):
    """Writes an alignment for Praat, its words in the tier "words".

    Arguments
    ---------
    path : path-like
        Written whole or not at all.
    alignment : Alignment

    Raises
    ------
    AlignmentError
        If a word takes no time, which a TextGrid cannot hold.
    """
    from praatio import textgrid

    entries = [(start, end, word) for word, start, end in words(alignment)]
    empty = [word for start, end, word in entries if start >= end]
    if empty:
        raise AlignmentError(
            alignment.id,
            f"the word '{empty[0]}' takes no time, which a TextGrid cannot hold: take "
            f"another form",
        )
    last = max([alignment.duration, *(end for _, end, _ in entries)])
    grid = textgrid.Textgrid()
    grid.addTier(textgrid.IntervalTier("words", entries, 0, last))
    with atomic_path(path) as partial:
        grid.save(str(partial), format="long_textgrid", includeBlankSpaces=True)
