"""How the package's modules depend on each other: one way, and under one name each."""

import ast
import collections
import pathlib

import pytest

import ssr_plugin

PACKAGE = pathlib.Path(ssr_plugin.__file__).parent
#: Each room may import from itself and those before it.
ROOMS = (
    "nnet",
    "data",
    "alignment",
    "encoders",
    "llm",
    "recognizers",
    "segmenters",
    "connectors",
    "inference",
    "metrics",
    "training",
    "tts",
    "evaluation",
    "demo",
    "cli",
)


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def run_nodes(node):
    """All nodes of a syntax tree but those that only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from run_nodes(child)


def imports_of(source):
    """The modules of this package that a source imports, also inside functions."""
    found = set()
    for node in run_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not followed"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return found & MODULES.keys()


GRAPH = {
    name: imports_of(path.read_text(encoding="utf-8")) for name, path in MODULES.items()
}


def room_of(module):
    """The room of a module; None for the tools at the top, which all may import."""
    _, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    return room if room in ROOMS else None


def find_circle(graph):
    """Modules that import each other in a circle, or None."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return path[path.index(name) :] + [name]
        if name in done:
            return None
        path.append(name)
        for other in sorted(graph.get(name, ())):
            if circle := visit(other):
                return circle
        done.add(path.pop())
        return None

    for name in graph:
        if circle := visit(name):
            return circle
    return None


def test_every_folder_of_the_package_is_a_room():
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_those_before_it_alone(room):
    later = ROOMS[ROOMS.index(room) + 1 :]
    wrong = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if room_of(name) == room and room_of(other) in later
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    # The package itself hands SpeechLM out when asked, and needs nothing to be there.
    inside = {name: others for name, others in GRAPH.items() if name != "ssr_plugin"}
    assert find_circle(inside) is None


def test_a_circle_is_found_where_there_is_one():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}}) is None


def test_imports_inside_functions_count_and_those_for_type_checkers_do_not():
    source = """
from ssr_plugin import build
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssr_plugin.cli import parser

def use():
    from ssr_plugin.llm.tokens import tokenize_inside
"""
    assert imports_of(source) == {"ssr_plugin.build", "ssr_plugin.llm.tokens"}


def test_few_modules_have_the_name_of_another():
    # Those of the command line have the names of its commands.
    names = collections.Counter(
        path.stem
        for path in MODULES.values()
        if not path.stem.startswith("__") and path.parent.name != "cli"
    )
    twice = sorted(name for name, count in names.items() if count > 1)
    assert len(twice) <= 5, twice
