"""What users write is type-checked: right code passes, and wrong code is told of."""

import configparser
import importlib.util
import pathlib
import re
import shutil

import pytest
from mypy import api
from readme import PROJECT, readme_python

from ssr_plugin import segmenters

# Lines that are wrong say which error they are.
CODE = """\
import pathlib

from torch import Tensor, nn, tensor, zeros

from ssr_plugin import SpeechLM, build
from ssr_plugin import SpechLM  # error: attr-defined
from ssr_plugin.connectors import Connector, ConnectorOutput
from ssr_plugin.data.datasets import CSVDataSet
from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.condition import Condition, transcript_input
from ssr_plugin.evaluation.harness.items import Content, SpokenText
from ssr_plugin.inference.speech import Speech
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.segment_lists import list_segments, place_vectors
from ssr_plugin.registry import Registry, get_registry
from ssr_plugin.segmenters import FrameSegmenter, Segmentation


class LastFrame(Connector):
    def __init__(self, input_size: int, llm: TextLLM) -> None:
        super().__init__()
        self.project = nn.Linear(input_size, llm.hidden_size)

    def forward(
        self, features: Tensor, boundaries: Tensor, starts: Tensor | None = None
    ) -> ConnectorOutput:
        row, _, last = list_segments(boundaries, starts)
        vectors = place_vectors(self.project(features[row, last]), boundaries)
        return ConnectorOutput(vectors, boundaries >= 0)


class VectorsAlone(Connector):
    def forward(  # error: override
        self, features: Tensor, boundaries: Tensor, starts: Tensor | None = None
    ) -> Tensor:
        return features


class Shouted(Condition):
    name, title = "shouted", "its transcript in capitals"

    def content_input(
        self, lm: SpeechLM, content: SpokenText, speech: Speech | None
    ) -> str | Speech:
        return transcript_input(lm, content.text.upper())


class Last(Condition):
    order = "last"  # error: assignment


class Endings(ChoiceBenchmark):
    name = "endings"
    about = "A recording is heard, and its ending is to be told from another."

    def __init__(self, data: str) -> None:
        super().__init__()
        self.data = self.find_data(data)

    def docs(self) -> dict[str, list[str]]:
        return {"1": ["a.wav", "the cat", " sat", " flew"]}

    def doc_to_text(self, doc: list[str]) -> list[Content]:
        return [SpokenText(doc[1], str(self.data / doc[0]))]

    def doc_to_choice(self, doc: list[str]) -> list[Content]:
        return [*doc[2:]]

    def doc_to_target(self, doc: list[str]) -> str:  # error: override
        return doc[2]


class Nowhere(FrameSegmenter):
    def segment_frames(
        self, features: Tensor, lengths: Tensor, use_lm: bool = True
    ) -> list[Segmentation]:
        return []


def setup(registry: Registry) -> None:
    registry.connectors.add("last", LastFrame)
    registry.conditions.add("shouted", Shouted)
    registry.benchmarks.add("endings", "my_package:Endings")
    registry.segmenters.add("nowhere", Nowhere)
    registry.connectors.add("csv", CSVDataSet)  # error: arg-type


def use(lm: SpeechLM, wav: pathlib.Path) -> None:
    speech: Speech = lm.embed(wav)
    many: list[Speech] = lm.embed([wav, (zeros(9), 16000)], lm_fusion=True)
    text: str = lm.transcribe(wav)
    texts: list[str] = lm.transcribe([wav, speech])
    written: str = lm.generate([speech, " then"], max_new_tokens=20)
    each: list[str] = lm.generate([[speech, " then"], ["so ", wav]])
    several = lm.generate("so", num_return_sequences=2)
    answer: str = lm.chat([{"role": "user", "content": ["What? ", wav]}])
    answers: list[str] = lm.chat([[{"role": "user", "content": "What?"}]])
    likely: float = lm.score([speech, " so"], " cat", per_token=True)
    likelier: list[float] = lm.score([speech, " so"], [" cat", " dog"])
    pairs: list[float] = lm.score([[speech], [" so"]], [" cat", " dog"])
    prompt: Tensor = lm.embed_prompts([speech, " so"])
    prompts: list[Tensor] = lm.embed_prompts([[speech, " so"], ["so"]])
    vectors: Tensor = speech.vectors
    ids: Tensor = lm.llm.embed(tensor(speech.tokens))
    features, lengths = lm.encoder(zeros(1, 8000), [8000])
    connector: Connector = get_registry().connectors.get("mean")(8, lm.llm)
    connector = build.connector("last", lm.encoder, lm.llm)
    pair = build.segmenters("fixed", lm.encoder, lm.llm)
    SpeechLM(lm.encoder, lm.llm, connector, pair, lm.settings)


def misuse(lm: SpeechLM, wav: pathlib.Path) -> None:
    lm.embed(3.5)  # error: call-overload
    speeches: list[Speech] = lm.embed(wav)  # error: assignment
    lm.transcribe(wav, lm_fusion="no")  # error: call-overload
    lm.generate([wav, 3.5])  # error: list-item
    number: int = lm.generate("so")  # error: assignment
    score: float = lm.score("so", [" cat", " dog"])  # error: assignment
    SpeechLM.from_pretrained("folder", devise="cpu")  # error: call-arg
    build.connector("last", lm.llm, lm.encoder)  # error: arg-type
"""

# What --strict stands for, which a configuration can only say of all modules.
STRICT = """
[mypy-{}]
check_untyped_defs = True
disallow_any_generics = True
disallow_incomplete_defs = True
disallow_subclassing_any = True
disallow_untyped_calls = True
disallow_untyped_decorators = True
disallow_untyped_defs = True
extra_checks = True
implicit_reexport = False
strict_equality = True
warn_return_any = True
warn_unused_ignores = True
"""


@pytest.mark.slow
def test_users_code_is_type_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    everything = ", ".join(segmenters.__all__)
    files = {
        "user.py": CODE,
        "readme.py": "\n".join(readme_python()),
        "use.py": "\n".join(readme_python(PROJECT / "docs" / "use.md")),
        "names.py": f"from ssr_plugin.segmenters import {everything}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    cache = tmp_path / "cache"
    if (PROJECT / ".mypy_cache").is_dir():
        # What mypy knows of torch already, where the package was checked before.
        shutil.copytree(PROJECT / ".mypy_cache", cache)
    # The package's own settings, as what is known goes by them; of these files all.
    config = (PROJECT / "setup.cfg").read_text() + STRICT.format(
        ",".join(pathlib.Path(name).stem for name in files)
    )
    (tmp_path / "setup.cfg").write_text(config)
    said, failure, _ = api.run(
        [
            *(f"--config-file={tmp_path / 'setup.cfg'}", f"--cache-dir={cache}"),
            *(str(tmp_path / name) for name in files),
        ]
    )
    assert not failure
    # Errors in the package itself are told by mypy alone.
    found = re.findall(r"(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", said, re.MULTILINE)
    marked = [
        ("user.py", str(number), line.partition("# error: ")[2])
        for number, line in enumerate(CODE.splitlines(), start=1)
        if "# error: " in line
    ]
    assert set(found) == set(marked), said


def test_what_mypy_is_strict_about_is_there():
    config = configparser.ConfigParser()
    config.read(PROJECT / "setup.cfg")
    names = [
        name.removesuffix(".*")
        for section in config.sections()
        if section.startswith("mypy-")
        for name in section.removeprefix("mypy-").split(",")
    ]
    assert "ssr_plugin.inference" in names
    assert not [name for name in names if importlib.util.find_spec(name) is None]
