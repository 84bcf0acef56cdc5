"""JSON that others may have damaged: read and compared with what is expected.

What is wrong is told with the file, the place in it and what was expected there. (A
library of schemas, such as pydantic, would be a large dependency for these few forms.)
"""

import json
import pathlib
import types


class JSONError(ValueError):
    """A file is no JSON, or of another form; the message names file and place."""


def read_json(path, form=None):
    """Reads a JSON file.

    Arguments
    ---------
    path : path-like
    form : object
        What it must be, as in :func:`check_form`.

    Returns
    -------
    object

    Raises
    ------
    JSONError
        If it is missing, unreadable or of another form.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.json"
    >>> _ = path.write_text('{"seed": 1, "names": ["a", 2]}')
    >>> read_json(path, {"seed": int})["seed"]
    1
    >>> read_json(path, {"names": [str]})
    Traceback (most recent call last):
        ...
    ssr_plugin.json_files.JSONError: ...json is damaged: names[1]: expected text, not 2
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():
        raise JSONError(f"{path} is no regular file")
    try:
        return parse_json(path.read_bytes(), form)
    except OSError as error:
        raise JSONError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise JSONError(f"{path} is damaged: {error}") from error


def parse_json(text, form=None):
    """Reads JSON from a text; for its arguments and errors see :func:`read_json`.

    Example
    -------
    >>> parse_json("[" * 100000)
    Traceback (most recent call last):
        ...
    ssr_plugin.json_files.JSONError: brackets in brackets, much too deep
    """
    try:
        content = json.loads(text)
        check_form(content, form)
        return content
    except RecursionError as error:
        raise JSONError("brackets in brackets, much too deep") from error
    except UnicodeDecodeError as error:
        raise JSONError(f"it is not UTF-8: {error.reason}") from error
    except JSONError:
        raise
    except ValueError as error:
        raise JSONError(f"it is no JSON: {error}") from error


def check_form(content, form, place=""):
    """Compares what was read with what is expected.

    Arguments
    ---------
    content : object
        Of JSON.
    form : object
        None takes anything; a type or a union of types takes a value of it; ``[form]``
        a list, ``{str: form}`` an object with any keys, ``{"key": form, "other?":
        form}`` one with these keys, of which some may be missing, and any others.
    place : str
        Where it stands, for the message.

    Raises
    ------
    JSONError
        If it is of another form.

    Example
    -------
    >>> check_form({"a": [{"b": 1.5}]}, {"a": [{"b": int | float}], "c?": str})
    >>> check_form({"a": True}, {"a": int})
    Traceback (most recent call last):
        ...
    ssr_plugin.json_files.JSONError: a: expected a whole number, not True
    """
    if form is None:
        return
    if isinstance(form, dict):
        _check_kind(content, dict, place)
        if set(form) == {str}:
            form = dict.fromkeys(content, form[str])
        for key, inner in form.items():
            name = key.removesuffix("?") if key not in content else key
            where = f"{place}.{name}" if place else name
            if name in content:
                check_form(content[name], inner, where)
            elif name == key:
                raise JSONError(f"{where} is missing")
    elif isinstance(form, list):
        _check_kind(content, list, place)
        for i, value in enumerate(content):
            check_form(value, form[0], f"{place}[{i}]")
    else:
        _check_kind(content, form, place)


_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _check_kind(content, kind, place):
    kinds = kind.__args__ if isinstance(kind, types.UnionType) else (kind,)
    if isinstance(content, bool):
        fits = bool in kinds
    else:
        fits = isinstance(content, kinds) or (float in kinds and type(content) is int)
    if not fits:
        wanted = " or ".join(_WORDS[one] for one in kinds)
        found = repr(content)
        found = found if len(found) <= 60 else f"{found[:57]}..."
        where = f"{place}: " if place else ""
        raise JSONError(f"{where}expected {wanted}, not {found}")
