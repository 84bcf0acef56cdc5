"""The site of docs/: it is built without a warning, and fetches nothing."""

import doctest
import html.parser
import importlib.util
import os
import subprocess
import sys

import pytest
from readme import PROJECT

from ssr_plugin.components import _TARGETS
from ssr_plugin.hparams import plain_keys, read_yaml

SCRIPTS = ["make_tables.py", "site/docstrings.py", "site/hooks.py"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, which was built with --strict."""
    pytest.importorskip("mkdocs", reason="needs mkdocs: pip install -e '.[docs]'")
    pytest.importorskip("mkdocstrings_handlers.python")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


class Needs(html.parser.HTMLParser):
    """What a page needs to be shown: addresses of images, styles, scripts, frames."""

    def __init__(self, path):
        super().__init__()
        self.found = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("img", "script", "iframe", "source"):
            self.found.append(attrs.get("src"))
        if tag == "link" and attrs.get("rel") != "canonical":
            self.found.append(attrs.get("href"))


def test_a_page_needs_nothing_but_files_of_the_site(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        if page.name == "404.html":
            continue  # it may be shown for any address, and is told by absolute ones
        for address in filter(None, Needs(page).found):
            place = address.partition("?")[0].partition("#")[0]
            assert (page.parent / place).exists(), f"{page}: {address}"
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "yaml", sorted(path.name for path in PROJECT.glob("hparams/*.yaml"))
)
def test_the_page_of_a_yaml_has_each_of_its_keys(site, yaml):
    page = (site / "hparams" / f"{yaml}.html").read_text(encoding="utf-8")
    keys = plain_keys(read_yaml(PROJECT / "hparams" / yaml))
    assert not [key for key in keys if f"<code>--{key}</code>" not in page]


def test_the_api_has_every_component_by_its_name(site):
    for table, targets in _TARGETS.items():
        page = (site / "api" / f"{table}.html").read_text(encoding="utf-8")
        for name, target in targets.items():
            assert f"<code>{name}</code>" in page
            # Where it stands, not only that it is linked to.
            assert f'id="ssr_plugin.{target.replace(":", ".")}"' in page


def test_docstrings_are_shown_as_sections_and_not_as_sphinx_writes_them(site):
    page = (site / "api" / "use.html").read_text(encoding="utf-8")
    assert "Parameters:" in page and "Raises:" in page and "Examples:" in page
    assert ":class:" not in page and "Arguments\n-" not in page


def test_a_picture_is_shown_without_pixels_and_a_notebook_as_a_page(site):
    assert 'src="figures/idea.svg"' in (site / "index.html").read_text("utf-8")
    page = (site / "notebooks" / "inside_a_model.ipynb.html").read_text("utf-8")
    assert "draw_segmentations" in page and '"cell_type"' not in page


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_examples_of_the_docs_own_scripts_hold(name):
    if name != "make_tables.py":
        pytest.importorskip("mkdocs")
        pytest.importorskip("griffe")
    path = PROJECT / "docs" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted and not results.failed
