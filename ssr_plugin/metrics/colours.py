"""A colour for each condition, the same in all pictures and on every page.

Any two of them can be told apart with normal sight and without red, green or blue
receptors, on white and on black; the tests measure it.
"""

#: By the condition's name; another package adds those of its own.
CONDITION_COLOURS = {
    "none": "#7b7b7b",
    "written": "#d59bd7",
    "text": "#00dc7c",
    "cascade": "#ff9d08",
    "predicted": "#bd4c04",
    "forced": "#10557a",
    "predicted_lm_fusion": "#783020",
    "forced_lm_fusion": "#6018b0",
    "base": "#3d8fff",
}
_OTHER = "#b8b8b8"


def condition_colour(name):
    """The colour of a condition.

    Arguments
    ---------
    name : str

    Returns
    -------
    str
        ``#rrggbb``; a light grey for a condition that is not among the known ones.

    Example
    -------
    >>> condition_colour("forced"), condition_colour("mine")
    ('#10557a', '#b8b8b8')
    """
    return CONDITION_COLOURS.get(name, _OTHER)
