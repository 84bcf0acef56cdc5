"""What the package brings along: the same files in a checkout and in a wheel."""

import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

from ssr_plugin import __version__, shipped

import runs

PROJECT = pathlib.Path(__file__).parents[1]
# What lies about in a folder where somebody has worked. None of it may be in a wheel.
LITTER = [
    "results/distill/metrics.json",
    "results/cache/features.bin",
    "recipes/librispeech/__pycache__/prepare.cpython-311.pyc",
    "ssr_plugin/nnet/__pycache__/layers.cpython-311.pyc",
    "recipes/librispeech/results/distill/metrics.json",
    "recipes/sample/.pytest_cache/README.md",
]


def files(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    }


def pip(*arguments):
    options = ["--disable-pip-version-check", "-q"]
    offline = ["--no-deps", "--no-index"]
    command = [sys.executable, "-m", "pip", *options, *arguments, *offline]
    subprocess.run(command, check=True, env=without_path())


def without_path():
    """The environment, less what leads Python to a checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_in_a_checkout_the_files_are_at_the_top():
    assert shipped.folder() == PROJECT


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the project, as a clone has it."""
    return runs.clone_project(tmp_path_factory.mktemp("source") / "project")


@pytest.fixture(scope="module")
def expected(source):
    """The files that a wheel should have, by their names in it."""
    expected = {f"ssr_plugin/{name}" for name in files(source / "ssr_plugin")}
    for folder in shipped.FOLDERS:
        names = files(source / folder)
        expected |= {f"ssr_plugin/share/{folder}/{name}" for name in names}
    return expected


def build_wheel(source, folder):
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(source, expected, tmp_path_factory):
    """A wheel of the project, built in a folder where somebody has worked."""
    assert expected, "must be listed before the litter comes"
    for name in LITTER:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("made by hand")
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder where the wheel is installed."""
    site = tmp_path_factory.mktemp("site")
    pip("install", "--target", str(site), str(wheel))
    return site


@pytest.mark.slow
def test_a_wheel_has_the_package_the_yamls_the_recipes_and_the_sample(wheel, expected):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert sorted(expected - names) == []
    sample = "ssr_plugin/share/recipes/sample"
    for name in ("encoder/model.safetensors", "llm/tokenizer.json", "text/heldout.txt"):
        assert f"{sample}/{name}" in names
    assert any(name.startswith(f"{sample}/corpus/test-sample") for name in names)
    assert {"ssr_plugin/py.typed", "ssr_plugin/share/hparams/distill.yaml"} <= names


@pytest.mark.slow
def test_a_wheel_has_no_test_cache_or_result(wheel, expected):
    others = set(zipfile.ZipFile(wheel).namelist()) - expected
    tops = {name.partition("/")[0] for name in others}
    assert tops == {f"ssr_plugin-{__version__}.dist-info"}, sorted(others)


@pytest.mark.slow
def test_a_wheel_made_of_a_source_archive_is_the_same(source, wheel, tmp_path):
    code = "from setuptools import build_meta; build_meta.build_sdist(r'{}')"
    command = [sys.executable, "-c", code.format(tmp_path)]
    subprocess.run(command, check=True, cwd=source, stdout=subprocess.DEVNULL)
    (archive,) = tmp_path.glob("*.tar.gz")
    again = build_wheel(archive, tmp_path)
    names = [sorted(zipfile.ZipFile(path).namelist()) for path in (wheel, again)]
    assert names[0] == names[1]


@pytest.mark.slow
def test_an_installed_wheel_finds_its_files_from_any_folder(site, expected, tmp_path):
    code = "from ssr_plugin import shipped; print(shipped.folder())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
    )
    found = pathlib.Path(done.stdout.strip())
    assert found == site.resolve() / "ssr_plugin" / "share"
    shared = {f"ssr_plugin/share/{name}" for name in files(found)}
    compiled = {name for name in shared if name.endswith(".pyc")}
    package = "ssr_plugin/share/"
    assert shared - compiled == {name for name in expected if name.startswith(package)}


@pytest.fixture(scope="module")
def ssr(wheel, tmp_path_factory):
    """``ssr(*words)``: runs the command of an installed wheel, in a folder of its own.

    The environment is a new one, which borrows the packages that the wheel needs.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    pip("--python", str(python), "install", str(wheel))
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    # Not by PYTHONPATH, which would also lead to a checkout.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    work = folder / "work"
    work.mkdir()

    def run(*words, program="ssr"):
        command = [python.with_name(program), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=work, env=without_path()
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run.folder = work
    return run


@pytest.mark.slow
def test_an_installed_wheel_trains_transcribes_and_evaluates_in_another_folder(ssr):
    code = "import ssr_plugin; print(ssr_plugin.__file__)"
    assert "site-packages" in ssr("-c", code, program="python")
    short = ["--train_splits", "dev-sample", "--valid_splits", "[]"]
    short += ["--valid_share", "0.3", "--number_of_epochs", "1"]
    short += ["--segmenter_training", "{number_of_epochs: 1}"]
    ssr("train", "distill.yaml", *short, "--aligner", "files")
    results = ssr.folder / "results"
    metrics = json.loads((results / "distill" / "metrics.json").read_text())
    assert metrics["test-sample predicted"]["utterances"] == 12
    sample = shipped.folder() / "recipes" / "sample" / "corpus" / "dev-sample"
    recordings = sorted(map(str, sample.rglob("*.opus")))[:2]
    # In one process: to import torch takes most of the time.
    lines = [["transcribe", *recordings], ["evaluate", "evaluate.yaml"]]
    lines[1] += ["--aligner", "files"]
    code = "from ssr_plugin.cli import main\n"
    code += "\n".join(f"print(main({line}), 'is the status')" for line in lines)
    heard, _ = ssr("-c", code, program="python").split("0 is the status\n", 1)
    assert len(heard.splitlines()) == 2
    report = (results / "evaluate" / "report.md").read_text()
    assert "ssr evaluate evaluate.yaml --aligner files" in report
    assert [path.name for path in ssr.folder.iterdir()] == ["results"]
