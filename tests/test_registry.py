"""The registry: found by name, added by other packages, broken extensions skipped."""

import os
import pathlib
import re
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
import torch

from ssr_plugin import build
from ssr_plugin.connectors import Connector, MeanConnector, VocabularyConnector
from ssr_plugin.registry import Registry, Table, get_registry
from ssr_plugin.segmenters import TextAligner, TrainableSegmenter

PROJECT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize(
    "table, name", [("aligners", "ctc"), ("connectors", "ssr"), ("datasets", "csv")]
)
def test_a_table_lists_its_names_where_one_is_unknown(table, name):
    table = vars(get_registry())[table]
    assert name in table.names()
    known = ", ".join(table.names())
    with pytest.raises(ValueError, match=f"'nothing'; known: {known}"):
        table.get("nothing")


def test_a_table_suggests_the_name_that_a_misspelt_one_is_near():
    with pytest.raises(ValueError, match=r"did you mean 'pocketsphinx'\?"):
        get_registry().aligners.get("pocketsphynx")


def test_a_component_given_by_its_target_is_imported_when_asked_for():
    table = Table("connector", "torch.nn:Module")
    table.add("late", "nowhere.at_all:Thing")
    table.add("identity", "torch.nn:Identity")
    assert table.names() == ["identity", "late"]
    assert table.get("identity").__name__ == "Identity"
    with pytest.raises(ImportError, match="nowhere"):
        table.get("late")


def test_a_table_gives_a_name_once():
    table = Table("connector", "torch.nn:Module")
    table.add("a", "torch.nn:Identity")
    table.add("a", "torch.nn:Identity")
    with pytest.raises(
        ValueError, match="connector 'a' is already registered as torch"
    ):
        table.add("a", "torch.nn:Linear")


def test_registries_share_no_components():
    first, second = Registry(), Registry()
    first.connectors.add("mine", int)
    assert second.connectors.names() == []


def make_connector(input_size, llm) -> Connector:
    """A function that says what it makes."""
    return MeanConnector(input_size, llm)


def make_anything(input_size, llm):
    """A function that does not."""
    return MeanConnector(input_size, llm)


def make_number(input_size, llm) -> Connector:
    """A function that says what it does not make."""
    return 7


def test_a_table_refuses_a_component_of_another_base_class():
    registry = Registry()
    registry.connectors.add("module", torch.nn.Identity)
    registry.connectors.add("function", make_anything)
    registry.segmenters.add("connector", MeanConnector)
    for table, name, message in [
        (
            registry.connectors,
            "module",
            r"'module' \(torch.*Identity\) is no subclass of ",
        ),
        (registry.connectors, "function", "said to return object.* is no subclass of "),
        (registry.segmenters, "connector", "is no subclass of .*base.Segmenter"),
    ]:
        with pytest.raises(ValueError, match=message):
            table.get(name)


def test_a_table_takes_a_function_that_says_what_it_makes():
    connectors = Registry().connectors
    connectors.add("function", make_connector)
    assert connectors.get("function") is make_connector
    assert connectors.made_by("function") is Connector
    assert not connectors.makes("function", VocabularyConnector)


def test_build_refuses_what_a_function_makes_of_another_class(monkeypatch):
    registry = Registry()
    registry.connectors.add("number", make_number)
    monkeypatch.setattr(build, "get_registry", lambda: registry)
    with pytest.raises(ValueError, match="'number' gives int, which is no Connector"):
        build.connector("number", SimpleNamespace(width=6), None)


def test_every_component_of_the_package_keeps_to_its_base_class():
    for table in vars(get_registry()).values():
        for name in table.names():
            table.get(name)


def test_a_table_tells_which_segmenters_are_trained_and_align_texts():
    segmenters = get_registry().segmenters
    names = segmenters.names()
    trained = {name for name in names if segmenters.makes(name, TrainableSegmenter)}
    assert trained == {"subword_ctc", "char_ctc", "boundary", "cif", "unity2"}
    aligners = {name for name in names if segmenters.makes(name, TextAligner)}
    assert aligners == {"char_ctc", "unity2"}


@pytest.fixture(scope="module")
def done(extension_site):
    """A process, now ended, that used the extension's connector by its name."""
    code = """
    from ssr_plugin.registry import get_registry

    connectors = get_registry().connectors
    print(connectors.get("toy").__module__, connectors.get("toy").__name__)
    print(*connectors.names())
    """
    path = os.pathsep.join(map(str, (extension_site, PROJECT)))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done


def test_an_installed_extension_brings_its_connector_by_name(done):
    assert done.stdout.startswith("ssr_toy ToyConnector\n")


@pytest.mark.parametrize(
    "name, message",
    [
        ("a_missing", "ModuleNotFoundError: No module named 'ssr_nowhere'"),
        ("b_broken", "RuntimeError: made by hand"),
        ("c_clash", "ValueError: connector 'ssr' is already registered"),
    ],
)
def test_a_broken_extension_warns_and_is_skipped(done, name, message):
    warning = rf"extension '{name}' \(ssr_\w+:\w+\) is skipped: {message}"
    assert re.search(warning, done.stderr)


def test_broken_extensions_leave_all_other_components_in_place(done):
    names = done.stdout.splitlines()[1].split()
    assert {*get_registry().connectors.names(), "toy"} <= set(names)
