"""Manifests: what is written is read, by SpeechBrain too."""

import pytest
from speechbrain.dataio.dataio import load_data_csv
from speechbrain.dataio.dataset import DynamicItemDataset

from ssr_plugin.data.manifest import read_manifest, write_manifest

ROWS = [
    ("a", 1.25, "/data/a, b.wav", "anna", 'He said "no", then left'),
    ("b", 2.0, "/data/b.wav", "bert", "naïve 你好 it's"),
]


def test_every_character_of_a_transcript_survives(tmp_path):
    path = tmp_path / "train.csv"
    odd = ("c", 0.5, "/data/$c.wav", "anna", "$5 or $x, 'well'")
    write_manifest(path, [*ROWS, odd])
    data = read_manifest(path)
    assert list(data) == ["a", "b", "c"]
    assert data["c"] == {
        "duration": 0.5,
        "wav": "/data/$c.wav",
        "spk_id": "anna",
        "wrd": "$5 or $x, 'well'",
    }


def test_speechbrain_reads_the_same_from_a_manifest(tmp_path):
    path = tmp_path / "train.csv"
    write_manifest(path, ROWS)
    assert read_manifest(path) == load_data_csv(str(path))
    dataset = DynamicItemDataset(read_manifest(path), output_keys=["id", "wrd"])
    assert dataset[1] == {"id": "b", "wrd": ROWS[1][-1]}


def test_a_manifest_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "train.csv"
    write_manifest(path, ROWS)
    with pytest.raises(TypeError):
        write_manifest(path, [ROWS[0], None])
    assert list(read_manifest(path)) == ["a", "b"]
    assert list(tmp_path.iterdir()) == [path]


def test_read_manifest_refuses_missing_columns_and_double_ids(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ID,wav\na,a.wav\n")
    with pytest.raises(ValueError, match=r"train\.csv is no manifest: it lacks dur"):
        read_manifest(path)
    write_manifest(path, [ROWS[0], ROWS[0]])
    with pytest.raises(ValueError, match=r"train\.csv: id 'a' occurs twice"):
        read_manifest(path)
