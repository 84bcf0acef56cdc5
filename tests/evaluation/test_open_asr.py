"""Open ASR leaderboard: words and speed of what is heard, in parquet as published."""

import json
import types

import pytest

from ssr_plugin import SpeechLM
from ssr_plugin.data.datasets import CSVDataSet
from ssr_plugin.data.hugging_face import HuggingFaceDataSet
from ssr_plugin.evaluation.benchmarks.open_asr import OpenASR
from ssr_plugin.evaluation.harness import audio_inputs
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.audio_inputs import SpeechInputs
from ssr_plugin.evaluation.harness.conditions import Predicted, make_conditions
from ssr_plugin.metrics.leaderboard_wer import leaderboard_errors

TEXTS = [
    "the cat sat",
    "ignore_time_segment_in_scoring",
    "Mr. Cat's U.S. colour",
    "<unk>",
]
ALL = ["none", "text", "cascade", "predicted", "forced", "predicted_lm_fusion"]


@pytest.fixture
def corpus(tmp_path, write_audio):
    rows = ["ID,wav,wrd"]
    for seed, text in enumerate(TEXTS):
        wav = write_audio(tmp_path / f"{seed}.wav", 1.0 + seed / 2, seed=seed)
        rows.append(f"u{seed},{wav},{text}")
    (tmp_path / "test.csv").write_text("\n".join(rows))
    return CSVDataSet(tmp_path / "test.csv")


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


def measure(lm, benchmark, path=None):
    items = benchmark.items(align=None)
    conditions, _ = benchmark.conditions(make_conditions(ALL), lm, items)
    records, problems = answer_items(
        lm,
        items,
        conditions,
        None,
        path,
        answer=benchmark.answer,
        timed=benchmark.timed,
    )
    assert not problems.reasons
    return records, benchmark.metrics(records, conditions, seed=0)


def test_what_is_heard_is_scored_by_the_leaderboards_words(lm, corpus):
    benchmark = OpenASR(corpus, ["test"])
    records, summaries = measure(lm, benchmark)
    assert [record["id"] for record in records] == ["u0", "u2"]
    assert benchmark.notes == ["2 utterances have no words to score"]
    wer = summaries["open_asr wer_leaderboard"]["conditions"]
    fused = ["predicted_lm_fusion"] if lm.embedder.can_fuse else []
    assert list(wer) == ["predicted", *fused]
    wrong = words = 0
    for record, text in zip(records, (TEXTS[0], TEXTS[2]), strict=True):
        wav = f"{corpus.folder.parent}/{record['id'][1:]}.wav"
        errors, count = leaderboard_errors(text, lm.embed(wav).text)
        wrong, words = wrong + errors, words + count
    assert words == 8
    assert wer["predicted"]["wer_leaderboard"] == pytest.approx(100 * wrong / words)


def test_rtfx_is_audio_over_the_time_it_took_to_hear_it(lm, corpus, monkeypatch):
    # Each look at the clock is a second later: a batch takes one second in each cut.
    clock = types.SimpleNamespace(perf_counter=iter(range(100)).__next__)
    monkeypatch.setattr(audio_inputs, "time", clock)
    records, summaries = measure(lm, OpenASR(corpus, ["test"]))
    figures = summaries["open_asr rtfx"]["conditions"]
    assert figures["predicted"]["rtfx"] == pytest.approx(1.0 + 2.0)
    shares = [r["conditions"]["predicted"]["metrics"]["rtfx"] for r in records]
    assert shares == [[1.0, pytest.approx(1 / 3)], [2.0, pytest.approx(2 / 3)]]


def test_cut_by_cut_the_same_is_heard(lm, corpus):
    items = OpenASR(corpus, ["test"]).items(align=None)
    waveforms = [audio_inputs.read_recording(lm, x.recordings()[0])[0] for x in items]
    cuts = [[None, None]] * 2
    timed, seconds = audio_inputs._embed_timed(lm, waveforms, cuts, [False, True])
    at_once = audio_inputs._embed(lm, waveforms, cuts, [False, True])
    for one, other, spent in zip(timed, at_once, seconds, strict=True):
        assert [x.text for x in one] == [x.text for x in other]
        assert len(spent) == 2 and min(spent) > 0
    with pytest.raises(ValueError, match="was not measured"):
        SpeechInputs().seconds_of(Predicted(), items[0])


def test_one_bad_recording_leaves_the_others_timed(lm, corpus):
    (corpus.folder.parent / "0.wav").write_bytes(b"no audio")
    items = OpenASR(corpus, ["test"]).items(align=None)
    benchmark = OpenASR(corpus, ["test"])
    records, problems = answer_items(
        lm,
        items,
        make_conditions(["predicted"]),
        None,
        answer=benchmark.answer,
        timed=True,
        max_skipped_share=0.5,
    )
    assert [record["id"] for record in records] == ["u2"]
    assert set(problems.reasons) == {"u0"}


def test_another_language_is_refused(corpus):
    corpus.language = "de"
    with pytest.raises(ValueError, match="normaliser is English, and .* is 'de'"):
        OpenASR(corpus, ["test"])


def test_nothing_to_score_is_refused(corpus):
    path = corpus.folder
    path.write_text("ID,wav,wrd\nu1,1.wav,ignore_time_segment_in_scoring")
    with pytest.raises(ValueError, match="no transcript .* has words that are scored"):
        OpenASR(CSVDataSet(path), ["test"]).items(align=None)


def test_the_published_parquet_is_read(lm, tmp_path, write_audio, monkeypatch):
    datasets = pytest.importorskip("datasets")
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    wavs = [write_audio(tmp_path / f"{i}.flac", 1.0 + i, seed=i) for i in range(2)]
    columns = {
        "audio": [{"bytes": wav.read_bytes(), "path": wav.name} for wav in wavs],
        "dataset": ["librispeech"] * 2,
        "text": ["the cat sat", "mister brown"],
        "id": ["1-2-0000", "1-2-0001"],
        "audio_length_s": [1.0, 2.0],
    }
    features = {name: {"dtype": "string", "_type": "Value"} for name in columns}
    features["audio"] = {"sampling_rate": 16000, "_type": "Audio"}
    features["audio_length_s"]["dtype"] = "float64"
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    folder = tmp_path / "esb"
    path = folder / "librispeech" / "test.clean-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pa.table(columns).replace_schema_metadata(about), path)
    files = "librispeech/test.clean-*.parquet"
    # The snapshot's page names other sets, too, which nobody fetched.
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: ami\n  data_files:\n"
        "  - split: test\n    path: ami/test-*\n"
        "- config_name: librispeech\n  data_files:\n"
        f"  - split: test.clean\n    path: {files}\n---\n"
    )
    dataset = HuggingFaceDataSet(folder, data_files={"test.clean": files})
    records, summaries = measure(lm, OpenASR(dataset, ["test.clean"]))
    assert [record["id"] for record in records] == ["1-2-0000", "1-2-0001"]
    seconds, spent = zip(
        *(r["conditions"]["predicted"]["metrics"]["rtfx"] for r in records),
        strict=True,
    )
    assert seconds == (1.0, 2.0)
    rtfx = summaries["open_asr rtfx"]["conditions"]["predicted"]["rtfx"]
    assert rtfx == pytest.approx(3.0 / sum(spent))
