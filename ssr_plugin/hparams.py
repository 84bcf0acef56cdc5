"""YAMLs of stages: find, read, override from the command line, check and load them."""

import copy
import dataclasses
import functools
import io
import pathlib
import re
import sys

from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedBase, CommentedSeq, TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from ssr_plugin import shipped
from ssr_plugin.files import atomic_path
from ssr_plugin.hparams_checks import (
    check_components,
    check_names,
    check_overrides,
    unknown_key,
)
from ssr_plugin.hparams_help import show_usage, show_yaml
from ssr_plugin.problems import did_you_mean
from ssr_plugin.registry import get_registry

#: The key of a YAML that is another one with some keys changed.
BASE = "base"
# The comment at a YAML's top.
_HEAD = re.compile(r"(?:#.*\n)*")


@dataclasses.dataclass(frozen=True)
class Job:
    """A YAML with its overrides, as a command line gives them.

    Arguments
    ---------
    path : pathlib.Path
        The YAML.
    text : str
        Its text, overrides in place.
    overrides : dict
        Of its keys.
    settings : dict
        Its plain keys, overrides in place: those for which no object is made.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's own options.
    """

    path: pathlib.Path
    text: str
    overrides: dict
    settings: dict
    run_opts: object

    def load(self):
        """Makes the objects that the YAML describes.

        Returns
        -------
        dict
            All of its keys.
        """
        return load_hyperpyyaml(self.text)

    def replaced(self, **overrides):
        """The same job with more overrides.

        Returns
        -------
        Job
        """
        return make_job(self.path, {**self.overrides, **overrides}, self.run_opts)

    def with_more(self, overrides):
        """The same job with more overrides, where those of dicts are added to others.

        Arguments
        ---------
        overrides : dict
            ``{"aligner_options": {"ctc": {"source": "..."}}}`` leaves other options of
            ``ctc``, and those of other aligners, as they are.

        Returns
        -------
        Job
        """
        both = copy.deepcopy(self.overrides)
        _update(both, overrides)
        return make_job(self.path, both, self.run_opts)

    def save(self, folder):
        """Writes the YAML with overrides in place: a record of how a run was made.

        Arguments
        ---------
        folder : path-like
            Gets ``hyperparams.yaml``.
        """
        with atomic_path(pathlib.Path(folder) / "hyperparams.yaml") as path:
            resolved = resolve_references(self.text).getvalue()
            path.write_text(f"# From {self.path.absolute()}\n{resolved}", "utf-8")

    def require(self, *keys):
        """Refuses a YAML that lacks some keys.

        Arguments
        ---------
        *keys : str

        Raises
        ------
        ValueError
        """
        missing = [key for key in keys if key not in _tree(self.text)]
        if missing:
            raise ValueError(
                f"{self.path} is a YAML for something else: it has no key "
                f"'{missing[0]}'"
            )

    def dataset_maker(self, recipe_class=None):
        """What makes the data set of the recipe, or the one that ``dataset`` names.

        Arguments
        ---------
        recipe_class : type or None
            The recipe's.

        Returns
        -------
        callable
            Makes a :class:`ssr_plugin.data.datasets.DataSet` of a data folder, with its
            options in the key ``dataset_options``.

        Raises
        ------
        ValueError
            If both name one, or there is none of that name.
        """
        from ssr_plugin import build

        name = self.settings["dataset"]
        options = self.settings.get("dataset_options")
        if recipe_class is None:
            return functools.partial(build.dataset, name, options=options)
        if "dataset" in self.overrides:
            command = "evaluate" if "benchmarks" in self.settings else "train"
            raise ValueError(
                f"--dataset: this recipe reads {recipe_class.__name__}; for another "
                f"one: ssr {command} {self.path} --dataset {name}"
            )
        table = get_registry().datasets
        for known in options or ():
            # The recipe's own has options by the name that the registry has for it.
            if table.get(known) is recipe_class:
                return functools.partial(build.dataset, known, options=options)
        return recipe_class


def parse_command_line(argv, program):
    """Reads a YAML and what overrides it from a command line; checks both.

    Arguments
    ---------
    argv : list of str
        The YAML, then ``--key value`` or ``--key=value`` for keys of the YAML
        (``--connector_options.ssr.form frame`` for one in another) and options of
        SpeechBrain. With ``--help``, the YAML's keys are printed.
    program : str
        The command before them, for messages.

    Returns
    -------
    Job

    Raises
    ------
    ValueError
        If a word is out of place, a key is unknown, or a value is of another kind than
        the YAML's own; the message is one line that names it.
    FileNotFoundError
        If there is no such YAML.
    SystemExit
        After help.

    Example
    -------
    >>> argv = ["hparams/distill.yaml", "--number_of_epochs", "3"]
    >>> parse_command_line(argv, "train.py").settings["number_of_epochs"]
    3
    >>> parse_command_line([*argv, "--seed"], "train.py")
    Traceback (most recent call last):
        ...
    ValueError: --seed: no value is given; write --seed VALUE
    """
    name, words = _split_off_yaml([str(word) for word in argv])
    help_options = {"-h", "--help"} & set(words)
    if name is None:
        if help_options:
            show_usage(program, yamls())
            raise SystemExit(0)
        raise ValueError(
            f"name a YAML, such as: {program} hparams/distill.yaml (--help tells more)"
        )
    path = find_yaml(name)
    text = read_yaml(path)
    defaults = plain_keys(text)
    if help_options:
        show_yaml(program, name, text, defaults)
        raise SystemExit(0)
    overrides, run_words = {}, []
    for key, values in _options(words):
        outer_key, *inner_keys = key.split(".")
        if outer_key in defaults:
            value = _parse(key, values, defaults)
            for inner_key in reversed(inner_keys):
                value = {inner_key: value}
            _update(overrides, {outer_key: value})
        else:
            speechbrain_options = _run_options()
            if key not in speechbrain_options:
                raise unknown_key(key, [*defaults, *speechbrain_options], path)
            run_words += [f"--{key}", *values]
    # First what needs no SpeechBrain, whose import takes seconds.
    check_overrides(overrides, defaults, path)
    return make_job(path, overrides, _parse_run_options(path, run_words))


def make_job(name, overrides, run_opts=None):
    """A YAML with overrides of its keys, both checked.

    Arguments
    ---------
    name : path-like
        Of the YAML: see :func:`find_yaml`.
    overrides : dict
    run_opts : speechbrain.utils.run_opts.RunOptions or None
        SpeechBrain's own options; its defaults if None.

    Returns
    -------
    Job

    Raises
    ------
    ValueError
        As :func:`parse_command_line`.

    Example
    -------
    >>> make_job("hparams/segmenter.yaml", {"seed": 7}).settings["seed"]
    7
    """
    path = find_yaml(name)
    text = read_yaml(path)
    overrides = copy.deepcopy(overrides)
    check_overrides(overrides, plain_keys(text), path)
    changed = _override(text, overrides)
    settings = plain_keys(changed)
    relocated = _relocated(settings)
    if relocated:
        # Shipped files and folders get their full paths.
        _update(overrides, relocated)
        changed = _override(text, overrides)
        settings = plain_keys(changed)
    try:
        check_components(settings)
    except ValueError as error:
        _blame(path, text)
        raise error
    if run_opts is None:
        run_opts = _parse_run_options(path, [])
    return Job(path, changed, overrides, settings, run_opts)


def _blame(path, text):
    """Raises an error that names a YAML, if what is wrong stands in it."""
    try:
        check_components(plain_keys(text))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def plain_keys(text):
    """A YAML's keys for which no object is made, references resolved.

    Arguments
    ---------
    text : str

    Returns
    -------
    dict

    Example
    -------
    >>> plain_keys("a: 1\\nb: !ref <a>\\nc: !new:torch.nn.Linear [!ref <a>, 2]\\n")
    {'a': 1, 'b': 1}
    """
    return copy.deepcopy(_plain_keys(text))


# To read a YAML with its comments takes a tenth of a second; a command reads the same
# text several times.
@functools.lru_cache(maxsize=16)
def _plain_keys(text):
    tree = YAML().load(resolve_references(text))
    plain = {
        key: value
        for key, value in tree.items()
        if not key.startswith("__") and not _makes_object(value)
    }
    return YAML(typ="safe").load(_dump(plain)) or {}


def find_yaml(name):
    """The YAML of that name: the user's, or else a shipped one.

    Arguments
    ---------
    name : path-like
        ``my/own.yaml``; ``hparams/distill.yaml`` and ``distill.yaml`` are found from
        any folder.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        If there is none.

    Example
    -------
    >>> find_yaml("distill.yaml").name
    'distill.yaml'
    """
    root = shipped.folder()
    for path in (pathlib.Path(name), root / name, root / "hparams" / name):
        if path.is_file():
            return path
    hint = did_you_mean(pathlib.Path(name).name, yamls())
    raise FileNotFoundError(
        f"there is no YAML '{name}'; shipped are {', '.join(yamls())}{hint}"
    )


def yamls():
    """Names of the YAMLs that are shipped.

    Returns
    -------
    list of str
    """
    return sorted(path.name for path in (shipped.folder() / "hparams").glob("*.yaml"))


def resolve_shipped(path):
    """The path of a file or folder that may be a shipped one.

    Arguments
    ---------
    path : str
        As a YAML names it: ``recipes/sample/corpus``.

    Returns
    -------
    str
        The same path, if it exists or is not shipped.

    Example
    -------
    >>> resolve_shipped("recipes/no/such/corpus")
    'recipes/no/such/corpus'
    """
    local_path = pathlib.Path(path)
    shipped_path = shipped.folder() / local_path
    if (
        local_path.parts[:1]
        and local_path.parts[0] in shipped.FOLDERS
        and not local_path.exists()
    ):
        return str(shipped_path) if shipped_path.exists() else path
    return path


def read_yaml(path):
    """The text of a YAML; checks that it is one.

    With a key ``base`` it is another YAML with some plain keys changed: those that
    stand beside ``base``. The comment at its top takes the place of the other's.

    Arguments
    ---------
    path : path-like

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it is no YAML with keys, has a key by a name of an earlier version, or
        changes a key that the other does not have.

    Example
    -------
    >>> path = getfixture("tmp_path") / "mine.yaml"
    >>> _ = path.write_text("# Mine.\\nbase: distill.yaml\\nseed: 7\\n")
    >>> text = read_yaml(path)
    >>> text.splitlines()[0], plain_keys(text)["seed"]
    ('# Mine.', 7)
    """
    text = _read(path)
    if BASE not in _tree(text):
        check_names(_tree(text), path)
        return text
    changes = copy.deepcopy(_tree(text))
    name = changes.pop(BASE)
    base_path = find_yaml(name)
    if base_path.resolve() == pathlib.Path(path).resolve():
        raise ValueError(f"{path}: it is its own {BASE}")
    base = read_yaml(base_path)
    changes = YAML(typ="safe").load(_dump(dict(changes))) or {}
    try:
        check_overrides(changes, plain_keys(base), name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    head, rest = _HEAD.match(text)[0], base[_HEAD.match(base).end() :]
    return f"{head}\n{_override(rest, changes).lstrip()}"


def _read(path):
    """The text of a file; checks that it is a YAML with keys."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        tree = _tree(text)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {_flat(error)}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} is no YAML with keys: give such as {yamls()[0]}")
    return text


@functools.lru_cache(maxsize=16)
def _tree(text):
    """What a YAML says, with its comments; to be copied before it is changed."""
    return YAML().load(text)


def _dump(tree):
    stream = io.StringIO()
    YAML().dump(tree, stream)
    return stream.getvalue()


def _override(text, overrides):
    """A YAML with overrides in place; HyperPyYAML cannot put a dict where none was."""
    if not overrides:
        return text
    tree = copy.deepcopy(_tree(text))
    _update(tree, overrides)
    return _dump(tree)


def _flat(error):
    return " ".join(str(error).split())


def _makes_object(value):
    """Whether an object is made for a value, or for something in it."""
    if isinstance(value, CommentedBase | TaggedScalar):
        tag = value.tag.value
        if tag is not None and tag.startswith("!"):
            return True
    if isinstance(value, dict):
        return any(map(_makes_object, value.values()))
    return isinstance(value, list) and any(map(_makes_object, value))


def _relocated(settings):
    """Overrides that replace shipped files and folders by their full paths."""
    relocated = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            new_value = _relocated(value)
        elif isinstance(value, list):
            new_value = [resolve_shipped(x) if isinstance(x, str) else x for x in value]
        else:
            new_value = resolve_shipped(value) if isinstance(value, str) else value
        if new_value != value and new_value != {}:
            relocated[key] = new_value
    return relocated


def _update(settings, others):
    """Sets other values, dicts key by key."""
    for key, value in others.items():
        if isinstance(value, dict) and isinstance(settings.get(key), dict):
            _update(settings[key], value)
        elif isinstance(settings.get(key), CommentedSeq) and isinstance(value, list):
            # In one line, as the YAML's own, with the comment beside it.
            changed = CommentedSeq(copy.deepcopy(value))
            changed.fa.set_flow_style()
            changed.ca.comment = settings[key].ca.comment
            settings[key] = changed
        else:
            settings[key] = copy.deepcopy(value)


# --- The command line ----------------------------------------------------------------


def _split_off_yaml(words):
    """The YAML, which need not come first, and the other words."""
    for i, word in enumerate(words):
        if (i == 0 and not word.startswith("-")) or word.endswith((".yaml", ".yml")):
            return word, words[:i] + words[i + 1 :]
    return None, words


def _options(words):
    """(key, its words) of each option."""
    options = []
    for word in words:
        if word.startswith("--") and len(word) > 2:
            key, sign, value = word[2:].partition("=")
            options.append((key, [value] if sign else []))
        elif options:
            options[-1][1].append(word)
        else:
            raise ValueError(f"'{word}' belongs to no key: write --key value")
    return options


def _parse(key, words, defaults):
    """The value of the words after a key of the YAML."""
    if not words:
        raise ValueError(f"--{key}: no value is given; write --{key} VALUE")
    text = " ".join(words)
    # A list with blanks comes as several words.
    if len(words) > 1 and text[:1] not in "[{":
        hint = did_you_mean(words[1], defaults, "--") or f": write --{key} VALUE"
        raise ValueError(
            f"--{key} {words[0]}: '{words[1]}' after it belongs to no key{hint}"
        )
    default = defaults
    for inner_key in key.split("."):
        default = default.get(inner_key) if isinstance(default, dict) else None
    try:
        value = YAML(typ="safe").load(text)
    except YAMLError as error:
        if isinstance(default, str):
            return text
        problem = error.problem if isinstance(error, MarkedYAMLError) else None
        problem = problem or _flat(error)
        raise ValueError(f"--{key}: '{text}' is no YAML: {problem}") from error
    # Where text is expected it stays text, even if YAML reads a number or a date.
    # In place of "auto" there may be a number.
    is_text = isinstance(default, str) and default != "auto"
    if is_text and not isinstance(value, dict | list | None):
        return value if isinstance(value, str) else text
    return value


def _run_options():
    """Names of SpeechBrain's options."""
    from speechbrain.utils.run_opts import HELP_TEXTS

    return [*HELP_TEXTS, "jit_module_keys", "compile_module_keys"]


def _parse_run_options(path, words):
    """SpeechBrain's parsed options; an error has its last line, not its usage."""
    import contextlib

    import speechbrain as sb

    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            _, run_opts, unparsed = sb.parse_arguments([str(path), *words])
    except SystemExit as error:
        *_, line = stderr.getvalue().strip().splitlines() or [""]
        raise ValueError(line.partition("error: argument ")[2] or line) from error
    sys.stderr.write(stderr.getvalue())
    if unparsed:
        raise ValueError(f"'{unparsed}' belongs to no key: write --key value")
    return run_opts
