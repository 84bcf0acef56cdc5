"""SSR and its rivals, side by side: same features, LLM, data, seed and time to train.

Each contender trains for the same wall-clock time in a process of its own, one after
another, and is then scored on the test splits. On the bundled sample, or on real data
by the overrides that the recipe takes:

    python benchmarks/connectors.py --minutes 0.5
    python benchmarks/connectors.py --minutes 4 --data_folder /data/LibriSpeech \\
        --encoder_source openai/whisper-base --llm_source HuggingFaceTB/SmolLM2-135M \\
        --segmenter results/segmenter

With the folder of a trained segmenter (hparams/segmenter.yaml) there are columns for
predicted segments; contenders of a fixed rate have no others. Writes a table
(connectors.md), all figures (connectors.json) and a picture (connectors.png) to
``output_folder``.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import time

import torch
from matplotlib.figure import Figure

from ssr_plugin import build
from ssr_plugin.connectors.ssr import PUBLISHED
from ssr_plugin.hparams import parse_command_line
from ssr_plugin.segmenters.fixed import FixedSegmenter
from ssr_plugin.training.batch_size import resolve_batch
from ssr_plugin.training.batches import training_sampler
from ssr_plugin.training.brain import ReadOptions
from ssr_plugin.training.data_pipeline import make_splits
from ssr_plugin.training.distill_brain import DistillBrain
from ssr_plugin.training.job_language import with_language
from ssr_plugin.training.loop import make_loaders
from ssr_plugin.training.run_job import prepare_on_main
from ssr_plugin.training.run_report import peak_rss_mb
from ssr_plugin.training.schedule import set_learning_rate, warmup_cosine

YAML = "hparams/distill.yaml"
HIDDEN = {"hidden_size": 2048}
DISTIL = {"llm_weight": 0.0}
PUBLISHED_LOSS = {**DISTIL, "ce_weight": 0.0, "centered": False}
THROUGH = {"mse_weight": 0.0, "cosine_weight": 0.0, "ce_weight": 0.0, "llm_weight": 1.0}


@dataclasses.dataclass
class Contender:
    """A connector, how it is trained, and on which segments.

    Arguments
    ---------
    connector : str
    weights : dict
        Of the losses.
    options : dict
        Of the connector.
    rate : float or None
        Segments a second, where they are of a fixed length; else those of tokens.
    """

    connector: str
    weights: dict
    options: dict = dataclasses.field(default_factory=dict)
    rate: float | None = None


CONTENDERS = {
    "SSR": Contender("ssr", DISTIL, {"dropout": 0.2, "gram_dropout": 0.2}),
    "SSR as published": Contender("ssr", PUBLISHED_LOSS, PUBLISHED),
    "mean, distilled": Contender("mean", DISTIL, HIDDEN),
    "CIF, distilled": Contender("cif", DISTIL, HIDDEN),
    "mean (CTC-compress), LLM": Contender("mean", THROUGH, HIDDEN),
    "CIF, LLM": Contender("cif", THROUGH, HIDDEN),
    "stack + MLP, LLM": Contender("stack_mlp", THROUGH, {"stack": 10}, rate=5.0),
    "convolution, LLM": Contender("conv", THROUGH, {"strides": (2, 5)}, rate=5.0),
    "window Q-Former, LLM": Contender("qformer", THROUGH, rate=3.0),
}
COLUMNS = {
    "train audio s/s": "train.audio_s_per_s",
    "parameters M": "train.parameters_m",
    "peak MB": "train.peak_rss_mb",
    "vectors/s": "any.vectors_per_second",
    "cosine": "forced.cosine",
    "token acc. %": "forced.token_accuracy",
    "WER forced": "forced.retrieval_wer",
    "WER predicted": "predicted.retrieval_wer",
    "WER forced, LM fusion": "forced.lm_fusion.retrieval_wer",
    "WER predicted, LM fusion": "predicted.lm_fusion.retrieval_wer",
    "prompted WER forced": "forced.prompted_wer",
    "prompted WER predicted": "predicted.prompted_wer",
    "NLL forced": "forced.nll.speech",
    "NLL predicted": "predicted.nll.speech",
    "NLL cascade": "predicted.nll.cascade",
    "NLL text": "any.nll.text",
    "NLL none": "any.nll.none",
}


class TimedBrain(DistillBrain):
    """Trains for a time, not for epochs."""

    minutes = 1.0

    def on_fit_batch_start(self, batch, should_step):
        """The learning rate by the clock."""
        done = min((time.time() - self.started) / 60 / self.minutes, 1.0)
        rate = self.hparams.lr * warmup_cosine(done, self.hparams.warmup)
        set_learning_rate(self.optimizer, rate)

    def fit_for(self, dataset, minutes, batch_seconds, seed):
        """Trains on batches of the recipe's kind until the time is over."""
        sampler = training_sampler(dataset, batch_seconds, seed)
        loader = torch.utils.data.DataLoader(
            dataset, batch_sampler=sampler, collate_fn=self.collate
        )
        self.on_fit_start()
        self.modules.train()
        self.minutes, self.started, epoch = minutes, time.time(), 0
        while True:
            sampler.set_epoch(epoch)
            self.collate.epoch = epoch
            for batch in loader:
                self.step += 1
                self.fit_batch(batch)
                if time.time() - self.started > 60 * minutes:
                    return
            epoch += 1


def run(name, minutes, job):
    """Trains and scores one contender.

    Returns
    -------
    dict
        "train", and for each split and kind of segments what the recipe reports.
    """
    contender = CONTENDERS[name]
    dataset = job.dataset_class()(job.settings["data_folder"])
    hparams = with_language(job, dataset.language).load()
    hparams |= resolve_batch(hparams, 0.0, "cpu")
    manifests = prepare_on_main(dataset, hparams)
    splits = make_splits(hparams, {}, manifests)
    encoder, llm = hparams["encoder"], hparams["llm"]
    hparams |= contender.weights
    options = {contender.connector: contender.options}
    hparams["modules"]["connector"] = build.connector(
        contender.connector, encoder, llm, options
    )
    segmenter = hparams["segmenters"]["predicted"]
    if contender.rate:
        segmenter = FixedSegmenter(
            encoder.width, llm, encoder.frame_rate, contender.rate
        )
        hparams["predicted_share"] = 1.0
    seen = torch.zeros(llm.vocab_size, dtype=torch.bool)
    for segments in splits["train"].segments.values():
        seen[segments.tokens] = True
    if contender.weights["llm_weight"]:
        llm.load_model()
    brain = TimedBrain(
        seen_tokens=seen,
        segmenter=segmenter,
        modules=hparams["modules"],
        hparams=hparams,
    )
    trained = splits["train"].dataset
    brain.fit_for(trained, minutes, hparams["batch_seconds"], hparams["seed"])
    size = sum(p.numel() for p in brain.modules.connector.parameters())
    figures = {
        "train": {
            "audio_s_per_s": brain.audio_seconds / brain.train_seconds,
            "parameters_m": size / 1e6,
            "peak_rss_mb": peak_rss_mb(),
        }
    }
    for split, loader in make_loaders(splits, hparams["batch_seconds"]).items():
        if split == "valid" and len(splits) > 2:
            continue
        figures[split] = {}
        for predicted in (False, True):
            if (predicted and segmenter is None) or (not predicted and contender.rate):
                continue
            options = ReadOptions(predicted=predicted, lm_fusion=brain.scores_tokens)
            scorer = brain.make_scorer(options, transcribes=True)
            key = "predicted" if predicted else "forced"
            figures[split][key] = brain.score(loader, scorer, options)
    return figures


def look_up(figures, split, place):
    """A figure by its place, such as "forced.nll.speech"; None if there is none."""
    kind, *rest = place.split(".")
    found = figures["train"] if kind == "train" else figures[split].get(kind)
    if kind == "any":
        found = figures[split].get("predicted") or figures[split].get("forced")
    for key in rest:
        found = (found or {}).get(key)
    return found


def table(results, split):
    """A Markdown table: a row for each contender."""
    lines = [
        f"| {split} | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for name, figures in results.items():
        values = (look_up(figures, split, place) for place in COLUMNS.values())
        shown = ("-" if value is None else f"{value:.3g}" for value in values)
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def draw(path, results, split):
    """Draws the loss and the word error rates of all contenders."""
    figure = Figure(figsize=(11, 1.2 + 0.45 * len(results)), layout="constrained")
    figure.suptitle(f"{split}: same features, data and time to train", fontsize=10)
    panels = (
        ("LLM's loss on second halves, nats", ("NLL forced", "NLL predicted")),
        ("WER of the nearest tokens, %", ("WER forced", "WER predicted")),
        ("audio seconds trained a second", ("train audio s/s",)),
    )
    names = list(results)
    for axes, (title, keys) in zip(figure.subplots(1, 3), panels, strict=True):
        for i, key in enumerate(keys):
            values = [look_up(results[n], split, COLUMNS[key]) or 0 for n in names]
            places = [k + 0.4 * i - 0.2 * (len(keys) > 1) for k in range(len(names))]
            axes.barh(places, values, 0.4, label=key.split()[-1])
        axes.set_title(title, fontsize=9)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.invert_yaxis()
        if len(keys) > 1:
            axes.legend(fontsize=7)
        if axes is not figure.axes[0]:
            axes.set_yticklabels([])
        if "loss" in title:
            first = results[names[0]]
            for key in ("NLL text", "NLL none"):
                value = look_up(first, split, COLUMNS[key])
                axes.axvline(value, color="gray", linestyle=":")
                axes.text(value, -0.6, key.split()[-1], fontsize=7, ha="center")
            axes.set_xlim(left=0.9 * look_up(first, split, COLUMNS["NLL text"]))
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog=f"Any other --key value overrides {YAML}.",
    )
    parser.add_argument("--minutes", type=float, default=0.5, help="of training, each")
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), help="of these")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    words = [YAML, "--output_folder", "results/connectors", *rest]
    job = parse_command_line(words, "benchmarks/connectors.py")
    folder = pathlib.Path(job.settings["output_folder"])
    folder.mkdir(parents=True, exist_ok=True)
    if options.contender:
        figures = run(options.contender, options.minutes, job)
        path = folder / f"{options.contender}.json"
        path.write_text(json.dumps(figures, indent=2))
        return
    results = {}
    for name in options.only:
        print(f"== {name}", flush=True)
        command = [sys.executable, __file__, *rest, "--minutes", str(options.minutes)]
        subprocess.run([*command, "--contender", name], check=True)
        results[name] = json.loads((folder / f"{name}.json").read_text())
    (folder / "connectors.json").write_text(json.dumps(results, indent=2))
    tables = []
    for split in next(iter(results.values())):
        if split != "train":
            tables.append(table(results, split))
            draw(folder / f"connectors-{split}.png", results, split)
    (folder / "connectors.md").write_text("\n\n".join(tables) + "\n")
    print("\n\n".join(tables))
    print(f"\nTables and pictures are in {folder}")
    base = results.get("stack + MLP, LLM")
    if base:
        own = base["train"]["audio_s_per_s"]
        for name, figures in results.items():
            ratio = figures["train"]["audio_s_per_s"] / own
            print(f"{name}: {ratio:.2f} x the training speed of stack + MLP")


if __name__ == "__main__":
    main()
