"""What frames in 8 bits cost in reading, beside float16: disk, time, and two scales.

A model of stage 1 reads utterances on the segments of their transcripts, from frames
that a cache of features holds in float16: as they are; rounded to 8 bits with a scale
for each channel, as ``cache_dtype: int8`` keeps them; and with a scale for each frame.
Prints a table.

    python benchmarks/frame_types.py --model results/whisper-smollm --utterances 100
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ssr_plugin import SpeechLM, build
from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.alignment.cache import align
from ssr_plugin.data.frame_rounding import restore_frames, round_frames
from ssr_plugin.data.manifest import read_manifest
from ssr_plugin.encoders.feature_cache import FeatureCache
from ssr_plugin.metrics.second_half_loss import SecondHalfLoss, first_half
from ssr_plugin.metrics.vector_metrics import VectorMetrics
from ssr_plugin.nnet.segments import pad_segments

KINDS = ("float16", "int8, scale of a channel", "int8, scale of a frame")


def keep(frames, kind):
    """Frames [T, D] as tensors that are kept on disk."""
    if kind == KINDS[0]:
        return {"frames": frames}
    turned = kind == KINDS[2]
    values, scale = round_frames((frames.T if turned else frames).numpy())
    values = np.ascontiguousarray(values.T if turned else values)
    return {"frames": torch.from_numpy(values), "scale": torch.from_numpy(scale)}


def read(kept, kind):
    """The frames in float16, of what was kept."""
    if kind == KINDS[0]:
        return kept["frames"]
    values, scale = kept["frames"].numpy(), kept["scale"].numpy()
    if kind == KINDS[2]:
        return torch.from_numpy(restore_frames(values.T, scale).T.copy())
    return torch.from_numpy(restore_frames(values, scale))


def store(frames, kind, folder):
    """Writes utterances and reads them again.

    Returns
    -------
    frames : dict
        By id.
    size : int
        bytes
    seconds : float
        Of the processor, to read all.
    """
    for i, x in enumerate(frames.values()):
        save_file(keep(x, kind), folder / f"{i}.safetensors")
    size, found = sum(path.stat().st_size for path in folder.iterdir()), {}
    begin = time.process_time()
    for i, name in enumerate(frames):
        found[name] = read(load_file(folder / f"{i}.safetensors"), kind)
    return found, size, time.process_time() - begin


@torch.no_grad()
def score(lm, frames, segments):
    """Metrics of what the model reads from frames."""
    table = lm.llm.table()
    seen = torch.ones(len(table), dtype=torch.bool)
    metrics = VectorMetrics(lm.llm.tokenizer, table, seen)
    losses = SecondHalfLoss(lm.llm)
    for name, x in frames.items():
        boundaries, starts, tokens = pad_segments([segments[name]])
        arguments = (x[None].float(), boundaries, starts)
        vectors, kept = lm.embedder.read(*arguments)
        transcript = torch.as_tensor(segments[name].tokens)
        metrics.add(name, vectors[0][kept[0]], transcript, len(x) / 50)
        first = first_half(starts[0], boundaries[0], torch.as_tensor(starts[0]))
        losses.add(vectors[0][kept[0] & first], transcript)
    return metrics.summary() | losses.summary()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, required=True, help="run folder")
    parser.add_argument("--split", default="valid", help="of its manifests")
    parser.add_argument("--cache", type=pathlib.Path, default="results/cache")
    parser.add_argument("--aligner", default="pocketsphinx")
    parser.add_argument("--utterances", type=int, default=100)
    options = parser.parse_args()
    torch.manual_seed(0)
    lm = SpeechLM.from_pretrained(options.model)
    rows = read_manifest(options.model / "manifests" / f"{options.split}.csv")
    # From all over the split.
    step = max(len(rows) // options.utterances, 1)
    rows = dict(list(rows.items())[::step][: options.utterances])
    items = [AlignmentItem(name, row["wav"], row["wrd"]) for name, row in rows.items()]
    aligner = build.aligner(options.aligner, {})
    alignments, _ = align(items, aligner, options.cache / "alignments")
    cache = FeatureCache(options.cache / "features", lm.encoder)
    cache.build(rows)
    frames = {x: cache.get(x, dtype=None) for x in rows if x in alignments}
    forced = dict(lm.segmenters)["forced"]
    segments = {x: forced.segment(alignments[x], len(frames[x])) for x in frames}
    seconds = sum(rows[x]["duration"] for x in frames)
    print(f"{len(frames)} utterances of {options.split}, {seconds:.0f} s of audio")
    print(
        "frames | MB an hour | reading an hour, s | off by, % | token accuracy, % | "
        "gain kept, % | WER, %"
    )
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            found, size, busy = store(frames, kind, pathlib.Path(folder))
        off = np.mean(
            [
                ((found[x].float() - y.float()).norm() / y.float().norm()).item()
                for x, y in frames.items()
            ]
        )
        result = score(lm, found, segments)
        low, high = result["gain_kept_interval"]
        print(
            f"{kind} | {size / 1e6 / seconds * 3600:.0f} | "
            f"{busy / seconds * 3600:.2f} | {100 * off:.3g} | "
            f"{result['token_accuracy']:.5g} | "
            f"{result['gain_kept']:.2f} ({low:.2f} to {high:.2f}) | "
            f"{result['retrieval_wer']:.4g}",
            flush=True,
        )


if __name__ == "__main__":
    main()
