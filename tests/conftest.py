"""Fixtures that all tests share: tiny audio files, a tiny corpus, a tiny LLM.

All are functions, so that a test says what it needs; the same call makes the same
bytes.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
import soundfile
import tones
import torch
from filelock import FileLock
from speechbrain.utils.importutils import LazyModule

# Another package, installed where a test needs it: nothing to be collected.
collect_ignore = ["extension_package"]

WORDS = ["the", "cat", "sat", "on", "a", "mat", "saw", "seven", "birds", "old", "house"]


# The files that take longest begin first: else one worker ends alone, on one of them.
LONGEST = [
    "test_readme.py",
    "test_segmenter_runs.py",
    "test_finetune_runs.py",
    "test_recipe_runs.py",
    "test_shipped.py",
]


def pytest_collection_modifyitems(items):
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


def _lazy_getattr(module, name):
    # Hypothesis asks every loaded module for its file, which makes SpeechBrain's lazy
    # modules import what is not installed (k2); speechbrain issue 2995.
    if name == "__file__":
        raise AttributeError(name)
    return getattr(module.ensure_module(1), name)


LazyModule.__getattr__ = _lazy_getattr


def _write_audio(path, seconds=0.5, sample_rate=16000, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 400) * time)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone + 0.01 * rng.standard_normal(len(time)), sample_rate)
    return path


@pytest.fixture(scope="session")
def write_audio():
    """``write_audio(path, seconds=0.5, sample_rate=16000, seed=0)``: a tone in noise.

    Makes the folder too; the file's type is its ending's (.wav, .flac, .ogg, ...).
    Returns the path.
    """
    return _write_audio


@pytest.fixture(scope="session")
def run_ffmpeg():
    """``run_ffmpeg(argument, ...)``: runs the program; skips the test without it."""
    from ssr_plugin.data.ffmpeg import find_ffmpeg

    program = find_ffmpeg()
    if program is None:
        pytest.skip("needs ffmpeg: pip install ssr-plugin[ffmpeg]")

    def run(*arguments):
        line = [program, "-v", "error", "-nostdin", *map(str, arguments)]
        subprocess.run(line, check=True, capture_output=True)

    return run


@pytest.fixture(scope="session")
def convert_audio(run_ffmpeg):
    """``convert_audio(wav, path)``: a recording as a file of the type of its ending.

    Returns the path.
    """

    def convert(wav, path):
        run_ffmpeg("-i", wav, path)
        return path

    return convert


@pytest.fixture
def no_ffmpeg(monkeypatch):
    """As if ffmpeg were not installed."""
    monkeypatch.setattr("ssr_plugin.data.samples.find_ffmpeg", lambda: None)


@pytest.fixture(scope="session")
def make_librispeech():
    """``make_librispeech(folder, splits, ...)``: a corpus in LibriSpeech's layout.

    Arguments: ``splits``, a dict of split name -> speakers (strings); ``chapters`` and
    ``utterances``, how many each speaker and each chapter has; ``seconds``, the length
    of an utterance; ``suffix``, the audio files' ending. Transcripts are 3 to 6 words
    in capitals. Returns ``folder / "LibriSpeech"``.
    """

    def make(folder, splits, chapters=1, utterances=3, seconds=0.5, suffix=".flac"):
        root = folder / "LibriSpeech"
        for split, speakers in splits.items():
            for speaker in speakers:
                for number in range(chapters):
                    chapter = f"{speaker}-{number + 100}"
                    place = root / split / speaker / str(number + 100)
                    lines = []
                    for index in range(utterances):
                        name = f"{chapter}-{index:04d}"
                        seed = zlib.crc32(name.encode())
                        _write_audio(place / f"{name}{suffix}", seconds, seed=seed)
                        rng = np.random.default_rng(seed)
                        words = rng.choice(WORDS, size=rng.integers(3, 7))
                        lines.append(f"{name} {' '.join(words).upper()}\n")
                    (place / f"{chapter}.trans.txt").write_text("".join(lines))
        return root

    return make


@pytest.fixture(scope="session")
def write_alignments():
    """``write_alignments(root, path)``: words of equal length for a LibriSpeech corpus.

    ``path`` becomes a file of JSON lines, as the aligner ``files`` reads them.
    """

    def write(root, path):
        lines = []
        for transcripts in sorted(root.glob("*/*/*/*.trans.txt")):
            for line in transcripts.read_text().splitlines():
                name, *words = line.split()
                (wav,) = transcripts.parent.glob(f"{name}.[!t]*")
                step = soundfile.info(wav).duration / max(len(words), 1)
                units = [
                    (word, i * step, (i + 1) * step) for i, word in enumerate(words)
                ]
                lines.append(json.dumps({"id": name, "words": units}) + "\n")
        path.write_text("".join(lines))
        return path

    return write


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory, make_librispeech, write_alignments):
    """A folder with 40 s of noise, ``LibriSpeech``, and its ``words.jsonl``."""
    folder = tmp_path_factory.mktemp("corpus")
    splits = {"train-a": "1234", "dev-a": "56", "test-a": "78"}
    root = make_librispeech(folder, splits, utterances=5, seconds=1.0)
    write_alignments(root, folder / "words.jsonl")
    return folder


@pytest.fixture(scope="session")
def small_run(small_corpus, tiny_encoder_folder, tiny_llm_folder):
    """``small_run(folder, **overrides)``: a YAML's overrides for a run of seconds.

    Run and caches go below ``folder``.
    """

    def overrides(folder, **others):
        return {
            "data_folder": small_corpus,
            "output_folder": folder / "run",
            "cache_folder": folder / "cache",
            "encoder_source": tiny_encoder_folder,
            "llm_source": tiny_llm_folder,
            "aligner": "files",
            "aligner_options": {"files": {"source": str(small_corpus / "words.jsonl")}},
            "connector_options": {"ssr": {"num_layers": 1, "dropout": 0.2}},
            "number_of_epochs": 3,
            "batch_seconds": 4,
            "num_workers": 0,
            "ckpt_interval_minutes": 0,
            **others,
        }

    return overrides


@pytest.fixture(scope="module")
def llm(tiny_llm_folder):
    """An LLM that expects some tokens much more than others."""
    from ssr_plugin.llm.text_llm import TextLLM

    llm = TextLLM(tiny_llm_folder)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in llm.load_model().parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return llm


@pytest.fixture
def spacing_tokenizer():
    """A fast tokenizer that puts a space before any text, as SentencePiece does."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "▁a", "▁", "~", "a", "\n", "</s>"]
    vocabulary = [(piece, -float(i)) for i, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


EXTENSION = {
    "setup.cfg": """
        [metadata]
        name = ssr-toy
        version = 1.0
        [options]
        py_modules = ssr_toy, ssr_broken
        [options.entry_points]
        ssr_plugin.extensions =
            a_missing = ssr_nowhere:setup
            b_broken = ssr_broken:setup
            c_clash = ssr_toy:clash
            d_toy = ssr_toy:setup
        """,
    "ssr_toy.py": """
        import torch

        from ssr_plugin.connectors import Connector, ConnectorOutput

        class ToyConnector(Connector):
            def __init__(self, input_size, llm):
                super().__init__()
                self.project = torch.nn.Linear(input_size, llm.hidden_size)

            def forward(self, features, boundaries, starts=None):
                valid = boundaries >= 0
                ends = boundaries.clamp_min(0).unsqueeze(-1)
                ends = ends.expand(-1, -1, features.shape[-1])
                vectors = self.project(features.gather(1, ends))
                return ConnectorOutput(vectors * valid.unsqueeze(-1), valid)

        def setup(registry):
            registry.connectors.add("toy", "ssr_toy:ToyConnector")

        def clash(registry):
            registry.connectors.add("ssr", "ssr_toy:ToyConnector")
        """,
    "ssr_broken.py": "raise RuntimeError('made by hand')",
}


@pytest.fixture(scope="session")
def extension_site(tmp_path_factory):
    """A folder where a package with one good and three bad extensions is installed."""
    source = tmp_path_factory.mktemp("source")
    for name, text in EXTENSION.items():
        (source / name).write_text(textwrap.dedent(text).strip() + "\n")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\n'
        'build-backend = "setuptools.build_meta"\n'
    )
    return _install(source, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def mine_site(tmp_path_factory):
    """A folder where ``tests/extension_package`` is installed."""
    # A copy: an installation leaves files beside what it installs.
    source = tmp_path_factory.mktemp("source") / "package"
    shutil.copytree(pathlib.Path(__file__).parent / "extension_package", source)
    return _install(source, tmp_path_factory.mktemp("site"))


def _install(source, site):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", site]
    subprocess.run([*pip, *options, source], check=True)
    return site


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory):
    """A tiny Whisper that writes the words of tones (:mod:`tones`)."""
    return _made_once(tmp_path_factory, "whisper", tones.make_whisper)


def _made_once(tmp_path_factory, name, make):
    """A folder that takes seconds to make: one process of xdist does, for all."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = tmp_path_factory.mktemp(name)
        make(folder)
        return folder
    folder = tmp_path_factory.getbasetemp().parent / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            half = folder.with_name(f"{name}_half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            make(half)
            half.rename(folder)
    return folder
