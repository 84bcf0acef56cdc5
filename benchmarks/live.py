"""Speech that is still going on: how late, how well, how fast, in how much memory.

    python benchmarks/live.py
    python benchmarks/live.py --model results/whisper-smollm \\
        --data_folder /data/LibriSpeech --split test-other --limit 50

Recordings are read chunk by chunk, and as a whole ("offline"), by the same model. A
word's latency is the audio from its end, by a forced alignment, until its last token
is settled; the time that computing takes comes on top. Files beside the corpus
(alignments/) or pocketsphinx say where words end.
"""

import argparse
import dataclasses
import itertools
import json
import os
import pathlib
import time

import numpy as np
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.formats import Timed, alignment_files, read_file
from ssr_plugin.alignment.quality import match_words
from ssr_plugin.cli.show import timed_words
from ssr_plugin.data.audio import read_audio
from ssr_plugin.data.librispeech import LibriSpeech
from ssr_plugin.inference.speech_stream import (
    FRAMES,
    HEARING,
    SpeechStream,
    StreamSettings,
)
from ssr_plugin.metrics.wer import WER, WordErrorRate
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.base import HearingSegmenter

CHUNK = 0.08


def find_words(data_folder, utterances):
    """Words and their times of utterances, by id: (word, start, end), s."""
    folder = pathlib.Path(data_folder) / "alignments"
    if folder.is_dir():
        return {
            record.id: record.words()
            for path in alignment_files(folder)
            for record in read_file(path)
        }
    items = [AlignmentItem(x.id, x.wav, x.text) for x in utterances]
    aligned = get_registry().aligners.get("pocketsphinx")().align(items)
    return {
        x.id: Timed(
            x.id, tuple((u.text, u.start, u.end) for u in x.units), "word"
        ).words()
        for x in aligned
        if hasattr(x, "units")
    }


@dataclasses.dataclass
class Heard:
    """What a stream gave, and when: audio heard by each piece, s of each step."""

    pieces: list
    came: list
    steps: list
    seconds: float

    def words(self, tokenizer):
        """(word, start, end), and with each the audio heard when it was settled."""
        tokens = [token for piece in self.pieces for token in piece.tokens]
        fields = {
            name: [x for piece in self.pieces for x in getattr(piece, name)]
            for name in ("starts", "ends")
        }
        came = {
            round(end, 6): when
            for piece, when in zip(self.pieces, self.came, strict=True)
            for end in piece.ends
        }
        words = timed_words(argparse.Namespace(tokens=tokens, **fields), tokenizer)
        return words, [came[round(end, 6)] for _, _, end in words]


def listen(lm, wav, settings, lm_fusion):
    """Reads a recording chunk by chunk."""
    rate = lm.encoder.sample_rate
    stream = SpeechStream(lm.embedder, lm_fusion=lm_fusion, settings=settings)
    heard = Heard([], [], [], len(wav) / rate)
    chunks = [*wav.split(round(CHUNK * rate)), None]
    for chunk in chunks:
        begin, before = time.perf_counter(), stream.seconds
        pieces = stream.finish() if chunk is None else stream.push(chunk)
        if stream.seconds > before:
            heard.steps.append(time.perf_counter() - begin)
        heard.pieces += pieces
        heard.came += [stream.seconds] * len(pieces)
    return heard


def measure(lm, wavs, texts, words, settings, lm_fusion):
    """Latency, WER and rate of recordings as streams, beside the offline WER."""
    offline, live = WordErrorRate(), WordErrorRate()
    tokenizer = lm.llm.tokenizer
    late, steps, cpu, seconds = [], [], 0.0, 0.0
    for name, wav in wavs.items():
        whole = lm.embed((wav, lm.encoder.sample_rate), lm_fusion=lm_fusion)
        offline.add(texts[name], whole.text)
        begin = time.process_time()
        heard = listen(lm, wav, settings, lm_fusion)
        cpu += time.process_time() - begin
        tokens = [token for piece in heard.pieces for token in piece.tokens]
        live.add(texts[name], lm.embedder.spell(tokens))
        own, came = heard.words(tokenizer)
        pairs = match_words(own, words.get(name, []))
        # The end of a recording settles all: that says nothing about a stream.
        late += [
            came[i] - words[name][j][2] for i, j in pairs if came[i] < heard.seconds
        ]
        steps += heard.steps
        seconds += heard.seconds
    return {
        "utterances": len(wavs),
        "audio s": seconds,
        "offline WER %": offline.summary()[WER],
        "live WER %": live.summary()[WER],
        "latency of words s, median": float(np.median(late)) if late else None,
        "latency of words s, 95 %": float(np.quantile(late, 0.95)) if late else None,
        "latency of words s, most": max(late, default=None),
        "computing of a step s, median": float(np.median(steps)),
        "computing of a step s, most": max(steps),
        "real-time factor": sum(steps) / seconds,
        # What others do on the machine meanwhile does not count.
        "CPU s for a second": cpu / seconds,
    }


def memory():
    """What the process holds, MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_memory(lm, wavs, settings, lm_fusion, minutes):
    """Memory that a process holds while a stream of recordings goes on, by minute."""
    rate = lm.encoder.sample_rate
    stream = SpeechStream(lm.embedder, lm_fusion=lm_fusion, settings=settings)
    held, most = {}, 0.0
    marks = [x for x in (1, 2, 5, 10, 20, 30, 60, 120, 180) if x <= minutes]
    for wav in itertools.cycle(wavs.values()):
        for chunk in wav.split(round(CHUNK * rate)):
            stream.push(chunk)
            most = max(most, memory())
        if stream.seconds >= 60 * marks[0]:
            held[marks.pop(0)] = most
            if not marks:
                return held


def main(words=None):
    """Prints a table, and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="results/distill")
    parser.add_argument("--encoder_source")
    parser.add_argument("--llm_source")
    parser.add_argument("--segmenter")
    parser.add_argument("--data_folder", default="recipes/sample/corpus")
    parser.add_argument("--split", default="test-sample")
    parser.add_argument("--limit", type=int, help="utterances, spread over the split")
    parser.add_argument(
        "--join", type=int, default=1, help="utterances in a row to a recording"
    )
    parser.add_argument("--lm_fusion", action="store_true")
    parser.add_argument("--minutes", type=int, default=0, help="of memory's stream")
    parser.add_argument("--output", help="JSON lines; a line is added for each call")
    for field in dataclasses.fields(StreamSettings):
        parser.add_argument(f"--{field.name}", type=float)
    options = parser.parse_args(words)
    lm = SpeechLM.from_pretrained(
        options.model,
        encoder_source=options.encoder_source,
        llm_source=options.llm_source,
        segmenter=options.segmenter,
    )
    hears = isinstance(lm.embedder.predicting, HearingSegmenter)
    given = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(StreamSettings)
        if getattr(options, field.name) is not None
    }
    settings = dataclasses.replace(HEARING if hears else FRAMES, **given)
    utterances = [
        x for x in LibriSpeech(options.data_folder).utterances(options.split) if x.text
    ]
    if options.limit:
        step = max(len(utterances) // options.limit, 1)
        utterances = utterances[::step][: options.limit]
    aligned = find_words(options.data_folder, utterances)
    wavs, texts, times = {}, {}, {}
    rate = lm.encoder.sample_rate
    for first in range(0, len(utterances), options.join):
        group = utterances[first : first + options.join]
        name, parts, shifted = group[0].id, [], []
        for x in group:
            begin = sum(map(len, parts)) / rate
            parts.append(read_audio(x.wav, rate))
            shifted += [(w, begin + a, begin + b) for w, a, b in aligned.get(x.id, [])]
        wavs[name], times[name] = torch.cat(parts), shifted
        texts[name] = " ".join(x.text for x in group)
    figures = {"model": options.model, "split": options.split, "join": options.join}
    figures |= {"lm_fusion": options.lm_fusion, **dataclasses.asdict(settings)}
    figures |= {"threads": torch.get_num_threads(), "device": str(lm.device)}
    figures |= measure(lm, wavs, texts, times, settings, options.lm_fusion)
    if options.minutes:
        figures["memory MB after minutes"] = measure_memory(
            lm, wavs, settings, options.lm_fusion, options.minutes
        )
    for name, value in figures.items():
        shown = f"{value:.3g}" if isinstance(value, float) else value
        print(f"| {name} | {shown} |")
    if options.output:
        with open(options.output, "a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")
    return figures


if __name__ == "__main__":
    main()
