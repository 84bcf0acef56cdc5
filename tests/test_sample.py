"""The bundled sample: complete, honest about what is held out, small, and loadable."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import edit_distance
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoProcessor,
    AutoTokenizer,
)

from ssr_plugin.alignment.record import Alignment

SAMPLE = Path(__file__).parents[1] / "recipes" / "sample"
CORPUS = SAMPLE / "corpus"
SPLITS = ("train-sample", "dev-sample", "test-sample")


def transcripts(split):
    lines = [
        line.split(" ", 1)
        for path in sorted((CORPUS / split).glob("*/*/*.trans.txt"))
        for line in path.read_text().splitlines()
    ]
    return dict(lines)


def alignments(split):
    with open(CORPUS / "alignments" / f"{split}.jsonl") as lines:
        records = [Alignment.from_json(json.loads(line)) for line in lines]
    return {record.id: record for record in records}


def told(split):
    with open(CORPUS / "stories" / f"{split}.jsonl") as lines:
        return {r["id"]: r["sentences"] for r in map(json.loads, lines)}


@pytest.fixture(scope="module")
def utterance():
    id, text = next(iter(transcripts("test-sample").items()))
    (path,) = (CORPUS / "test-sample").rglob(f"{id}.opus")
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == 16000
    return samples, text


@pytest.mark.parametrize("split", SPLITS)
def test_every_utterance_has_audio_a_transcript_and_word_times(split):
    audio = {path.stem: path for path in (CORPUS / split).rglob("*.opus")}
    texts, times = transcripts(split), alignments(split)
    assert audio.keys() == texts.keys() == times.keys()
    for id, path in audio.items():
        speaker, chapter, _ = id.split("-")
        assert path.parent == CORPUS / split / speaker / chapter
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (16000, 1)
        assert abs(info.duration - times[id].duration) < 0.001
        assert times[id].text == texts[id] == texts[id].upper()
        assert [unit.text for unit in times[id].units] == texts[id].split()


def test_there_are_sixteen_to_twenty_minutes_and_at_least_twelve_to_train_on():
    minutes = {
        split: sum(a.duration for a in alignments(split).values()) / 60
        for split in SPLITS
    }
    assert minutes["train-sample"] >= 12
    assert 15 <= sum(minutes.values()) <= 20


def test_the_test_voice_is_heard_nowhere_else():
    speakers = {
        split: {path.name for path in (CORPUS / split).iterdir()} for split in SPLITS
    }
    assert len(speakers["train-sample"]) >= 5
    assert not speakers["test-sample"] & (
        speakers["train-sample"] | speakers["dev-sample"]
    )


def test_no_test_or_dev_sentence_is_trained_on():
    stories = {split: told(split) for split in SPLITS}
    for split in SPLITS:
        texts = {id: " ".join(s).upper() for id, s in stories[split].items()}
        assert texts == transcripts(split)
    sentences = {
        split: {sentence for story in stories[split].values() for sentence in story}
        for split in SPLITS
    }
    assert not sentences["train-sample"] & sentences["test-sample"]
    assert not sentences["train-sample"] & sentences["dev-sample"]
    assert not sentences["dev-sample"] & sentences["test-sample"]


def test_every_word_of_test_is_trained_on():
    trained = " ".join(transcripts("train-sample").values()).split()
    tested = " ".join(transcripts("test-sample").values()).split()
    assert set(tested) <= set(trained)


def test_general_text_held_out_is_not_trained_on():
    train, held_out = (
        set((SAMPLE / "text" / f"{name}.txt").read_text().splitlines())
        for name in ("train", "heldout")
    )
    assert len(train) > 1000 and len(held_out) > 300
    assert not train & held_out


def test_the_encoder_loads_and_gives_fifty_frames_a_second(utterance):
    samples, _ = utterance
    model = AutoModel.from_pretrained(SAMPLE / "encoder").eval()
    extractor = AutoFeatureExtractor.from_pretrained(SAMPLE / "encoder")
    assert model.config.model_type == "hubert"
    assert next(model.parameters()).dtype == torch.float32
    inputs = extractor(samples, sampling_rate=16000, return_tensors="pt")
    assert "attention_mask" in inputs
    with torch.no_grad():
        frames = model(**inputs).last_hidden_state
    assert abs(frames.shape[1] - len(samples) / 320) <= 2
    assert frames.isfinite().all()


def test_the_ctc_head_spells_most_of_what_the_unseen_voice_says(utterance):
    samples, text = utterance
    model = AutoModelForCTC.from_pretrained(SAMPLE / "encoder").eval()
    processor = AutoProcessor.from_pretrained(SAMPLE / "encoder")
    inputs = processor(samples, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        heard = processor.batch_decode(model(**inputs).logits.argmax(-1))[0]
    assert edit_distance(list(heard), list(text)) < 0.5 * len(text)


def test_the_tokenizer_is_fast_and_its_offsets_are_right():
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "llm")
    assert tokenizer.is_fast
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    text = "anna wanted to make a cake; über 12 nightingales"
    coded = tokenizer(text, return_offsets_mapping=True)
    assert coded.input_ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(coded.input_ids, skip_special_tokens=True) == text
    words = ["anna", "wanted", "to", "make", "a", "cake"]
    spans = coded.offset_mapping[1 : 1 + len(words)]
    assert [text[start:end].strip() for start, end in spans] == words
    assert coded.offset_mapping[-1][1] == len(text)


def test_the_tokenizer_says_what_its_sentencepiece_model_says():
    sentencepiece = pytest.importorskip("sentencepiece")
    pieces = sentencepiece.SentencePieceProcessor(
        model_file=str(SAMPLE / "llm" / "tokenizer.model")
    )
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "llm")
    lines = (SAMPLE / "text" / "heldout.txt").read_text().splitlines()[:100]
    lines += [t.lower() for t in transcripts("dev-sample").values()]
    for line in lines:
        assert tokenizer(line, add_special_tokens=False).input_ids == pieces.encode(
            line
        )


def test_the_llm_prefers_the_true_end_of_a_story():
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "llm")
    model = AutoModelForCausalLM.from_pretrained(SAMPLE / "llm").eval()
    assert model.config.model_type == "llama"
    assert next(model.parameters()).dtype == torch.float32
    texts = [text.lower().split() for text in transcripts("test-sample").values()]
    halves = [(words[: len(words) // 2], words[len(words) // 2 :]) for words in texts]

    def loss(first, second):
        start = len(tokenizer(" ".join(first)).input_ids)
        ids = torch.tensor([tokenizer(" ".join(first + second)).input_ids])
        with torch.no_grad():
            logits = model(ids).logits[0, start - 1 : -1]
        return torch.nn.functional.cross_entropy(logits, ids[0, start:]).item()

    table = np.array([[loss(a, b) for _, b in halves] for a, _ in halves])
    true = table.diagonal()[:, None]
    wins = (true < table).sum() / (table.size - len(table))
    assert wins > 0.85


def test_the_sample_stays_small():
    files = [
        path
        for path in SAMPLE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sum(path.stat().st_size for path in files) < 15e6
