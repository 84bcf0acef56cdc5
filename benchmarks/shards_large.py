"""A made-up corpus of shards of 10 million utterances: opened, resumed, trained on.

Its shards are links to one, so that it needs little disk; a run cannot tell. Each thing
is done by a process of its own, and its time and memory are printed: to open the corpus
and plan an epoch; to find the middle of it; and, with ``--train``, the whole command of
stage 1 up to its 100th step, on the sample's models.

    python benchmarks/shards_large.py --folder /tmp/large --train
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import torch

from ssr_plugin.data import shards
from ssr_plugin.files import digest

PROJECT = pathlib.Path(__file__).resolve().parents[1]
ENCODER = PROJECT / "recipes" / "sample" / "encoder"
TEXT = "the man gave the cat some milk"
SECONDS = 2.0
SHARD_SIZE = 1000
BATCH_SECONDS = 40.0


def make_corpus(folder, utterances):
    """A corpus whose training shards all hold the same utterances: frames of noise."""
    from ssr_plugin.training.make_shards import Frames

    folder.mkdir(parents=True)
    encoder = Frames(str(ENCODER)).load()
    noise = 0.02 * torch.randn(1, round(SECONDS * encoder.sample_rate))
    with torch.no_grad():
        frames, _ = encoder(noise, torch.tensor([noise.shape[1]]))
    frames = frames[0].half().numpy()
    words, units = TEXT.split(), []
    step, offset = SECONDS / len(words), 0
    for i, word in enumerate(words):
        units.append([word, i * step, (i + 1) * step, offset])
        offset += len(word) + 1
    alignment = {"kind": "word", "duration": SECONDS, "units": units}

    def samples(count):
        for i in range(count):
            yield shards.ShardSample(
                f"{i}", TEXT, "nobody", SECONDS, 16000, alignment, frames=frames
            )

    valid = shards.write_shard(folder / "valid", "000000", samples(20), {})
    first = shards.write_shard(folder / "train", "000000", samples(SHARD_SIZE), {})
    entries = []
    for number in range(utterances // SHARD_SIZE):
        name = shards.shard_name(number)
        for ending in (".tar", ".index.npy") if number else ():
            os.link(
                folder / "train" / f"000000{ending}",
                folder / "train" / f"{name}{ending}",
            )
        entries.append({**first, "name": name, "ids": digest(number)})
    kept = {"source": str(ENCODER), "encoder": encoder.identity()}
    made_of = {"aligner": "made up", "audio": False, "frames": kept}
    splits = {"train": entries, "valid": [valid]}
    shards.write_list(folder, splits, {}, made_of)


def open_corpus(folder):
    """Opens it and plans an epoch; prints its time, and the memory that it took."""
    from ssr_plugin.training.shard_batches import ShardBatchSampler, ShardPlan

    before, begin = rss_mb(), clock()
    split = shards.Shards(folder)["train"]
    opened = clock()
    plan = ShardPlan(split.durations, split.starts, BATCH_SECONDS, seed=1)
    sampler = ShardBatchSampler(plan)
    sampler.set_epoch(1)
    steps = len(sampler)
    planned = clock()
    print(
        f"{len(split)} utterances, {steps} steps: opened in {told(opened - begin)}, "
        f"planned in {told(planned - opened)} more; memory {rss_mb() - before:.0f} MB "
        f"beside {before:.0f} MB of imports",
        flush=True,
    )
    begin = clock()
    order = iter(sampler)
    for _ in range(steps // 2):
        next(order)
    rows = plan.batch(next(order))
    print(
        f"the middle of the epoch, and its batch of {len(rows)} utterances: "
        f"{told(clock() - begin)}",
        flush=True,
    )


def clock():
    """Time on the wall and of the processor, s."""
    return np.array([time.perf_counter(), time.process_time()])


def told(times):
    """Such a time in words."""
    return f"{times[0]:.2f} s (the processor's: {times[1]:.2f} s)"


def rss_mb():
    """Memory that this process holds, in MB (Linux)."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def train(folder, output):
    """Trains 100 steps by the command; prints the time from it to the last of them."""
    line = [sys.executable, "-m", "ssr_plugin", "train"]
    line += [str(PROJECT / "hparams" / "distill.yaml"), "--data_folder", str(folder)]
    line += ["--output_folder", str(output), "--cache_folder", str(output / "cache")]
    line += ["--segmenter", "forced", "--score_with_llm", "False"]
    # SpeechBrain's way to end an epoch early.
    line += ["--debug", "--debug_batches", "100", "--debug_epochs", "1"]
    before, begin = os.times(), time.perf_counter()
    subprocess.run(line, check=True, cwd=PROJECT)
    seconds, after = time.perf_counter() - begin, os.times()
    busy = after.children_user + after.children_system
    busy -= before.children_user + before.children_system
    print(
        f"100 steps, and the report after them: {seconds:.0f} s from the command, of "
        f"which its processes had a core for {busy:.0f} s"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--utterances", type=int, default=10_000_000)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--keep", action="store_true", help="do not delete the folder")
    parser.add_argument("--open", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        open_corpus(options.folder / "shards")
        return
    make_corpus(options.folder / "shards", options.utterances)
    try:
        line = [sys.executable, __file__, "--open", "--folder", str(options.folder)]
        subprocess.run(line, check=True)
        if options.train:
            train(options.folder / "shards", options.folder / "run")
    finally:
        if not options.keep:
            shutil.rmtree(options.folder)


if __name__ == "__main__":
    main()
