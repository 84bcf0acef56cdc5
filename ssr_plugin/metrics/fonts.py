"""Fonts for pictures: whatever script a text is in, of those that are installed."""

import functools
import logging
import pathlib
import unicodedata

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

logger = logging.getLogger(__name__)

#: The one that comes with matplotlib, whose characters are all as wide.
MONO = "DejaVu Sans Mono"
# Of fonts that have the same letters, those with one of these in the name come last.
_STYLES = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "narrow")


def font_families(*texts):
    """The fonts that show some texts, for matplotlib's ``fontfamily``.

    Arguments
    ---------
    *texts : str

    Returns
    -------
    list of str
        :data:`MONO`, and installed ones that have what it lacks. What no font has is
        drawn as boxes, and a warning says so, once.

    Example
    -------
    >>> font_families("plain")
    ['DejaVu Sans Mono']
    """
    characters = {x for text in texts for x in text if _is_drawn(x)}
    missing = frozenset(characters - _characters(_mono_path()))
    return [MONO, *(_fallbacks(missing) if missing else ())]


def text_width(text):
    """How wide a text is in :data:`MONO`, in characters: those of Chinese are two.

    Example
    -------
    >>> text_width("ab"), text_width("\u4f60\u597d"), text_width("e\u0301")
    (2, 4, 1)
    """
    wide = sum(unicodedata.east_asian_width(x) in "WF" for x in text)
    return wide + sum(unicodedata.category(x) != "Mn" for x in text)


def _is_drawn(character):
    return unicodedata.category(character)[0] not in "CZ"


@functools.cache
def _mono_path():
    return font_manager.findfont(MONO)


@functools.lru_cache(maxsize=256)
def _characters(path):
    """What a font has; nothing of a file that is no font."""
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@functools.lru_cache(maxsize=256)
def _fallbacks(missing):
    """Names of installed fonts that together have all characters, or most."""

    def order(path):
        name = pathlib.Path(path).stem.lower()
        # DejaVu's others go best with the one that is there.
        return not name.startswith("dejavu"), any(x in name for x in _STYLES), path

    # As they are now: matplotlib's own list may be older.
    paths = sorted(font_manager.findSystemFonts(), key=order)
    names = []
    while missing:
        best = max(paths, key=lambda path: len(missing & _characters(path)), default="")
        if not missing & _characters(best):
            _warn(missing)
            break
        missing = missing - _characters(best)
        font_manager.fontManager.addfont(best)
        names.append(FT2Font(best).family_name)
    return names


@functools.cache
def _warn(missing):
    shown = "".join(sorted(missing)[:10])
    logger.warning(
        "No installed font has '%s': pictures show boxes in their place. Debian's "
        "fonts-noto-core and fonts-noto-cjk have most scripts",
        shown,
    )
