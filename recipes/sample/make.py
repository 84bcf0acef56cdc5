#!/usr/bin/env python3
"""Makes the whole bundled sample: stories, speech, word times, encoder and LLM.

It needs Linux with Debian's packages flite, espeak-ng and bible-kjv (apt-get install
flite espeak-ng bible-kjv) and about half an hour of one idle core. What comes out is
kept in the repository, so nobody has to run this to use the sample. Text, audio before
coding and word times follow from the seed alone; weights also from the versions of
torch and its kernels.

Example: python recipes/sample/make.py --parts corpus encoder
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import corpus  # noqa: E402
import encoder  # noqa: E402
import encoder_data  # noqa: E402
import llm  # noqa: E402
import soundfile  # noqa: E402
import stories  # noqa: E402
import torch  # noqa: E402

PARTS = ("corpus", "text", "encoder", "llm")
SEED = 7
#: Verses of the King James Bible that the LLM does not read.
HELD_OUT_VERSES = 400
#: Verses for later training on plain text.
TEXT_VERSES = 1200
#: Seeds of the encoder's speech, minutes made with each, and its training steps.
SPEECH_SEEDS, SPEECH_MINUTES, ENCODER_STEPS = (1, 2), 45, 1100
#: Stories that the LLM reads, and its training steps.
LLM_STORIES, LLM_STEPS = 12000, 900


def main(arguments=None):
    """Makes the parts that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--output_folder", type=Path, default=HERE)
    options = parser.parse_args(arguments)

    told = corpus.choose_stories(SEED)
    corpus.check_unseen(told)
    verses = encoder_data.bible_lines()
    random.Random(SEED).shuffle(verses)
    held_out, verses = verses[:HELD_OUT_VERSES], verses[HELD_OUT_VERSES:]
    read = set(verses)  # The Bible says some things twice.
    held_out = [verse for verse in held_out if verse not in read]
    for part in PARTS:
        if part not in options.parts:
            continue
        began = time.time()
        made = MAKERS[part](options.output_folder, told, verses, held_out)
        made["seconds"] = round(time.time() - began)
        print(part, json.dumps(made), flush=True)


def make_corpus(folder, told, verses, held_out):
    """The spoken corpus with its word times."""
    minutes = corpus.write_corpus(folder / "corpus", told, SEED)
    return {"minutes": {split: round(m, 2) for split, m in minutes.items()}}


def make_text(folder, told, verses, held_out):
    """General text, for multitask training and for measuring what is forgotten."""
    folder = folder / "text"
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("train", verses[:TEXT_VERSES]), ("heldout", held_out)):
        (folder / f"{name}.txt").write_text("".join(line + "\n" for line in lines))
    return {"train": TEXT_VERSES, "heldout": len(held_out)}


def make_encoder(folder, told, verses, held_out):
    """The encoder; its figures are errors of its CTC head."""
    unseen = corpus.held_out_sentences(told)
    # Held out or not does not matter to what is only spoken: the LLM never sees it.
    lines, speech = encoder_data.bible_lines(), []
    for seed in SPEECH_SEEDS:
        speech += encoder_data.make_speech(SPEECH_MINUTES, unseen, lines, seed)
    torch.manual_seed(SPEECH_SEEDS[0])
    model = encoder.new_encoder()
    encoder.train_encoder(model, speech, ENCODER_STEPS, SPEECH_SEEDS[0])
    encoder.save_encoder(model, folder / "encoder")
    figures = {}
    for split in ("dev-sample", "test-sample"):
        items = list(read_split(folder / "corpus" / split))
        words, characters = encoder.word_error_rate(model, items)
        figures[split] = {"wer": round(words, 1), "cer": round(characters, 1)}
    return figures


def read_split(folder):
    """Yields (samples, transcript) of a split in LibriSpeech's layout."""
    for transcripts in sorted(folder.glob("*/*/*.trans.txt")):
        for line in transcripts.read_text().splitlines():
            id, text = line.split(" ", 1)
            yield soundfile.read(transcripts.parent / f"{id}.opus")[0], text


def make_llm(folder, told, verses, held_out):
    """The LLM; its figures are taken on stories that it never read."""
    rng = random.Random(SEED + 1)
    asked = [stories.tell(rng) for _ in range(400)]
    unseen = corpus.held_out_sentences(told)
    not_read = {" ".join(story) for story in asked}
    read = []
    while len(read) < LLM_STORIES:
        story = stories.tell(rng)
        if not unseen & set(story) and " ".join(story) not in not_read:
            read.append(" ".join(story))
    words = sorted({word for line in read for word in line.split()})
    tokenizer = llm.make_tokenizer(folder / "llm", read[:6000] + verses[:8000], words)
    model = llm.new_llm(SEED)
    llm.train_llm(model, tokenizer, read, verses, LLM_STEPS, SEED)
    llm.save_llm(model, folder / "llm")
    any_other = llm.preference(model, tokenizer, asked, SEED)
    same_names = llm.preference(model, tokenizer, asked, SEED, same_names=True)
    halves = [
        (" ".join(s[: len(s) // 2]), " ".join(s[len(s) // 2 :]))
        for s in told["test-sample"]
    ]

    def loss(pairs):
        losses = [llm.second_half_loss(model, tokenizer, *pair) for pair in pairs]
        return round(sum(losses) / len(losses), 3)

    return {
        "prefers_true_end": any_other,
        "prefers_true_end_same_names": same_names,
        "test_nll": {"text": loss(halves), "none": loss([("", b) for _, b in halves])},
        "heldout_perplexity": round(llm.perplexity(model, tokenizer, held_out), 1),
    }


MAKERS = {
    "corpus": make_corpus,
    "text": make_text,
    "encoder": make_encoder,
    "llm": make_llm,
}

if __name__ == "__main__":
    main()
