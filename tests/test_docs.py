"""README and docs: links, commands, keys and numbers are what is there."""

import ast
import json
import re
import runpy

import pytest
from PIL import Image
from readme import (
    PROJECT,
    README,
    all_commands,
    blocks,
    readme_commands,
    readme_python,
)
from ruamel.yaml import YAML

from ssr_plugin.hparams import read_yaml

DOCS = sorted((PROJECT / "docs").glob("*.md"))
PAGES = [README, PROJECT / "RESULTS.md", PROJECT / "CONTRIBUTING.md", *DOCS]
PAGES += sorted((PROJECT / "recipes").glob("*/README.md"))


def names(paths):
    return [str(path.relative_to(PROJECT)) for path in paths]


def prose(page):
    """A page without its fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(params=PAGES, ids=names(PAGES))
def page(request):
    return request.param


# --- The pages ------------------------------------------------------------------------


def test_the_readme_can_be_read_in_one_go():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def test_every_relative_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    targets = [link.partition("#")[0] for link in links if "://" not in link]
    missing = [x for x in targets if x and not (page.parent / x).exists()]
    assert not missing


def test_the_index_names_every_page_and_the_readme_names_the_index():
    def linked(page):
        links = re.findall(r"\]\(([^)#\s]+)\)", prose(page))
        return {(page.parent / link).resolve() for link in links}

    index = PROJECT / "docs" / "index.md"
    assert not set(DOCS) - linked(index) - {index}
    assert index in linked(README)


def test_python_in_the_docs_is_python(page):
    for kind, body in blocks(page):
        if kind == "python":
            ast.parse(body)


# --- Commands -------------------------------------------------------------------------


def keys_of(yaml):
    return set(YAML().load(read_yaml(PROJECT / "hparams" / yaml)))


STAGES = {path.name: keys_of(path.name) for path in PROJECT.glob("hparams/*.yaml")}


def overrides(page):
    """(YAML or None, key) of each ``--key`` that is said to override a YAML's.

    A command, or a piece of one in backticks, that names a YAML is that YAML's; a piece
    that begins with ``--key`` and has no other program in it may be any one's.
    """
    pieces = re.findall(r"`([^`]+)`", prose(page))
    for text in [*all_commands(page), *pieces]:
        yaml = re.search(r"(\w+\.yaml)", text)
        given = re.findall(r"(?<!\S)--(\w+)", text.partition(".yaml")[2])
        if yaml is not None:
            yield from ((yaml[1], key) for key in given if key != "help")
        elif re.match(r"--\w+_\w+", text):
            yield from ((None, key) for key in re.findall(r"(?<!\S)--(\w+)", text))


def test_every_key_that_the_docs_override_is_a_key_of_the_yaml(page):
    any_of_them = set.union(*STAGES.values())
    unknown = [
        (yaml, key)
        for yaml, key in overrides(page)
        if key not in STAGES.get(yaml, any_of_them)
    ]
    assert not unknown


def test_every_file_of_the_project_that_a_command_names_is_there(page):
    folders = "|".join(path.name for path in PROJECT.iterdir() if path.is_dir())
    named = {
        path
        for command in all_commands(page)
        for path in re.findall(rf"(?<!\S)((?:{folders})/\S+)", command)
        if not path.startswith(("results/", "recipes/mine/"))
    }
    assert not [path for path in named if not (PROJECT / path).exists()]


def test_the_readmes_commands_begin_with_the_first_training():
    first, *others = readme_commands()
    assert first == "python recipes/librispeech/train.py hparams/distill.yaml"
    assert any(command.startswith("ssr transcribe ") for command in others)
    assert readme_python()[0].startswith("import pathlib")


PAGE = """
```
pip install -e . && python recipes/librispeech/train.py \\
    hparams/distill.yaml
pip install -e ".[test]" && pytest
ssr transcribe talk.wav
ssr transcribe results/a.wav --model me/model
ssr compare results/a MODEL
python train.py --encoder_source openai/whisper-base
python train.py --data_folder /data/LibriSpeech
```

```console
$ ssr align recipes/sample/a.opus
0.1 0.2 ONE
```

```python
one = 1
```

```python
load("openai/whisper-base")
```

```python
# my_package.py
two = 2
```
"""


def test_commands_for_all_readers_are_told_from_those_that_need_something_of_theirs():
    assert readme_commands(PAGE) == [
        "python recipes/librispeech/train.py hparams/distill.yaml",
        "ssr align recipes/sample/a.opus",
    ]
    assert readme_python(PAGE) == ["one = 1\n"]


# --- Numbers and pictures -------------------------------------------------------------

FIGURES = PROJECT / "docs" / "figures"
RESULTS = json.loads((FIGURES / "results.json").read_text(encoding="utf-8"))


def numbers(found):
    """All numbers in some JSON, but where an axis ends."""
    if isinstance(found, dict):
        found = [value for key, value in found.items() if key != "limits"]
    if isinstance(found, list):
        return [number for value in found for number in numbers(value)]
    return [found] if isinstance(found, int | float) else []


def test_the_plots_show_numbers_that_are_on_record():
    record = (PROJECT / "docs" / "results_history.md").read_text(encoding="utf-8")
    record += (PROJECT / "RESULTS.md").read_text(encoding="utf-8")
    number = r"\d+(?:\.\d+)?"
    told = {float(x) for x in re.findall(f"{number}|(?<=\\()-{number}", record)}
    assert set(map(float, numbers(RESULTS))) <= told


def test_the_plots_are_drawn_from_the_numbers(tmp_path):
    draw = runpy.run_path(str(PROJECT / "docs" / "make_figures.py"))["main"]
    draw(folder=tmp_path)
    for name in ("gain_kept", "noise", "rivals", "seeds"):
        drawn, kept = (
            Image.open(folder / f"{name}.png") for folder in (tmp_path, FIGURES)
        )
        assert drawn.size == kept.size


def test_each_picture_is_kept_without_pixels_too():
    # But for the page in the browser, which is a photograph.
    drawn = [path for path in FIGURES.glob("*.png") if path.stem != "demo"]
    for path in drawn:
        assert path.with_suffix(".svg").read_text(encoding="utf-8").startswith("<?xml")


TABLES = json.loads((FIGURES / "tables.json").read_text(encoding="utf-8"))
MAKE_TABLES = runpy.run_path(str(PROJECT / "docs" / "make_tables.py"))


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_a_page_are_those_that_are_kept(name):
    """If not: python docs/make_tables.py, or --read if the page is right."""
    page = (PROJECT / name).read_text(encoding="utf-8")
    assert MAKE_TABLES["write_tables"](page, TABLES[name].values()) == page
    for table in TABLES[name].values():
        read = MAKE_TABLES["read_table"](page, table["header"], table["names"])
        assert read == table["rows"]


def triples(cells):
    """What is kept, and its interval where there is one, of each cell that has it."""
    keys = ("kept", "low", "high")
    cells = [cell for cell in cells if isinstance(cell, dict) and "kept" in cell]
    return [[cell[key] for key in keys if key in cell] for cell in cells]


def test_the_plots_show_what_the_tables_tell():
    noise = {row[0]: triples(row) for row in TABLES["RESULTS.md"]["noise"]["rows"]}
    for panel in RESULTS["noise"]["panels"]:
        for place, name in enumerate(panel["noises"]):
            row = name if name == "clean" else f"{panel['title']}, {name}"
            shown = [line[place] for line in panel["lines"].values()]
            assert shown == noise[row]
    # By loss: two rows of a table are a group; by choice: a row is.
    loss, choice = RESULTS["gain_kept"]["panels"]
    rows = iter(TABLES["RESULTS.md"]["main"]["rows"])
    for group, predicted, forced in zip(loss["groups"], rows, rows, strict=True):
        assert sorted(group["values"].values()) == sorted(
            triples(predicted) + triples(forced)
        )
    rows = TABLES["README.md"]["choice"]["rows"]
    for group, row in zip(choice["groups"], rows, strict=True):
        assert sorted(group["values"].values()) == sorted(triples(row))


def test_pictures_are_small_enough_to_load_at_once():
    for path in FIGURES.glob("*.png"):
        assert path.stat().st_size < 150_000


# --- Messages -------------------------------------------------------------------------


def code_strings():
    """The strings of the code: of each, the pieces between what is put in."""
    for path in sorted((PROJECT / "ssr_plugin").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [x for x in node.values if isinstance(x, ast.Constant)]
                yield [x.value for x in parts]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield [node.value]


def gives(pieces, quoted):
    """Whether a string of the code, with something put in, gives what a page quotes.

    All its pieces are there in order; only the quotation may end before they do. Other
    strings of the code may stand around it.
    """
    place = letters = 0
    for piece in pieces:
        found = quoted.find(piece, place)
        if found < 0:
            ends = [n for n in range(1, len(piece)) if quoted.endswith(piece[:n])]
            if not ends:
                return False
            letters += ends[-1]
            break
        place = found + len(piece)
        letters += len(piece)
    return letters >= max(15, 0.18 * len(quoted))


def test_the_faq_quotes_messages_as_they_are_in_the_code():
    strings = [pieces for pieces in code_strings() if len(" ".join(pieces).split()) > 2]
    # The hint is a string of its own, behind many messages.
    quoted = [
        body.partition(" (did you mean")[0].strip()
        for kind, body in blocks(PROJECT / "docs" / "faq.md")
        if kind == "text"
    ]
    assert len(quoted) > 20
    unknown = [x for x in quoted if not any(gives(string, x) for string in strings)]
    assert not unknown


def test_a_message_of_other_words_is_not_taken_for_one_of_the_code():
    pieces = ["there is no YAML '", "'; shipped are "]
    assert gives(pieces, "there is no YAML 'a.yaml'; shipped are b.yaml")
    assert gives(pieces, "error: there is no YAML 'a.yaml'; ship")
    assert not gives(pieces, "there is no YAML 'a.yaml'; known are b.yaml")
    assert not gives(pieces, "there is no file 'a.yaml'; shipped are b.yaml")
    assert not gives([" is "], "there is no YAML 'a.yaml'")
