"""What a run makes of its data before it trains."""

import json

import numpy as np
import pytest
import soundfile

from ssr_plugin.alignment import align_manifest
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.evaluation.evaluate_job import make_align
from ssr_plugin.training.data_pipeline import align_rows


@pytest.mark.parametrize("language", ["nl", "en"])
def test_numbers_are_aligned_by_the_words_of_the_language_whoever_asks(
    tmp_path, language
):
    wav = str(tmp_path / "a.wav")
    soundfile.write(wav, np.full(16000, 0.5), 16000)
    rows = {"a": {"wav": wav, "wrd": "om 7"}}
    hparams = {
        "aligner": "even",
        "aligner_options": None,
        "language": language,
        "cache_folder": tmp_path / "cache",
        "max_skipped_share": 0.0,
    }
    alignments, _ = align_rows(rows, hparams)
    # "Zeven" takes longer than a digit.
    assert alignments["a"].units[0].end == (0.2857 if language == "nl" else 0.6667)
    # An evaluation, and shards of the work that are aligned before, find the same.
    write_manifest(tmp_path / "a.csv", [("a", 1.0, wav, "s", "om 7")])
    folder = tmp_path / "cache" / "alignments"
    line = [str(tmp_path / "a.csv"), "--aligner", "even", "--language", language]
    align_manifest.main([*line, "--cache_folder", str(folder)])
    found = make_align(hparams)([AlignmentItem("a", wav, "om 7")])
    assert found["a"] == alignments["a"]
    (kept,) = folder.glob("even-*/settings.json")
    assert ("number_words" in json.loads(kept.read_text())) == (language == "nl")
    assert len([*folder.glob("even-*/part-*.jsonl")]) == 1
