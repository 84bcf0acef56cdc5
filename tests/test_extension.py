"""Another package's components, by entry point: trained, used, evaluated by name."""

import json
import pathlib
import re
import sys
import textwrap
import types

import pytest

from ssr_plugin import build
from ssr_plugin.connectors import check_connector
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.registry import Registry

import runs

PACKAGE = pathlib.Path(__file__).parent / "extension_package" / "ssr_mine"


@pytest.fixture
def tables(tmp_path, small_corpus):
    """The small corpus in the layout of the package's data set."""
    folder = tmp_path / "tables"
    folder.mkdir()
    for transcripts in sorted(small_corpus.glob("*/*/*/*/*.trans.txt")):
        split, speaker = transcripts.parts[-4:-2]
        with (folder / f"{split}.tsv").open("a") as file:
            for line in transcripts.read_text().splitlines():
                name, text = line.split(maxsplit=1)
                wav = transcripts.parent / f"{name}.flac"
                print(wav, speaker, text, sep="\t", file=file)
    return folder


@pytest.mark.parametrize(
    "module", ["connector", "segmenter", "data_set", "benchmark", "__init__"]
)
def test_each_component_of_the_extension_takes_less_than_40_lines(module):
    assert len((PACKAGE / f"{module}.py").read_text().splitlines()) < 40


@pytest.mark.slow
def test_an_extensions_components_train_transcribe_and_are_evaluated_by_name(
    mine_site, tables, small_run, small_corpus, tmp_path
):
    names = {"data_folder": tables, "dataset": "mine"}
    parts = {
        "connector": "mine",
        "connector_options": {"mine": {"dropout": 0.1}},
        "segmenter": "mine",
        "segmenter_options": {"mine": {"per_second": 6.0}},
        "predicted_share": 0.5,
        "number_of_epochs": 1,
    }

    def ssr(*words):
        return runs.command(words, path=[mine_site])

    ssr("train", *runs.arguments(**small_run(tmp_path, **names, **parts)))
    model = tmp_path / "run"
    metrics = json.loads((model / "metrics.json").read_text())
    assert metrics["test-a"]["segments"] == "forced"
    assert metrics["test-a predicted"]["vectors_per_second"] <= 6.5

    wav = next(small_corpus.glob("*/test-a/*/*/*.flac"))
    heard = ssr("transcribe", wav, "--model", model, "--json")
    (found,) = map(json.loads, heard.splitlines())
    assert isinstance(found["text"], str)

    settings = {
        **names,
        "model": model,
        "output_folder": tmp_path / "evaluation",
        "cache_folder": tmp_path / "cache",
        "test_splits": ["test-a"],
        "benchmarks": ["mine"],
        "aligner": "files",
        "aligner_options": {"files": {"source": str(small_corpus / "words.jsonl")}},
    }
    ssr("evaluate", *runs.arguments("evaluate", **settings))
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    conditions = metrics["benchmarks"]["mine"]["conditions"]
    assert {"none", "text", "predicted", "forced"} <= set(conditions)
    assert 0 <= conditions["predicted"]["acc"] <= 100


def readme_example():
    """The README's Python that registers a connector."""
    pages = [runs.PROJECT / "README.md", *sorted(runs.PROJECT.glob("docs/**/*.md"))]
    blocks = [
        block
        for page in pages
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        if "registry.connectors.add" in block
    ]
    assert len(blocks) == 1
    return textwrap.dedent(blocks[0])


def test_the_readmes_extension_example_is_registered_and_passes_the_check(
    monkeypatch, tiny_encoder_folder, tiny_llm_folder
):
    module = types.ModuleType("my_package")
    monkeypatch.setitem(sys.modules, "my_package", module)
    exec(readme_example(), vars(module))
    registry = Registry()
    module.setup(registry)
    monkeypatch.setattr(build, "get_registry", lambda: registry)
    encoder, llm = SpeechEncoder(tiny_encoder_folder), TextLLM(tiny_llm_folder)
    connector = build.connector("mine", encoder, llm)
    check_connector(connector, encoder.width, llm)
