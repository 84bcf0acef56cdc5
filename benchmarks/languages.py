"""Speech in several languages: what is recognised, and how well it is cut into tokens.

    apt-get install espeak-ng debian-handbook
    python benchmarks/languages.py results/languages --sentences 150 \\
        --encoder_source openai/whisper-base \\
        --llm_source HuggingFaceTB/SmolLM2-135M-Instruct

Sentences of Debian's handbook, which is there in many languages, are spoken by
espeak-ng, a few in a recording. It tells when each word (of Mandarin, each character)
begins: that is the reference, and nothing is aligned for it. Then, of each language,

- the encoder's own recogniser writes down the sentences that are held out: WER or CER;
- aligners find the words: ``even``; a ``unity2`` that learns from the transcripts
  alone, as ``aligner: auto`` has it; of English pocketsphinx, too; and the recogniser's
  own times of the words that it got right;
- with ``--epochs N`` a connector is trained for so long on forced segments by
  espeak-ng's own times, and tested, likewise, on the sentences that are held out, in a
  voice of their own.

What is done is kept: the same command goes on, and prints the same tables.
"""

import argparse
import csv
import dataclasses
import html
import json
import pathlib
import random
import re
import sys
import time

import numpy as np
import soundfile
import torch

from ssr_plugin import build
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.compare_alignments import compare
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.alignment.writers import words
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.languages import has_words, is_english, word_spans
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.metrics.wer import WordErrorRate, rate_names
from ssr_plugin.recognizers.hypotheses import recognize_all
from ssr_plugin.recognizers.load import load_recognizer
from ssr_plugin.training.run_training import main as train

ROOT = pathlib.Path(__file__).resolve().parents[1]
_ENGLISH = "en-US"
HANDBOOK = "/usr/share/doc/debian-handbook/html"


@dataclasses.dataclass(frozen=True)
class Spoken:
    """How a language is spoken, and which of its sentences are taken.

    Arguments
    ---------
    folder : str
        The handbook's.
    voice : str
        espeak-ng's.
    letters : str
        Of its words, as in a regular expression's brackets.
    marks : str
        Likewise, that may stand between them.
    ends : str
        Of sentences.
    lengths : (int, int)
        Fewest and most characters of a sentence: about 4 to 8 s.
    """

    folder: str
    voice: str
    letters: str
    marks: str = " ,;:"
    ends: str = ".!?"
    lengths: tuple[int, int] = (50, 110)


LANGUAGES = {
    "en": Spoken(_ENGLISH, "en-us", "A-Za-z'’"),
    "de": Spoken("de-DE", "de", "A-Za-zÄÖÜäöüß"),
    "fr": Spoken("fr-FR", "fr", "A-Za-zÀ-ÖØ-öø-ÿœŒ'’\\-"),
    "zh": Spoken("zh-CN", "cmn", "\u4e00-\u9fff", "，、；：", "。！？", (14, 32)),
}
#: Timbres of espeak-ng, after a voice's name; the last speaks the held-out sentences.
VARIANTS = ("", "+f2", "+m3", "+f4")


def sentences(folder, spoken):
    """The sentences of the handbook that are of a language's own letters alone.

    Arguments
    ---------
    folder : path-like
        The handbook, in all languages.
    spoken : Spoken

    Returns
    -------
    list of str
        Each once, in the order of the files.
    """
    found = {}
    whole = re.compile(rf"[{spoken.letters}{spoken.marks}]+[{spoken.ends}]")
    for path in sorted((pathlib.Path(folder) / spoken.folder).glob("*.html")):
        text = path.read_text(encoding="utf-8")
        for paragraph in re.findall(r'<div class="para">(.*?)</div>', text, re.S):
            plain = html.unescape(re.sub(r"<[^>]+>", "", paragraph))
            plain = " ".join(plain.replace("\u00a0", " ").split())
            for sentence in re.findall(rf"[^{spoken.ends}]+[{spoken.ends}]", plain):
                sentence = sentence.strip()
                low, high = spoken.lengths
                # One that begins small was cut after an abbreviation.
                if (
                    low <= len(sentence) <= high
                    and whole.fullmatch(sentence)
                    and not sentence[0].islower()
                ):
                    found[sentence] = None
    if spoken.folder != _ENGLISH:
        # What is not translated yet.
        for sentence in sentences(folder, LANGUAGES["en"]):
            found.pop(sentence, None)
    return list(found)


def spoken_words(text, events, sample_rate):
    """The words of a text for which espeak-ng has a time.

    Arguments
    ---------
    text : str
    events : list of (int, int, int, str)
        Of ``espeak_events`` in recipes/sample/speech.py.
    sample_rate : int
        Hz

    Returns
    -------
    list of ssr_plugin.alignment.record.Unit
        A word that espeak-ng joins to the one before it is left out, and so is that
        one: when the first ends nobody knows.
    """
    spans = dict(word_spans(text))
    starts, ends, place = {}, {}, None
    for i, (kind, sample, position, name) in enumerate(events):
        if kind == 1:
            place = position if position in spans else place
        elif place is not None and not name.startswith("_") and name:
            after = next((e[1] for e in events[i + 1 :] if e[0] == 7), sample)
            starts.setdefault(place, sample / sample_rate)
            ends[place] = after / sample_rate
    units = []
    order = sorted(spans)
    for offset, following in zip(order, [*order[1:], None], strict=True):
        joined = following is not None and following not in starts
        if offset in starts and not joined:
            stop = spans[offset]
            units.append(Unit(text[offset:stop], starts[offset], ends[offset], offset))
    return units


def speak_corpus(folder, language, texts):
    """Speaks sentences; the last fifth, in another voice, is held out.

    Arguments
    ---------
    folder : pathlib.Path
        Gets train.csv, test.csv, reference.jsonl and the audio.
    language : str
    texts : list of str
        Some sentences each: a Whisper encoder takes as long for 5 s as for 30.
    """
    if (folder / "test.csv").is_file():
        return
    sys.path.insert(0, str(ROOT / "recipes" / "sample"))
    from speech import espeak_events

    folder.mkdir(parents=True, exist_ok=True)
    rows = {"train": [], "test": []}
    with open(folder / "reference.jsonl", "w", encoding="utf-8") as file:
        for i, text in enumerate(texts):
            held = i >= len(texts) * 4 // 5
            variant = VARIANTS[-1] if held else VARIANTS[i % (len(VARIANTS) - 1)]
            voice = LANGUAGES[language].voice + variant
            rate, samples, events = espeak_events(text, voice)
            name = f"{language}-{i:04d}"
            soundfile.write(folder / f"{name}.flac", samples / 32768, rate)
            seconds = len(samples) / rate
            units = spoken_words(text, events, rate)
            record = Alignment(name, text, tuple(units), "word", seconds).to_json()
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            rows["test" if held else "train"].append(
                [name, f"{name}.flac", text, voice]
            )
    # Last: what is there is whole.
    for split, lines in rows.items():
        with open(folder / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["ID", "wav", "wrd", "spk_id"])
            table.writerows(lines)


def read_corpus(folder):
    """AlignmentItem by id of each split, and the reference's alignments by id."""
    splits = {}
    for split in ("train", "test"):
        with open(folder / f"{split}.csv", encoding="utf-8", newline="") as file:
            splits[split] = {
                row["ID"]: AlignmentItem(
                    row["ID"], str(folder / row["wav"]), row["wrd"]
                )
                for row in csv.DictReader(file)
            }
    lines = (folder / "reference.jsonl").read_text(encoding="utf-8").splitlines()
    reference = [Alignment.from_json(json.loads(line)) for line in lines]
    return splits, {alignment.id: alignment for alignment in reference}


def train_job(options, language, folder, yaml, name, **keys):
    """Trains as a recipe does; gives the run's folder."""
    output = folder / name
    if not (output / "metrics.json").is_file():
        keys = {
            "data_folder": folder,
            "dataset": "csv",
            "language": language,
            "encoder_source": options.encoder_source,
            "llm_source": options.llm_source,
            "output_folder": output,
            "cache_folder": folder / "cache",
            "train_splits": "[train]",
            "valid_splits": "[]",
            "test_splits": "[test]",
            "valid_share": 0.1,
            "loggers": "[]",
            **keys,
        }
        pairs = [f"--{key}={value}" for key, value in keys.items()]
        train(argv=[f"hparams/{yaml}.yaml", *pairs])
    return output


def recognise(options, language, folder, encoder, items, rate_of):
    """What the recogniser hears, and its figures."""
    recognizer = load_recognizer(options.encoder_source, language)
    recognizer.use_encoder(encoder)
    started = time.time()
    heard, _ = recognize_all(list(items.values()), recognizer, folder / "cache")
    seconds = time.time() - started
    for name, item in items.items():
        rate_of.add(item.text, heard[name].text)
    return heard, seconds


def token_starts(segmenter, alignment, frame_rate):
    """When each token of a transcript begins, s."""
    frames = int(alignment.duration * frame_rate) + 1
    return segmenter.segment(alignment, frames).starts / frame_rate


def run_language(options, language, encoder, llm):
    """All figures of a language.

    Returns
    -------
    dict
    """
    folder = (options.output / language).absolute()
    texts = sentences(options.text, LANGUAGES[language])
    random.Random(0).shuffle(texts)
    if len(texts) < options.sentences:
        raise SystemExit(f"{language}: only {len(texts)} sentences in {options.text}")
    blank = " " if has_words(language) else ""
    together = [
        blank.join(texts[i : i + options.together])
        for i in range(0, options.sentences, options.together)
    ]
    speak_corpus(folder, language, together)
    splits, reference = read_corpus(folder)
    everything = splits["train"] | splits["test"]
    seconds = sum(reference[name].duration for name in everything)
    segmenter = build.segmenter("forced", encoder, llm)
    tokens = {name: segmenter.tokenize(x.text) for name, x in everything.items()}
    count = sum(len(ids) for ids, _ in tokens.values())
    partial = sum(
        "\ufffd" in llm.tokenizer.decode([token])
        for ids, _ in tokens.values()
        for token in ids
    )
    figures = {
        "language": language,
        "recordings": len(everything),
        "held_out": len(splits["test"]),
        "seconds": seconds,
        "tokens_per_second": count / seconds,
        "tokens_that_are_part_of_a_character": partial / count,
        "characters": sum(len(x.text) for x in everything.values()),
    }
    rate = WordErrorRate(language)
    heard, _ = recognise(options, language, folder, encoder, splits["test"], rate)
    figures |= rate.summary("recogniser_")

    aligners = {"even": build.aligner("even")}
    trained = None
    if options.aligner_epochs:
        trained = train_job(
            *(options, language, folder, "segmenter", "unity2"),
            segmenter="unity2",
            # In English, too: no times that another has found.
            aligner="even",
            number_of_epochs=options.aligner_epochs,
        )
        aligners["unity2"] = build.aligner(
            "trained", {"trained": {"source": str(trained)}}
        )
    if is_english(language):
        aligners["pocketsphinx"] = build.aligner("pocketsphinx")
    items = list(everything.values())
    aligned = {
        name: align(
            items,
            one,
            folder / "cache" / "alignments",
            num_workers=1,
            max_skipped_share=1.0,
        )[0]
        for name, one in aligners.items()
    }
    aligned[f"recogniser ({len(heard)} held out)"] = heard
    truth = {name: words(alignment) for name, alignment in reference.items()}
    figures["aligners"] = {}
    for name, alignments in aligned.items():
        found = {id: words(alignments[id]) for id in alignments}
        result = compare(found, {id: truth[id] for id in found})
        one = {"aligned": len(found) / len(heard if alignments is heard else items)}
        # A recogniser may get no word right.
        if result.starts is not None:
            one["start_mae_ms"] = result.starts.mae
            one["start_median_ms"] = result.starts.median
            one["start_bias_ms"] = result.starts.bias
            one["within_50_ms"] = result.starts.within_50
        figures["aligners"][name] = one
    # Of two aligners that know nothing of each other: the reference has no tokens.
    pairs = [
        pair
        for pair in (
            ("unity2", "even"),
            ("unity2", "pocketsphinx"),
            ("pocketsphinx", "even"),
        )
        if {*pair} <= {*aligners}
    ]
    figures["token_starts_apart_ms"] = {}
    for one, other in pairs:
        apart = [
            np.abs(
                token_starts(segmenter, aligned[one][name], encoder.frame_rate)
                - token_starts(segmenter, aligned[other][name], encoder.frame_rate)
            )
            for name in aligned[one]
            if name in aligned[other]
        ]
        figures["token_starts_apart_ms"][f"{one} and {other}"] = 1000 * float(
            np.concatenate(apart).mean()
        )
    if options.epochs:
        times = {"files": {"source": str(folder / "reference.jsonl")}}
        run = train_job(
            *(options, language, folder, "distill", "connector"),
            segmenter="forced",
            aligner="files",
            aligner_options=json.dumps(times),
            number_of_epochs=options.epochs,
        )
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        plain, _ = rate_names(language)
        test = metrics["test"]
        names = ("token_accuracy", f"retrieval_{plain}", "tokens")
        figures["connector"] = {name: test.get(name) for name in names}
        names = ("none", "text", "gain_kept", "gain_kept_interval")
        figures["connector"] |= {name: test["nll"].get(name) for name in names}
    return figures


def show(figures):
    """Prints the tables of all languages."""
    print("| language | speech | tokens a second | parts of characters | recogniser |")
    print("|---|---|---|---|---|")
    for one in figures:
        plain, whisper = rate_names(one["language"])
        print(
            f"| {one['language']} | {one['recordings']} recordings, "
            f"{one['seconds'] / 60:.1f} min | {one['tokens_per_second']:.1f} | "
            f"{100 * one['tokens_that_are_part_of_a_character']:.0f} % | "
            f"{plain.upper()} {one[f'recogniser_{plain}']:.1f} "
            f"(as Whisper's {one[f'recogniser_{whisper}']:.1f}) |"
        )
    print(
        "\n| language | aligner | aligned | starts off, mean (median) | within 50 ms |"
    )
    print("|---|---|---|---|---|")
    for one in figures:
        for name, x in one["aligners"].items():
            if "start_mae_ms" not in x:
                continue
            print(
                f"| {one['language']} | {name} | {100 * x['aligned']:.1f} % | "
                f"{x['start_mae_ms']:.0f} ({x['start_median_ms']:.0f}) ms | "
                f"{100 * x['within_50_ms']:.0f} % |"
            )
    print("\n| language | starts of tokens apart, mean |")
    print("|---|---|")
    for one in figures:
        apart = one["token_starts_apart_ms"].items()
        print(
            f"| {one['language']} | "
            f"{'; '.join(f'{title} {x:.0f} ms' for title, x in apart)} |"
        )
    read = [one for one in figures if "connector" in one]
    if read:
        print("\n| language | token accuracy | rate | gain kept | text's gain, nats |")
        print("|---|---|---|---|---|")
    for one in read:
        x, (plain, _) = one["connector"], rate_names(one["language"])
        low, high = x["gain_kept_interval"]
        print(
            f"| {one['language']} | {x['token_accuracy']:.1f} % | {plain.upper()} "
            f"{x[f'retrieval_{plain}']:.1f} | {x['gain_kept']:.1f} ({low:.0f} to "
            f"{high:.0f}) | {x['none'] - x['text']:.2f} |"
        )


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("output", type=pathlib.Path, help="folder of what is made")
    parser.add_argument("--encoder_source", required=True, help="a Whisper model")
    parser.add_argument("--llm_source", required=True)
    parser.add_argument("--languages", nargs="+", default=[*LANGUAGES])
    parser.add_argument("--sentences", type=int, default=150, help="of each language")
    parser.add_argument("--together", type=int, default=4, help="in a recording")
    parser.add_argument("--aligner_epochs", type=int, default=30, help="0: no unity2")
    parser.add_argument("--epochs", type=int, default=0, help="of a connector")
    parser.add_argument("--text", default=HANDBOOK, help="the handbook's folder")
    options = parser.parse_args(argv)
    encoder = SpeechEncoder(options.encoder_source)
    llm = TextLLM(options.llm_source)
    figures = []
    for language in options.languages:
        figures.append(run_language(options, language, encoder, llm))
        path = options.output / language / "figures.json"
        path.write_text(json.dumps(figures[-1], indent=1), encoding="utf-8")
    torch.set_grad_enabled(False)
    show(figures)


if __name__ == "__main__":
    main()
