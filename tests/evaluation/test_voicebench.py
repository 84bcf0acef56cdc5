"""VoiceBench's multiple-choice sets, in the layout of their parquet files."""

import json

import pytest

from ssr_plugin import SpeechLM
from ssr_plugin.evaluation.benchmarks.voicebench import (
    VoiceBenchMMSU,
    VoiceBenchOpenBookQA,
)
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.problems import TooManyProblems

datasets = pytest.importorskip("datasets")
pa = pytest.importorskip("pyarrow")

PROMPT = (
    "What do cats{n} chase?\nA. the sun\nB. 2 mice\nC. an idea\nD. water\n"
    "Please select one of A, B, C and D."
)
FEATURES = {
    "audio": {"sampling_rate": 16000, "_type": "Audio"},
    "prompt": {"dtype": "string", "_type": "Value"},
    "reference": {"dtype": "string", "_type": "Value"},
}


def write_shard(path, wavs, prompts, references):
    """A parquet file as the hub has it: audio as bytes, features in its schema."""
    import pyarrow.parquet

    table = pa.table(
        {
            "audio": [{"bytes": wav.read_bytes(), "path": wav.name} for wav in wavs],
            "prompt": prompts,
            "reference": references,
        }
    )
    about = json.dumps({"info": {"features": FEATURES}})
    path.parent.mkdir(exist_ok=True, parents=True)
    table = table.replace_schema_metadata({"huggingface": about})
    pyarrow.parquet.write_table(table, path)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path, write_audio):
    wavs = [write_audio(tmp_path / f"{i}.wav", 0.5 + i / 10, seed=i) for i in range(4)]
    prompts = [PROMPT.format(n=i) for i in range(4)]
    root = tmp_path / "voicebench"
    shard = root / "openbookqa" / "test-0000{}-of-00002.parquet"
    for i, part in enumerate((slice(0, 3), slice(3, 4))):
        path = shard.with_name(shard.name.format(i))
        write_shard(path, wavs[part], prompts[part], list("BDAB")[part])
    for subject in ("physics", "law"):
        path = root / "mmsu" / f"{subject}-00000-of-00001.parquet"
        write_shard(path, wavs[:2], prompts[:2], ["A", "B"])
    return root


def test_the_question_is_heard_with_its_options(folder):
    items = VoiceBenchOpenBookQA(folder).items(align=None)
    assert [item.id for item in items] == [
        f"voicebench_openbookqa-test-{i:05d}" for i in range(4)
    ]
    assert [item.target for item in items] == [1, 3, 0, 1]
    item = items[3]
    spoken, rest = item.context
    assert spoken.written == PROMPT.format(n=3) and rest == "\nAnswer:"
    assert spoken.text.startswith("what do cats three chase a the sun b two mice")
    assert item.choices == (" A", " B", " C", " D")


def test_the_recording_of_each_row_is_its_own(folder, tiny_speech_lm_folder):
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder)
    items = VoiceBenchOpenBookQA(folder).items(align=None)
    speeches = lm.embed([item.recordings()[0].wav for item in items])
    assert [x.seconds for x in speeches] == pytest.approx([0.5, 0.6, 0.7, 0.8])
    # A letter is chosen by what the LLM expects after what it hears.
    conditions = make_conditions(["text", "predicted"])
    records, problems = answer_items(lm, items, conditions, align=None)
    assert not problems.reasons and len(records) == 4
    for item, record, speech in zip(items, records, speeches, strict=True):
        found = record["conditions"]["predicted"]
        assert found["readings"] == [speech.text]
        scores = lm.score([speech, "\nAnswer:"], item.choices)
        assert found["log_likelihoods"] == pytest.approx(scores, abs=1e-4)


def test_the_text_of_an_option_may_be_scored(folder):
    item = VoiceBenchOpenBookQA(folder, answer="text").items(align=None)[0]
    assert item.choices == (" the sun", " 2 mice", " an idea", " water")
    with pytest.raises(ValueError, match="answer: 'word' is none of letter, text"):
        VoiceBenchOpenBookQA(folder, answer="word")


def test_subjects_of_mmsu_are_its_splits(folder):
    ids = [item.id for item in VoiceBenchMMSU(folder).items(align=None)]
    assert ids == [
        f"voicebench_mmsu-{x}-0000{i}" for x in ("law", "physics") for i in (0, 1)
    ]
    items = VoiceBenchMMSU(folder, subjects=["phy*"]).items(align=None)
    assert [item.id.split("-")[1] for item in items] == ["physics", "physics"]
    # The folder of the subset alone does, too.
    assert len(VoiceBenchMMSU(folder / "mmsu").items(align=None)) == 4
    with pytest.raises(ValueError, match="none of law, physics .*is one of art"):
        VoiceBenchMMSU(folder, subjects=["art"]).items(align=None)


def test_rows_that_are_no_questions_are_named_and_counted(folder, tmp_path, caplog):
    wavs = [tmp_path / "0.wav"] * 12
    prompts = [PROMPT.format(n=i) for i in range(12)]
    prompts[4] = "What is this?"
    path = folder / "mmsu" / "law-00000-of-00001.parquet"
    write_shard(path, wavs, prompts, ["A"] * 12)
    mmsu = VoiceBenchMMSU(folder, subjects=["law"])
    assert len(mmsu.items(align=None)) == 11
    assert mmsu.notes == ["1 of 12 rows are no questions"]
    assert "skipped mmsu, law, row 4: there are no options" in caplog.text
    write_shard(path, wavs, prompts, [*"AAAAAAAAAA", "F", None])
    with pytest.raises(TooManyProblems, match="mmsu, law, row 10: the answer 'F' is"):
        VoiceBenchMMSU(folder, subjects=["law"]).items(align=None)


def test_a_set_of_other_columns_is_refused(folder, tmp_path):
    import pyarrow.parquet

    path = folder / "openbookqa" / "test-00000-of-00001.parquet"
    for old in path.parent.glob("*"):
        old.unlink()
    pyarrow.parquet.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(
        ValueError, match="there is no column 'prompt'; there are: text"
    ):
        VoiceBenchOpenBookQA(folder).items(align=None)
    with pytest.raises(ValueError, match="no folder.*cannot be read as a data set"):
        VoiceBenchOpenBookQA(tmp_path / "no folder").items(align=None)
