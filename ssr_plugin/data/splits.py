"""Which splits go into which manifest, from the names and globs a user gives."""

import fnmatch


def group_splits(dataset, train_splits, valid_splits, test_splits):
    """Which splits each manifest is made of.

    Arguments
    ---------
    dataset : ssr_plugin.data.datasets.DataSet
        Says which splits there are.
    train_splits, valid_splits, test_splits : list of str or str
        Names or globs; a plain string is split at commas.

    Returns
    -------
    groups : dict
        For each manifest ("train", "valid", a test split's name) its splits; without
        "valid" where no validation split matches.
    tests : list of str
        The test splits.

    Raises
    ------
    ValueError
        If a name is not there, if no split is left to train on, or if splits overlap
        so that training data would be tested on or a manifest written twice.

    Example
    -------
    >>> class Three:
    ...     folder = "corpus"
    ...     def splits(self):
    ...         return ["dev", "test", "train-a", "train-b"]
    >>> group_splits(Three(), ["train-*"], ["dev*", "valid*"], "test")[0]
    {'train': ['train-a', 'train-b'], 'valid': ['dev'], 'test': ['test']}
    """
    available = dataset.splits()
    train = select_splits("train_splits", train_splits, available)
    valid = select_splits("valid_splits", valid_splits, available)
    tests = select_splits("test_splits", test_splits, available)
    if not train:
        raise ValueError(
            f"train_splits: {train_splits} matches none of the splits in "
            f"'{dataset.folder}'; there are: {', '.join(available) or 'none'}"
        )
    groups = {"train": train}
    if valid:
        groups["valid"] = valid
    for key, splits in (("valid_splits", valid), ("test_splits", tests)):
        both = sorted(set(train) & set(splits))
        if both:
            raise ValueError(f"{key}: {', '.join(both)} is also in train_splits")
    for split in tests:
        # If validation is held out of training, valid.csv exists, too.
        sources = groups.get(split, [] if split == "valid" else [split])
        if sources != [split]:
            raise ValueError(
                f"test_splits: '{split}' would overwrite the manifest {split}.csv of "
                f"{split}_splits; give the split another name"
            )
        groups[split] = [split]
    return groups, tests


def select_splits(key, patterns, available):
    """The splits that names and globs stand for, in their order, each once.

    Arguments
    ---------
    key : str
        The option that gave them, for messages.
    patterns : list of str or str
        Names or globs; a plain string is split at commas.
    available : list of str
        The splits that there are.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If a name is not there. A glob may match nothing.

    Example
    -------
    >>> select_splits("test_splits", ["test*", "dev"], ["dev", "test-a", "test-b"])
    ['test-a', 'test-b', 'dev']
    """
    if isinstance(patterns, str):
        patterns = patterns.split(",")
    selected = {}
    for pattern in (str(pattern).strip() for pattern in patterns or ()):
        matches = fnmatch.filter(available, pattern)
        # A glob may match nothing: one YAML names the usual splits of many data sets.
        if not matches and pattern and not set(pattern) & set("*?["):
            raise ValueError(
                f"{key}: there is no split '{pattern}'; "
                f"there are: {', '.join(available) or 'none'}"
            )
        selected.update(dict.fromkeys(matches))
    return list(selected)


def choose_splits(dataset, patterns, key="splits"):
    """The splits that a user names.

    Arguments
    ---------
    dataset : ssr_plugin.data.datasets.DataSet
    patterns : list of str
        Names or globs.
    key : str
        What the user knows them by, for messages.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If there are none of them.
    """
    chosen = select_splits(key, patterns, dataset.splits())
    if not chosen:
        raise ValueError(
            f"{key}: {patterns} matches none of the splits in '{dataset.folder}'; "
            f"there are: {', '.join(dataset.splits()) or 'none'}"
        )
    return chosen
