"""Damaged input for every reader, a little of it; benchmarks/fuzz.py does much more."""

import importlib
import pathlib
import random
import sys

import pytest

# Of targets that start a program, or load a large library, a few will do.
SLOW = ("audio m4a", "audio webm", "hugging face")
BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
fuzz = importlib.import_module("fuzz")
sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_a_damaged_file_is_read_or_refused_by_its_name(name, tmp_path):
    if name == "alignment lhotse":
        pytest.importorskip("lhotse")
    chance = random.Random(f"0 {name}")
    count = 4 if name.startswith(SLOW) else 25
    counts, failures = fuzz.fuzz(name, tmp_path, chance, count)
    assert sum(counts.values()) + len(failures) >= count
    assert not [reason for _, reason in failures]


def test_the_fuzzer_finds_what_it_looks_for(tmp_path, monkeypatch):
    def read(path):
        if path.read_bytes() != b"good":
            raise KeyError("raw")

    def write(path):
        path.write_bytes(b"good")

    monkeypatch.setitem(fuzz.TARGETS, "raw", ("a", write, read))
    _, failures = fuzz.fuzz("raw", tmp_path, random.Random(0), 10)
    assert failures and all("KeyError" in reason for _, reason in failures)
