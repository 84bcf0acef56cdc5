"""The package's docstrings as mkdocstrings reads them.

They are in NumPy form with SpeechBrain's headings, and name other objects as Sphinx
does. The tests run their examples, so that options of doctest need not be read.
"""

import re

import griffe

_HEADINGS = {"Arguments": "Parameters", "Example": "Examples"}
_HEADING = re.compile(r"^(Arguments|Example)\n(-+)$", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`~?([^`]+)`")
_DOCTEST = re.compile(r" +# doctest: .*$", re.MULTILINE)


def to_markdown(text):
    """A docstring in Markdown, with the headings that griffe knows.

    Arguments
    ---------
    text : str

    Returns
    -------
    str

    Example
    -------
    >>> print(to_markdown("As :func:`a.b` says::\\n\\nExample\\n-------\\nSo."))
    As `a.b` says:
    <BLANKLINE>
    Examples
    --------
    So.
    """

    def heading(match):
        name = _HEADINGS[match[1]]
        return f"{name}\n{'-' * len(name)}"

    text = _ROLE.sub(r"`\1`", _HEADING.sub(heading, text))
    return re.sub(r"::$", ":", _DOCTEST.sub("", text), flags=re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites each docstring as it is read."""

    def on_object(self, *, obj, **kwargs):
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
