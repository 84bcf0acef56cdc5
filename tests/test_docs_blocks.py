"""What the docs tell to run can be run: as it is, or with what the reader has."""

import copy
import functools
import json
import os
import re
import sys
import types

import pytest
from readme import (
    PROJECT,
    README,
    all_commands,
    blocks,
    calls,
    is_yours,
    notebook_code,
    readme_python,
)

from ssr_plugin import cli, components, hparams
from ssr_plugin.cli.parser import COMMANDS, make_parser
from ssr_plugin.hparams import parse_command_line
from ssr_plugin.registry import Registry

DOCS = sorted((PROJECT / "docs").glob("*.md"))
GUIDE = PROJECT / "CONTRIBUTING.md"
PAGES = [README, GUIDE, *DOCS]
EVALUATE = ("recipes/librispeech/evaluate.py", "hparams/evaluate.yaml")
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
# Of the sample's model, these take seconds; all others train, evaluate or wait.
QUICK = {"transcribe", "generate", "align", "embed", "export"}


def files_of(page):
    """The Python of a page that is to go into the reader's own module."""
    return [
        body
        for kind, body in blocks(page)
        if kind == "python" and re.match(r"# my_package\.py\n", body)
    ]


@pytest.fixture
def own_parts(monkeypatch):
    """The parts that the docs write, found by the names that the docs give them."""
    module = types.ModuleType("my_package")
    monkeypatch.setitem(sys.modules, "my_package", module)
    extend = PROJECT / "docs" / "extend.md"
    for body in files_of(extend):
        exec(body, vars(module))
    registry = Registry()
    components.setup(registry)
    names = re.findall(
        r'registry\.(\w+)\.add\("(\w+)", "(my_package:\w+)"\)', extend.read_text()
    )
    assert len(names) == len(files_of(extend))
    for table, name, target in names:
        getattr(registry, table).add(name, target)
    kept = functools.lru_cache(hparams.plain_keys)
    # The same few YAMLs are read for each command.
    monkeypatch.setattr(hparams, "plain_keys", lambda text: copy.deepcopy(kept(text)))
    for place in ("hparams", "hparams_checks"):
        monkeypatch.setattr(f"ssr_plugin.{place}.get_registry", lambda: registry)
    return registry


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_speech_lm_folder):
    """The project after the README's first command, whose model is a tiny one."""
    for path in PROJECT.iterdir():
        if not path.name.startswith(".") and path.name != "results":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "distill").symlink_to(tiny_speech_lm_folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- Commands -------------------------------------------------------------------------


def check_call(words):
    """Raises SystemExit or ValueError if a program does not take these words."""
    program, *rest = words
    if program == "ssr" and rest[0] not in ("train", "evaluate"):
        # What follows a plan's options is the YAML's.
        make_parser().parse_known_args(rest)
        return
    if program == "ssr":
        rest = rest[1:]
    elif not program.startswith("recipes/"):
        assert (PROJECT / program).exists() or program.startswith("ssr_plugin.")
        return
    try:
        parse_command_line(rest, program)
    except SystemExit as end:
        assert not end.code and "--help" in rest


def test_every_command_has_options_keys_and_values_that_are_known(own_parts, capsys):
    # Each once: most begin with the same words on many pages.
    found = {tuple(words) for page in PAGES for words in calls(page)}
    # The benchmark of the guide's third exercise is the reader's to write.
    found.remove((*EVALUATE, "--benchmarks", "[mine]"))
    wrong = {}
    for words in found:
        try:
            check_call(words)
        except (SystemExit, ValueError) as error:
            wrong[" ".join(words)] = error
    assert len(found) > 50 and not wrong


PROGRAMS = {
    *("ssr", "python", "torchrun", "for", "done", "pip", "pytest", "ruff", "mypy"),
    *("mkdocs", "arecord", "cat", "curl", "hf", "lm_eval", "lmms-eval"),
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_block_without_a_language_holds_commands_alone(page):
    assert {line.split()[0] for line in all_commands(page)} <= PROGRAMS


@pytest.mark.parametrize(
    "words",
    [
        ["ssr", "align", "a.wav", "--format", "mp3"],
        ["ssr", "train", "hparams/distill.yaml", "--number_of_epoch", "5"],
        ["recipes/librispeech/train.py", "hparams/distill.yaml", "--connector", "our"],
    ],
)
def test_a_command_that_is_not_taken_is_found(words, own_parts, capsys):
    with pytest.raises((SystemExit, ValueError)):
        check_call(words)


def test_the_page_of_the_command_line_names_every_command():
    page = (PROJECT / "docs" / "command_line.md").read_text(encoding="utf-8")
    assert {name for name in COMMANDS if f"`ssr {name}" not in page} == set()


def test_quick_commands_of_the_docs_run_and_say_something(folder, capsys):
    done = {}
    for page in DOCS:
        for words in calls(page):
            command, *rest = words[1:] or [None]
            quick = words[0] == "ssr" and command in QUICK
            alone = {"-", "--quantization", "--chat"} & set(rest)
            if not quick or alone or is_yours(" ".join(words)):
                continue
            if tuple(words) not in done:
                assert cli.main(words[1:]) == 0
                printed = capsys.readouterr().out
                done[tuple(words)] = printed
                outputs = [rest[i + 1] for i, x in enumerate(rest) if x == "--output"]
                assert printed or all(os.path.exists(path) for path in outputs)
    assert {words[1] for words in done} == QUICK


# --- Python ---------------------------------------------------------------------------

PYTHON = [page for page in DOCS if readme_python(page)]


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, folder):
    if page.stem == "demo":
        pytest.skip("it serves until somebody stops it; tests/demo has it")
    if page.stem == "small_llms":
        pytest.importorskip("bitsandbytes")
    exec("\n".join(readme_python(page)), {"__name__": "docs"})


def test_pages_with_python_that_runs_are_those_of_models_and_parts():
    assert {page.stem for page in PYTHON} >= {"code", "first_hour", "live", "use"}


# --- Notebooks ------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_what_it_printed(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


def test_a_line_for_the_shell_becomes_a_call_that_must_succeed(tmp_path):
    path = tmp_path / "a.ipynb"
    cells = [
        {"cell_type": "markdown", "source": ["!no"]},
        {"cell_type": "code", "source": ["x = 1\n", "!exit 3"]},
    ]
    path.write_text(json.dumps({"cells": cells}))
    with pytest.raises(Exception, match="exit 3"):
        exec(notebook_code(path), {})


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_jupyter_with_a_tiny_model(path, folder):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        # The model is there: it is not trained, and has no figures.
        if "train.py" in cell.source or "metrics.json" in cell.source:
            cell.source = ""
    nbclient.NotebookClient(
        notebook, resources={"metadata": {"path": folder}}
    ).execute()
