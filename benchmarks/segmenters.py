"""Trained segmenters, side by side: where they put boundaries, and what they hear.

    python benchmarks/segmenters.py results/segmenter results/boundary
    python benchmarks/segmenters.py results/segmenter --dataset ljspeech \\
        --data_folder /data/LJSpeech-1.1 --aligner files \\
        --aligner_options "{files: {source: /data/LJSpeech-1.1/TextGrid}}"

Boundaries are compared with the forced segments that the chosen aligner gives: with
``files``, those of another tool or of a human. Segmenters must be of one encoder and
one LLM, which are taken from the first.
"""

import argparse

import torch
from speechbrain.utils.distributed import infer_device

from ssr_plugin.hparams import parse_command_line
from ssr_plugin.metrics.segmentation_metrics import SegmentationMetrics
from ssr_plugin.metrics.wer import rate_names
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.base import FrameSegmenter
from ssr_plugin.segmenters.trained import load_segmenter, read_settings
from ssr_plugin.training.data_pipeline import make_splits
from ssr_plugin.training.job_language import with_language
from ssr_plugin.training.loop import make_loaders
from ssr_plugin.training.run_job import prepare_on_main

COLUMNS = {
    "boundary MAE ms": "boundary_mae_ms",
    "F1 % (50 ms)": "boundary_f1",
    "precision %": "boundary_precision",
    "recall %": "boundary_recall",
    "count error %": "count_error",
    "segments/token": "segments_per_token",
}
YAML = "hparams/segmenter.yaml"


@torch.no_grad()
def score(segmenter, loader, encoder, tokenizer, language):
    """What a segmenter finds in a split: :class:`SegmentationMetrics`' summary."""
    metrics = SegmentationMetrics(tokenizer, encoder.frame_rate, language)
    device = next(segmenter.parameters()).device
    for batch in loader:
        found = segmenter.segment_frames(batch.inputs.to(device), batch.lengths)
        for name, own, wanted in zip(batch.ids, found, batch.segments, strict=True):
            metrics.add(name, own.segments, wanted)
    return metrics.summary()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog=f"Any other --key value overrides {YAML}.",
    )
    parser.add_argument("folders", nargs="+", help="of trained segmenters")
    options, rest = parser.parse_known_args()
    settings = read_settings(options.folders[0])
    for folder in options.folders:
        name = read_settings(folder)["segmenter"]
        if not get_registry().segmenters.makes(name, FrameSegmenter):
            parser.error(
                f"{folder}: {name} aligns a known text and finds no segments in audio "
                f"alone; compare its alignments by "
                f"ssr_plugin.alignment.compare_alignments"
            )
    first = {
        "encoder_source": settings["encoder"]["source"],
        "llm_source": settings["llm"]["source"],
        "output_folder": "results/segmenters",
    }
    first = [f"--{key}={value}" for key, value in first.items()]
    job = parse_command_line([YAML, *first, *rest], "benchmarks/segmenters.py")
    dataset = job.dataset_class()(job.settings["data_folder"])
    job = with_language(job, dataset.language)
    hparams = job.load()
    manifests = prepare_on_main(dataset, hparams)
    splits = make_splits(hparams, {}, manifests)
    encoder, llm = hparams["encoder"], hparams["llm"]
    loaders = make_loaders(splits, hparams["batch_seconds"])
    rate, _ = rate_names(hparams["language"])
    columns = {**COLUMNS, f"hypothesis {rate.upper()} %": f"hypothesis_{rate}"}
    print("| segmenter | split | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 2) + "|")
    for folder in options.folders:
        segmenter = load_segmenter(folder, encoder, llm).to(infer_device())
        for split, loader in loaders.items():
            figures = score(
                segmenter, loader, encoder, llm.tokenizer, hparams["language"]
            )
            values = (figures[key] for key in columns.values())
            shown = ("-" if value is None else f"{value:.3g}" for value in values)
            print(f"| {folder} | {split} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
