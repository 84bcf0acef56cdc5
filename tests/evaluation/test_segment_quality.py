"""Quality of segments and of aligners, in figures counted by hand."""

import json

import pytest

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.readers import FileAligner
from ssr_plugin.data.datasets import CSVDataSet
from ssr_plugin.evaluation.benchmarks.aligner_quality import AlignerQuality
from ssr_plugin.evaluation.benchmarks.segment_quality import (
    SegmentQuality,
    boundary_ratios,
)
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.metrics.wer import WordErrorRate

WORDS = {
    "a": [("the", 0.1, 0.4), ("cat", 0.4, 0.8)],
    "b": [("a", 0.2, 0.5), ("cat", 0.5, 0.9), ("sat", 0.9, 1.3)],
}


@pytest.fixture
def corpus(tmp_path, write_audio):
    rows = ["ID,wav,wrd"]
    for seed, (name, words) in enumerate(WORDS.items()):
        wav = write_audio(tmp_path / "wavs" / f"{name}.wav", 1.5, seed=seed)
        rows.append(f"{name},{wav},{' '.join(word for word, *_ in words)}")
    (tmp_path / "test.csv").write_text("\n".join(rows))
    return CSVDataSet(tmp_path / "test.csv")


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


def write_words(path, words):
    lines = [json.dumps({"id": name, "words": own}) for name, own in words.items()]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def align_all(tmp_path):
    aligner = FileAligner(str(write_words(tmp_path / "words.jsonl", WORDS)))
    return lambda items: align(items, aligner, tmp_path / "cache")[0]


ALL = ["none", "text", "cascade", "predicted", "forced"]


def measure(lm, benchmark, align_all, names=ALL):
    items = benchmark.items(align_all)
    conditions, _ = benchmark.conditions(make_conditions(names), lm, items)
    partners = benchmark.partners(conditions, lm, items)
    records, _ = answer_items(
        lm, items, [*conditions, *partners], align_all, answer=benchmark.answer
    )
    return {
        title.partition(" ")[2]: {
            condition: figures[summary["metric"]["name"]]
            for condition, figures in summary["conditions"].items()
        }
        for title, summary in benchmark.metrics(records, conditions, seed=0).items()
    }


def test_segments_are_those_that_the_llm_is_given(corpus, align_all, lm):
    figures = measure(lm, SegmentQuality(corpus, ["test"]), align_all)
    items = SegmentQuality(corpus, ["test"]).items(align_all)
    contents = [content for item in items for content in item.recordings()]
    predicted = lm.embed([x.wav for x in contents])
    forced = lm.embed([x.wav for x in contents], [x.alignment for x in contents])
    assert sum(map(len, forced)) == 5
    counts = [len(x) - len(y) for x, y in zip(predicted, forced, strict=True)]
    assert any(counts)
    error = 100 * sum(map(abs, counts)) / 5
    assert figures["count_error"] == {"predicted": pytest.approx(error)}
    for condition, heard in (("predicted", predicted), ("forced", forced)):
        rate = figures["segments_per_second"][condition]
        assert rate == pytest.approx(sum(map(len, heard)) / 3.0)
        wer = WordErrorRate()
        for content, speech in zip(contents, heard, strict=True):
            wer.add(content.text, speech.text)
        for name, value in wer.summary("reading_").items():
            assert figures[name][condition] == pytest.approx(value)
    # Forced ones are what is measured against, not what is measured.
    assert set(figures["boundary_mae"]) == set(figures["boundary_f1"]) == {"predicted"}


def test_forced_segments_are_the_reference_though_nobody_asks_for_them(
    corpus, align_all, lm
):
    both = measure(lm, SegmentQuality(corpus, ["test"]), align_all)
    alone = measure(lm, SegmentQuality(corpus, ["test"]), align_all, ["predicted"])
    assert alone == {
        name: {"predicted": figures["predicted"]} for name, figures in both.items()
    }


def test_quality_of_segments_asks_no_llm(corpus, align_all, lm, monkeypatch):
    expected = measure(lm, SegmentQuality(corpus, ["test"]), align_all)
    items = SegmentQuality(corpus, ["test"]).items(align_all)
    embed_cuts, spoken = lm.embed_cuts, [item.recordings()[0] for item in items]
    cuts = embed_cuts([x.wav for x in spoken], [[None, x.alignment] for x in spoken])
    monkeypatch.setattr(lm, "embed_cuts", lambda wavs, alignments, lm_fusion: cuts)
    monkeypatch.setattr(lm.llm, "load_model", None)
    assert measure(lm, SegmentQuality(corpus, ["test"]), align_all) == expected


def test_boundaries_are_counted_by_hand():
    found = boundary_ratios([0.1, 0.5, 0.9], [0.14, 0.5])
    assert found["boundary_mae"] == pytest.approx([40.0, 2])
    assert found["boundary_f1"] == [4, 5]
    assert found["count_error"] == [1, 2]
    # 60 ms apart is not the same boundary, but the nearest.
    assert boundary_ratios([0.1], [0.16])["boundary_f1"] == [0, 2]
    assert boundary_ratios([0.1], [0.16])["boundary_mae"] == pytest.approx([60.0, 1])


def test_an_utterance_in_which_nothing_is_found_is_all_missed():
    found = boundary_ratios([], [0.1, 0.2])
    assert found["boundary_mae"] == [0, 0]
    assert found["boundary_f1"] == [0, 2] and found["count_error"] == [2, 2]


# --- Aligners ----------------------------------------------------------------------


def test_an_aligner_is_measured_by_its_words(corpus, align_all, tmp_path):
    reference = {
        # 10 and 30 ms off; a word that was not aligned; an utterance more.
        "a": [("THE", 0.11, 0.43), ("cat", 0.4, 0.8)],
        "b": [("a", 0.2, 0.5), ("cat", 0.5, 0.9), ("sat", 0.9, 1.3), ("so", 1.4, 1.5)],
        "c": [("no", 0.0, 0.5)],
    }
    path = write_words(tmp_path / "reference.jsonl", reference)
    benchmark = AlignerQuality(corpus, ["test"], reference=path)
    assert not benchmark.needs_model
    figures = measure(None, benchmark, align_all)
    assert figures["wbe"] == {"forced": pytest.approx((10 + 30) / 10)}
    assert figures["within_20_ms"] == {"forced": pytest.approx(90.0)}
    assert figures["within_50_ms"] == {"forced": pytest.approx(100.0)}
    assert figures["missing_words"] == {"forced": pytest.approx(100 / 6)}
    assert "2 utterances, of which the reference has 2" in benchmark.notes[0]


def test_a_reference_of_other_utterances_is_refused(corpus, align_all, tmp_path):
    path = write_words(tmp_path / "other.jsonl", {"z": [("no", 0.0, 0.5)]})
    with pytest.raises(ValueError, match="has none of the utterances, such as 'a'"):
        AlignerQuality(corpus, ["test"], reference=path).items(align_all)
    with pytest.raises(ValueError, match="benchmark_options, aligner, reference"):
        AlignerQuality(corpus, ["test"])
