"""Checks the values that a user sets in a YAML, before anything is loaded.

A value must be of the same kind as the YAML's own default. If that is null, any value
is accepted.
"""

import inspect
import json
import math
import pathlib

from ssr_plugin.languages import AUTO
from ssr_plugin.problems import did_you_mean
from ssr_plugin.registry import get_registry

_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "options in braces, {key: value}",
    type(None): "null",
}
_SPLITS = (str, type(None))
# Keys that may also be of other kinds than their default.
_ALSO = {
    "train_splits": (str,),
    "valid_splits": _SPLITS,
    "test_splits": _SPLITS,
    "shot_splits": _SPLITS,
    "text_source": (list, dict),
    "text_heldout": (list, dict, type(None)),
    "target_modules": (list,),
    "batch_seconds": (float,),
    "num_workers": (int,),
}
# What keys may be whose default is null.
_NULL_KINDS = {
    "valid_fold": (str,),
    "pseudo_speech_source": (str, list, dict),
    "encoder_source": (str,),
    "llm_source": (str,),
    "segmenter": (str,),
    "source": (str,),
    "language": (str,),
    "speech": (str,),
    "reference": (str,),
    "data": (str, list, dict),
    "max_items": (int,),
    "hidden_size": (int,),
}
# Least and most of numbers, and whether the least itself is one of them.
_SHARE = (0, 1, True)
_COUNT = (1, math.inf, True)
_POSITIVE = (0, math.inf, False)
_NOT_NEGATIVE = (0, math.inf, True)
_RANGES = {
    "number_of_epochs": _COUNT,
    "max_items": _COUNT,
    "hidden_size": _COUNT,
    "grad_accumulation_factor": _COUNT,
    "kl_layers": _COUNT,
    "time_mask_frames": _COUNT,
    "text_block": _COUNT,
    "text_heldout_tokens": _COUNT,
    "lr": _POSITIVE,
    "batch_seconds": _POSITIVE,
    "max_grad_norm": _POSITIVE,
    "inverse_temperature": _POSITIVE,
    "speed_perturbation": _POSITIVE,
    "warmup": _SHARE,
    "max_skipped_share": _SHARE,
    "predicted_share": _SHARE,
    "frame_dropout": _SHARE,
    "seed": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "ckpt_interval_minutes": _NOT_NEGATIVE,
    "num_workers": _NOT_NEGATIVE,
    "num_shown": _NOT_NEGATIVE,
    "mean_swap": _NOT_NEGATIVE,
    "frame_noise": _NOT_NEGATIVE,
    "time_masks": _NOT_NEGATIVE,
    "boundary_jitter": _NOT_NEGATIVE,
    "mse_weight": _NOT_NEGATIVE,
    "cosine_weight": _NOT_NEGATIVE,
    "ce_weight": _NOT_NEGATIVE,
    "ce_candidates": _NOT_NEGATIVE,
    "kl_weight": _NOT_NEGATIVE,
    "llm_weight": _NOT_NEGATIVE,
    "lm_fusion_steps": _NOT_NEGATIVE,
    "lm_fusion_weight": _NOT_NEGATIVE,
    "text_ratio": _NOT_NEGATIVE,
    "pseudo_speech_ratio": _NOT_NEGATIVE,
    "text_weight": _NOT_NEGATIVE,
    "text_kl_weight": _NOT_NEGATIVE,
    "text_tokens": _NOT_NEGATIVE,
}
# Dicts in which a user may add names.
_OPEN = {"templates"}
# Numbers of trainings that have another name now. The `noise` of evaluate.yaml has
# keys of its own.
_RENAMED = {"noise": "frame_noise"}
# Overrides of another YAML; they are checked when that is read.
_OTHERS = {"segmenter_training", "aligner_training"}


def check_value(name, value, default, path=None):
    """Refuses a value of another kind than the default.

    Arguments
    ---------
    name : str
        The user's name for it, for the message.
    value
    default
        None accepts anything, but for keys that are known; a float accepts an int,
        too; a dict accepts null, too.
    path : str
        The key, dotted; ``name`` without dashes by default.

    Raises
    ------
    ValueError
        Names the key and says what is expected.

    Example
    -------
    >>> check_value("--lr", 1, 0.001)
    >>> check_value("--number_of_epochs", "ten", 5)
    Traceback (most recent call last):
        ...
    ValueError: --number_of_epochs: expected a whole number, such as 5, not 'ten'
    """
    key = (path or name).rpartition(".")[2].lstrip("-")
    if default is None or default is inspect.Parameter.empty:
        kinds = _NULL_KINDS.get(key, ())
        if kinds and value is not None and not any(_is(value, one) for one in kinds):
            words = " or ".join(_KINDS[one] for one in kinds)
            raise ValueError(f"{name}: expected {words}, or null, not {_yaml(value)}")
        _check_range(name, value, key)
        return
    kind = list if isinstance(default, tuple) else type(default)
    kinds = (kind, *_ALSO.get(key, ()), *([type(None)] if kind is dict else []))
    if any(_is(value, one) for one in kinds):
        numbers = kind is list and default and type(default[0]) in (int, float)
        if numbers and not all(_is(x, float) for x in value):
            raise ValueError(
                f"{name}: expected a list of numbers, such as {_yaml(default)}, not "
                f"{_yaml(value)}"
            )
        _check_range(name, value, key)
        return
    if kind is dict:
        kinds = (dict,)
    words = " or ".join(_KINDS.get(one, one.__name__) for one in dict.fromkeys(kinds))
    has_example = kind not in (bool, dict) and default not in ("", [], ())
    example = f", such as {_yaml(default)}" if has_example else ""
    raise ValueError(f"{name}: expected {words}{example}, not {_yaml(value)}")


def _check_range(name, value, key):
    """Refuses a number, or one in a list, that is out of the key's range."""
    numbers = value if isinstance(value, list) else [value]
    low, high, closed = _RANGES.get(key, (-math.inf, math.inf, False))
    for number in numbers:
        if not _is(number, float):
            continue
        above = number >= low if closed else number > low
        if not (above and number <= high and math.isfinite(number)):
            words = f"above {low}" if not closed else f"{low} or more"
            if high < math.inf:
                words = f"from {low} to {high}"
            if low == -math.inf:
                words = "a finite number"
            raise ValueError(f"{name}: expected {words}, not {_yaml(value)}")


def _is(value, kind):
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _yaml(value):
    """A value as a user writes it."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return repr(value)
    return json.dumps(value, default=str)


def unknown_key(key, known, source):
    """What to raise for a key that a YAML does not have.

    Arguments
    ---------
    key : str
    known : iterable of str
        Keys that are known there.
    source : path-like
        The YAML.

    Returns
    -------
    ValueError

    Example
    -------
    >>> unknown_key("noise", ["frame_noise", "seed"], "my.yaml")
    ValueError("--noise: my.yaml has no such key: it is called '--frame_noise' now")
    """
    new = _RENAMED.get(key)
    hint = did_you_mean(key, known, "--")
    if new in known:
        hint = f": it is called '--{new}' now"
    return ValueError(f"--{key}: {source} has no such key{hint}")


def renamed(settings):
    """A YAML's keys by the names that they have now.

    Arguments
    ---------
    settings : dict
        Perhaps of an earlier version.

    Returns
    -------
    dict

    Example
    -------
    >>> renamed({"noise": 0.2, "seed": 1}), renamed({"noise": {"kinds": []}})
    ({'frame_noise': 0.2, 'seed': 1}, {'noise': {'kinds': []}})
    """
    return {
        _RENAMED[key] if _is_old(key, value) else key: value
        for key, value in settings.items()
    }


def check_names(settings, source):
    """Refuses keys by names that they have no more: nothing would read them.

    Arguments
    ---------
    settings : dict
        A YAML's keys.
    source : path-like
        The YAML, for the message.

    Raises
    ------
    ValueError

    Example
    -------
    >>> check_names({"noise": 0.2}, "my.yaml")
    Traceback (most recent call last):
        ...
    ValueError: my.yaml: the key 'noise' is called 'frame_noise' now
    """
    for key, value in settings.items():
        if _is_old(key, value):
            raise ValueError(
                f"{source}: the key '{key}' is called '{_RENAMED[key]}' now"
            )


def _is_old(key, value):
    return key in _RENAMED and not isinstance(value, dict | None)


def check_overrides(overrides, defaults, source):
    """Refuses overrides of keys that a YAML does not have, or of another kind.

    Options of components are checked by :func:`check_components`.

    Arguments
    ---------
    overrides : dict
    defaults : dict
        The YAML's keys that may be overridden.
    source : path-like
        The YAML, for the message.

    Raises
    ------
    ValueError

    Example
    -------
    >>> check_overrides({"sed": 1}, {"seed": 1234}, "my.yaml")
    Traceback (most recent call last):
        ...
    ValueError: --sed: my.yaml has no such key (did you mean '--seed'?)
    """
    component_keys = {f"{table.kind.replace(' ', '')}_options" for table in _tables()}
    for key, value in overrides.items():
        if key not in defaults:
            raise unknown_key(key, defaults, source)
        check_value(f"--{key}", value, defaults[key])
        if key in _OTHERS:
            continue
        if isinstance(value, dict) and isinstance(defaults[key], dict):
            if key in component_keys:
                _check_kinds(f"--{key}", value, defaults[key])
            else:
                _check_names(f"--{key}", value, defaults[key], key in _OPEN)


def _check_kinds(path, values, default):
    """Checks the kinds of values in a dict, where the YAML has a default."""
    for key, value in values.items():
        if key in default:
            check_value(f"{path}.{key}", value, default[key])
            if isinstance(value, dict) and isinstance(default[key], dict):
                _check_kinds(f"{path}.{key}", value, default[key])


def _check_names(path, values, default, is_open=False):
    """Checks names and kinds in a dict; an open one may get entries like its others."""
    entries = {}
    for entry in default.values():
        entries |= entry if isinstance(entry, dict) else {}
    for key, value in values.items():
        if key not in default and not is_open:
            raise ValueError(
                f"{path}: there is no '{key}'; known: {', '.join(default)}"
                f"{did_you_mean(key, default)}"
            )
        allowed = {**entries, **default.get(key, {})} if is_open else default[key]
        check_value(f"{path}.{key}", value, allowed)
        if isinstance(value, dict) and isinstance(allowed, dict):
            _check_names(f"{path}.{key}", value, allowed)


def check_components(settings):
    """Refuses unknown components, and options of unknown name or another kind.

    Arguments
    ---------
    settings : dict
        Plain keys of a YAML, overrides in place. Options of components are in keys such
        as ``connector_options``, by the component's name.

    Raises
    ------
    ValueError

    Example
    -------
    >>> check_components({"connector": "srs"})
    Traceback (most recent call last):
        ...
    ValueError: unknown connector 'srs'; known: ... (did you mean 'ssr'?)
    """
    from ssr_plugin import build

    for table in _tables():
        chosen = settings.get(table.kind.replace(" ", ""))
        # A path is the folder of a trained component.
        named = isinstance(chosen, str) and "/" not in chosen
        by_language = table.kind == "aligner" and chosen == AUTO
        if named and not by_language and not _is_folder(chosen):
            table.get(chosen)
        key = build.options_key(table.kind)
        for name, options in (settings.get(key) or {}).items():
            if name not in table.names():
                hint = did_you_mean(name, table.names())
                raise ValueError(
                    f"{key}: there is no {table.kind} '{name}'; known: "
                    f"{', '.join(table.names())}{hint}"
                )
            check_value(f"{key}.{name}", options, {})
            try:
                component = table.get(name)
            except ImportError:
                if name == chosen:
                    raise
                # It is not used, so its packages need not be installed.
                continue
            build.check_options(table.kind, name, component, options or ())
            defaults = build.options_of(component) or {}
            for option, value in (options or {}).items():
                check_value(f"{key}.{name}.{option}", value, defaults.get(option))


def _is_folder(name):
    return pathlib.Path(name).is_dir()


def _tables():
    return vars(get_registry()).values()
