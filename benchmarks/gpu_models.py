"""What ``gpu.py`` measures on: models of real shapes and random weights, joined speech.

Nothing is downloaded: weights are drawn, the tokenizer and the speech are those of the
bundled sample.
"""

import json
import os
import pathlib
import shutil

import soundfile
import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from ssr_plugin.data.audio import read_row
from ssr_plugin.llm.text_llm import TextLLM

PROJECT = pathlib.Path(__file__).parents[1]
SAMPLE = PROJECT / "recipes/sample"
SAMPLE_RATE = 16000
# Rows of every random LLM's table: as many as SmolLM2 has.
VOCABULARY = 49152
# Llama-type shapes: SmolLM2-135M, Llama 3.2 1B, Llama 3.1 8B; "tiny" is for CPUs.
SHAPES = {
    "tiny": (256, 4, 4, 2, 768),
    "135m": (576, 30, 9, 3, 1536),
    "1b": (2048, 16, 32, 8, 8192),
    "8b": (4096, 32, 32, 8, 14336),
}
# Joined utterances last between these, s.
SHORTEST, LONGEST = 12.0, 16.0


class RandomLLM(TextLLM):
    """An LLM whose folder holds its table alone; the other weights are drawn.

    They are drawn where the table is, so that 8 billion of them need no disk.
    """

    def load_model(self):
        """See :meth:`TextLLM.load_model`."""
        if self.model is None:
            table = self.embedding.weight
            with table.device:
                model = AutoModelForCausalLM.from_config(self.config, dtype=self.dtype)
            model.get_input_embeddings().weight = table
            self.model = model.requires_grad_(False)
            self.embedding = model.get_input_embeddings()
            self.eval()
        return self.model


def load_llm(name, folder, device, dtype):
    """An LLM of one of :data:`SHAPES`, the sample's, or any other by folder or hub id.

    Arguments
    ---------
    name : str
    folder : pathlib.Path
        Where random ones are written.
    device : str
    dtype : str

    Returns
    -------
    TextLLM
    """
    if name not in SHAPES:
        return TextLLM(find_llm(name, folder), dtype).to(device)
    return RandomLLM(find_llm(name, folder), dtype).to(device)


def find_llm(name, folder):
    """The folder of an LLM; one of random weights is written first."""
    if name == "sample":
        return str(SAMPLE / "llm")
    if name not in SHAPES:
        return name
    place = folder / f"llm-{name}"
    if not (place / "config.json").is_file():
        place.mkdir(parents=True, exist_ok=True)
        _write_tokenizer(place)
        width, layers, heads, groups, inner = SHAPES[name]
        table = 0.02 * torch.randn(VOCABULARY, width, generator=_generator())
        save_file(
            {"model.embed_tokens.weight": table.bfloat16()},
            place / "model.safetensors",
        )
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=groups,
            intermediate_size=inner,
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=2,
            dtype="bfloat16",
        ).save_pretrained(place)
    return str(place)


def _write_tokenizer(place):
    """The sample's tokenizer with made-up words behind, which no text is cut into."""
    source = SAMPLE / "llm"
    shutil.copy(source / "tokenizer_config.json", place)
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    generator = _generator()
    while len(vocabulary) < VOCABULARY:
        size = int(torch.randint(3, 10, (1,), generator=generator))
        letters = torch.randint(26, (size,), generator=generator).tolist()
        word = "\u2581" + "".join(chr(97 + letter) for letter in letters)
        vocabulary.setdefault(word, len(vocabulary))
    (place / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def find_encoder(name, folder):
    """The folder of an encoder: the sample's, or random of whisper-base's shape."""
    if name == "sample":
        return str(SAMPLE / "encoder")
    place = folder / f"encoder-{name}"
    if not (place / "config.json").is_file():
        config = WhisperConfig(
            d_model=512,
            encoder_layers=6,
            encoder_attention_heads=8,
            encoder_ffn_dim=2048,
            # The decoder is never run.
            decoder_layers=1,
            decoder_attention_heads=8,
            decoder_ffn_dim=512,
            vocab_size=100,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=3,
        )
        torch.manual_seed(0)
        WhisperFeatureExtractor(feature_size=80).save_pretrained(place)
        WhisperModel(config).save_pretrained(place)
    return str(place)


def make_corpus(folder, joined, copies):
    """The sample's speech as a corpus of utterances of 12 to 16 s, with alignments.

    Arguments
    ---------
    folder : pathlib.Path
    joined : int
        How many different ones are made, of utterances of the sample one after another.
    copies : int
        How often each is there, under names of its own: to be read and encoded as if
        it were another.

    Returns
    -------
    pathlib.Path
        In LibriSpeech's layout: splits ``train-joined`` and ``dev-joined`` (the first
        four again).
    """
    corpus = folder / f"corpus-{joined}x{copies}"
    if (corpus / "alignments").is_dir():
        return corpus
    records = []
    for number, parts in zip(range(joined), _groups(), strict=False):
        record, wav = _join(parts)
        path = corpus / "sources" / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wav, SAMPLE_RATE)
        for copy in range(copies):
            records.append(_place(corpus, "train-joined", copy + 1, path, record))
        if number < 4:
            records.append(_place(corpus, "dev-joined", 9001, path, record))
    (corpus / "alignments").mkdir()
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (corpus / "alignments/joined.jsonl").write_text(lines, encoding="utf-8")
    return corpus


def _groups():
    """Alignment records of the sample whose recordings together last long enough."""
    path = SAMPLE / "corpus/alignments/train-sample.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    parts, seconds = [], 0.0
    for record in map(json.loads, lines):
        if seconds + record["duration"] > LONGEST:
            parts, seconds = [], 0.0
        parts.append(record)
        seconds += record["duration"]
        if SHORTEST <= seconds <= LONGEST:
            yield parts
            parts, seconds = [], 0.0


def _join(parts):
    """One record and one waveform of several."""
    wavs, texts, units, offset = [], [], [], 0
    for record in parts:
        speaker, chapter, _ = record["id"].split("-")
        path = SAMPLE / f"corpus/train-sample/{speaker}/{chapter}/{record['id']}.opus"
        start = sum(map(len, wavs)) / SAMPLE_RATE
        wavs.append(read_row({"wav": str(path)}, SAMPLE_RATE))
        texts.append(record["text"])
        for word, first, last, place in record["units"]:
            units.append([word, start + first, start + last, offset + place])
        offset += len(record["text"]) + 1
    wav = torch.cat(wavs)
    return {
        "text": " ".join(texts),
        "kind": "word",
        "duration": len(wav) / SAMPLE_RATE,
        "units": units,
    }, wav.numpy()


def _place(corpus, split, speaker, path, record):
    """Puts an utterance into a split; returns its alignment."""
    name = f"{speaker}-1-{int(path.stem):04}"
    chapter = corpus / split / str(speaker) / "1"
    chapter.mkdir(parents=True, exist_ok=True)
    os.link(path, chapter / f"{name}.flac")
    with open(chapter / f"{speaker}-1.trans.txt", "a", encoding="utf-8") as file:
        print(name, record["text"], file=file)
    return {"id": name, **record}


def _generator():
    return torch.Generator().manual_seed(0)
