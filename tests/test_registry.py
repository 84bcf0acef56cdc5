"""Named parts: found by name, added by other packages, broken extensions skipped."""

import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

from ssr_plugin.registry import Registry, Table, get_registry

PROJECT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize(
    "table, name", [("aligners", "ctc"), ("connectors", "ssr"), ("datasets", "csv")]
)
def test_an_unknown_name_lists_the_known_ones(table, name):
    parts = getattr(get_registry(), table)
    known = ", ".join(parts.names())
    with pytest.raises(ValueError, match=f"'nothing'; known: {known}"):
        parts.get("nothing")


def test_a_near_miss_is_suggested():
    with pytest.raises(ValueError, match=r"did you mean 'pocketsphinx'\?"):
        get_registry().aligners.get("pocketsphynx")


def test_a_part_given_by_its_path_is_imported_when_asked_for():
    table = Table("connector")
    table.add("late", "nowhere.at_all:Thing")
    table.add("identity", "torch.nn:Identity")
    assert table.names() == ["identity", "late"]
    assert table.get("identity").__name__ == "Identity"
    with pytest.raises(ImportError, match="nowhere"):
        table.get("late")


def test_a_name_is_given_once():
    table = Table("connector")
    table.add("a", "torch.nn:Identity")
    table.add("a", "torch.nn:Identity")
    with pytest.raises(
        ValueError, match="connector 'a' is already registered as torch"
    ):
        table.add("a", "torch.nn:Linear")


def test_registries_share_no_parts():
    first, second = Registry(), Registry()
    first.connectors.add("mine", int)
    assert second.connectors.names() == []


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


def test_broken_extensions_leave_all_other_parts_in_place(done):
    names = done.stdout.splitlines()[1].split()
    assert {*get_registry().connectors.names(), "toy"} <= set(names)
