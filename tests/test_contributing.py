"""CONTRIBUTING.md and the project's own files say what is so."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

import ssr_plugin

PROJECT = pathlib.Path(__file__).parents[1]
GUIDE = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder where the package that the guide describes is installed."""
    source = tmp_path_factory.mktemp("my_package")
    files = re.findall(r"```\w+\n# (\S+\.\w+)\n(.*?)```", GUIDE, re.DOTALL)
    assert [name for name, _ in files] == [
        "setup.cfg",
        "pyproject.toml",
        "my_package.py",
    ]
    for name, text in files:
        (source / name).write_text(text, encoding="utf-8")
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", site]
    subprocess.run([*pip, *options, source], check=True)
    return site


def test_the_data_set_of_the_guide_is_found_by_name_and_read(
    site, tmp_path, write_audio
):
    lines = []
    for index, text in enumerate(["good morning", "good night", ""]):
        write_audio(tmp_path / "data" / "clips" / f"a{index}.flac", seed=index)
        lines.append(f"clips/a{index}.flac\t{text}\n")
    (tmp_path / "data" / "train.tsv").write_text("".join(lines))
    code = (
        "from ssr_plugin.registry import get_registry\n"
        "from ssr_plugin.data.prepare_cli import prepare_command\n"
        "prepare_command(get_registry().datasets.get('lists'))"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-c", code, "data", "save"),
            *("--valid_share", "0.5", "--max_skipped_share", "0.5"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (site, PROJECT)))},
    )
    assert done.returncode == 0, done.stderr
    assert "train.csv: 1 utterances" in done.stdout
    assert "valid.csv: 1 utterances" in done.stdout
    assert "skipped: 1" in done.stdout


def test_the_hooks_before_a_commit_are_what_ci_checks():
    config = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())
    (repo,) = config["repos"]
    hooks = [hook["entry"] for hook in repo["hooks"]]
    lines = (PROJECT / ".ci" / "run").read_text().splitlines()
    checks = [line.removesuffix(" &") for line in lines]
    assert hooks == [line for line in checks if re.match("ruff|mypy", line)]


def test_the_citation_names_the_version_and_the_paper():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ssr_plugin.__version__
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2410.00168"
    assert "Tan" in [author["family-names"] for author in paper["authors"]]
