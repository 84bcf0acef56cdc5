"""Second halves, given first halves: the benchmark, by the definition of its losses.

That its figures are those of stage 1's report is shown in ``test_segmenter_runs.py``.
"""

import json

import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.readers import FileAligner
from ssr_plugin.data.datasets import CSVDataSet
from ssr_plugin.data.librispeech import LibriSpeech
from ssr_plugin.evaluation.benchmarks.second_half import SecondHalf
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.conditions import make_conditions

LISTEN = ["predicted", "forced", "predicted_lm_fusion", "forced_lm_fusion"]


@pytest.fixture
def corpus(small_corpus):
    return LibriSpeech(small_corpus)


@pytest.fixture
def align_all(small_corpus, tmp_path):
    aligner = FileAligner(str(small_corpus / "words.jsonl"))
    return lambda items: align(items, aligner, tmp_path / "cache")[0]


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


def measure(lm, benchmark, align_all, names):
    """Items, records and summaries."""
    items = benchmark.items(align_all)
    conditions, _ = benchmark.conditions(make_conditions(names), lm, items)
    asked = [*conditions, *benchmark.partners(conditions, lm, items)]
    records, problems = answer_items(
        lm, items, asked, align_all, answer=benchmark.answer
    )
    assert not problems.reasons
    return items, records, benchmark.metrics(records, conditions, seed=0)


def slow_loss(lm, first, tokens):
    """Nats of a second half after vectors [M, H], by the definition."""
    second = tokens[len(tokens) // 2 :]
    start = lm.llm.embed(torch.tensor([lm.llm.start_id]))
    embeds = torch.cat([start, first, lm.llm.embed(torch.tensor(second))])
    logits = lm.llm.load_model()(inputs_embeds=embeds[None]).logits[0]
    scores = logits.log_softmax(-1)[len(first) : -1]
    return -scores[range(len(second)), second].sum().item()


def test_losses_are_those_of_the_definition(lm, corpus, align_all):
    benchmark = SecondHalf(corpus, ["test-a"], max_items=4)
    names = ["none", "text", *LISTEN]
    items, records, _ = measure(lm, benchmark, align_all, names)
    for item, record in zip(items, records, strict=True):
        (content,) = item.recordings()
        tokens, _ = lm.segmenters["forced"].tokenize(content.text)
        half = len(tokens) // 2
        forced = lm.embed(content.wav, content.alignment)
        middle = forced.starts[half]
        firsts = {
            "none": torch.zeros(0, lm.llm.hidden_size),
            "text": lm.llm.embed(torch.tensor(tokens[:half])),
        }
        for name in LISTEN:
            alignment = content.alignment if name.startswith("forced") else None
            speech = lm.embed(content.wav, alignment, lm_fusion="fusion" in name)
            # The last frame of a segment is one before its end.
            frame = 1 / lm.encoder.frame_rate
            first = [
                (start + end - frame) / 2 < middle - 1e-6
                for start, end in zip(speech.starts, speech.ends, strict=True)
            ]
            firsts[name] = speech.vectors[torch.tensor(first, dtype=torch.bool)]
        assert len(firsts["forced"]) == half
        for name, first in firsts.items():
            nats, count = record["conditions"][name]["metrics"]["nll"]
            assert count == len(tokens) - half
            assert nats == pytest.approx(slow_loss(lm, first, tokens), rel=1e-4)
        assert record["speaker"] == item.id.partition("-")[0]


def test_gains_are_measured_though_nobody_asks_for_their_ends(lm, corpus, align_all):
    benchmark = SecondHalf(corpus, ["test-a"])
    *_, asked = measure(lm, benchmark, align_all, ["none", "text", "predicted"])
    *_, alone = measure(lm, benchmark, align_all, ["predicted"])
    kept = "second_half gain_kept"
    assert set(alone[kept]["conditions"]) == {"predicted"}
    assert alone[kept] == asked[kept]
    assert set(asked["second_half nll"]["conditions"]) == {"none", "text", "predicted"}
    # Its segmenter does not say what it hears: there is nothing to be ahead of.
    assert "second_half ahead" not in alone


def test_an_utterance_of_one_token_is_read_and_has_no_halves(lm, tmp_path, write_audio):
    words = {
        "short": [("the", 0.1, 0.8)],
        "long": [("a", 0.2, 0.5), ("cat", 0.5, 0.9), ("sat", 0.9, 1.3)],
    }
    rows, lines = ["ID,wav,wrd,speaker"], []
    for name, own in words.items():
        wav = write_audio(tmp_path / f"{name}.wav", 1.5)
        rows.append(f"{name},{wav},{' '.join(word for word, *_ in own)},anna")
        lines.append(json.dumps({"id": name, "words": own}))
    (tmp_path / "test.csv").write_text("\n".join(rows))
    (tmp_path / "words.jsonl").write_text("\n".join(lines))
    aligner = FileAligner(str(tmp_path / "words.jsonl"))
    _, records, summaries = measure(
        lm,
        SecondHalf(CSVDataSet(tmp_path / "test.csv"), ["test"]),
        lambda items: align(items, aligner, tmp_path / "cache")[0],
        ["none", "predicted"],
    )
    answers = {x["id"]: x["conditions"]["predicted"]["metrics"] for x in records}
    assert answers["short"]["nll"] == [0.0, 0]
    nats, count = answers["long"]["nll"]
    found = summaries["second_half nll"]["conditions"]["predicted"]["nll"]
    assert count == 2 and found == pytest.approx(nats / 2)
    # Its word counts, as in stage 1.
    wrong = sum(answer["reading_wer"][0] for answer in answers.values())
    wer = summaries["second_half reading_wer"]["conditions"]["predicted"]
    assert wer["reading_wer"] == pytest.approx(100 * wrong / 4)
