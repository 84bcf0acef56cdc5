"""Data sets that are trained on beside the one that a run is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ssr_plugin import build
from ssr_plugin.data.datasets import DataSet
from ssr_plugin.data.shards import Shards, is_shard_folder
from ssr_plugin.data.splits import choose_splits
from ssr_plugin.problems import did_you_mean, prefix_errors

_KEYS = ("dataset", "data_folder", "splits", "options")


@dataclasses.dataclass(frozen=True)
class ExtraTrain:
    """A data set of which some splits are trained on, and nothing else is done with it.

    Arguments
    ---------
    dataset : ssr_plugin.data.datasets.DataSet or ssr_plugin.data.shards.Shards
    splits : list of str
        Names or globs.
    """

    dataset: DataSet | Shards
    splits: Sequence[str] = ("*",)

    def select_splits(self) -> list[str]:
        """The splits that are trained on.

        Raises
        ------
        ValueError
            If there is none, or one that is named is not there.
        """
        found: list[str] = choose_splits(
            self.dataset, [*self.splits], "extra_train: splits"
        )
        return found


def parse_extra_train(
    entries: Sequence[Mapping[str, Any]], from_shards: bool = False
) -> list[ExtraTrain]:
    """The data sets that the YAML key ``extra_train`` names.

    Arguments
    ---------
    entries : list of dict
        "data_folder" of each; "dataset", its name in the registry ("csv" where it is
        left out), its "options", as ``dataset_options`` has them, and "splits", names
        or globs (all where they are left out). Of shards, "data_folder" and "splits".
    from_shards : bool
        Whether the run's own data are shards: these are, too, or neither is.

    Returns
    -------
    list of ExtraTrain

    Raises
    ------
    ValueError
        If an entry is none, or names what is not there.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "spoken.csv").write_text("wav,text\\na.wav,good morning\\n")
    >>> (extra,) = parse_extra_train([{"data_folder": str(folder)}])
    >>> extra.select_splits()
    ['spoken']
    >>> parse_extra_train([{"folder": str(folder)}])
    Traceback (most recent call last):
        ...
    ValueError: extra_train: there is no key 'folder' (did you mean 'data_folder'?)
    """
    found = []
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise ValueError(
                f"extra_train: expected entries such as {{data_folder: speech/text}}, "
                f"not {entry!r}"
            )
        for key in entry:
            if key not in _KEYS:
                hint = did_you_mean(key, _KEYS)
                raise ValueError(f"extra_train: there is no key '{key}'{hint}")
        if not isinstance(entry.get("data_folder"), str):
            raise ValueError("extra_train: an entry has no data_folder")
        splits = entry.get("splits", ["*"])
        splits = splits.split(",") if isinstance(splits, str) else splits
        with prefix_errors("extra_train"):
            found.append(ExtraTrain(_open(entry, from_shards), splits))
    return found


def _open(entry: Mapping[str, Any], from_shards: bool) -> DataSet | Shards:
    """The data set of an entry."""
    folder = entry["data_folder"]
    if is_shard_folder(folder) != from_shards:
        one, other = "a folder of shards", "none"
        ours, theirs = (one, other) if from_shards else (other, one)
        raise ValueError(
            f"'{folder}' is {theirs}, and the run's data_folder is {ours}: make shards "
            f"of both (ssr prepare), or name both data sets' own folders"
        )
    if from_shards:
        for key in ("dataset", "options"):
            if key in entry:
                raise ValueError(
                    f"'{folder}' is a folder of shards, and has no {key}: leave it out"
                )
        return Shards(folder)
    name = entry.get("dataset", "csv")
    dataset: DataSet = build.dataset(name, folder, {name: entry.get("options")})
    return dataset
