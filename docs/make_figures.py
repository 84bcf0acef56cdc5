"""The pictures of the README, of RESULTS.md and of docs.

python docs/make_figures.py             the plots, of docs/figures/*.json
python docs/make_figures.py MODEL       and the pictures of the idea, as MODEL hears it

``MODEL`` is the output folder of ``hparams/distill.yaml`` on the bundled sample. Each
picture is a PNG and an SVG file. ``seeds.json`` has the epochs of five runs of
``hparams/distill.yaml --segmenter forced`` on the sample, with seeds 1 to 5.
"""

import json
import pathlib
import sys

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

FOLDER = pathlib.Path(__file__).parent / "figures"
SAMPLE = pathlib.Path(__file__).parents[1] / "recipes/sample/corpus/dev-sample"
RECORDING = SAMPLE / "12/1200/12-1200-0000.opus"
SECONDS = 3.2  # of the recording that the idea is shown of
ROW = 5.1  # of the recording whose segments are shown

# Told apart by the colour-blind, and by their shapes.
STYLES = {
    "matched cascade": {"color": "black", "marker": "D", "mfc": "white"},
    "cascade": {"color": "#ff9d08", "marker": "s"},
    "predicted": {"color": "#bd4c04", "marker": "o"},
    "forced": {"color": "#10557a", "marker": "^"},
}
NAMES = {
    "matched cascade": "whisper's own text (matched cascade)",
    "cascade": "the segmenter's hypothesis, as text",
    "predicted": "vectors, predicted segments",
    "forced": "vectors, forced segments",
}


def main(model=None, folder=FOLDER):
    folder = pathlib.Path(folder)
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    draw_gain_kept(folder / "gain_kept.png", results["gain_kept"])
    draw_rivals(folder / "rivals.png", results["rivals"])
    draw_noise(folder / "noise.png", results["noise"])
    draw_seeds(folder / "seeds.png")
    if model is not None:
        from ssr_plugin import SpeechLM

        lm = SpeechLM.from_pretrained(model, device="cpu")
        draw_idea(folder / "idea.png", lm)
        draw_segments(folder, lm)


def draw_gain_kept(path, results):
    """Shares of the text's gain, with intervals where there are any."""
    panels = results["panels"]
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    figure.suptitle(results["title"], fontsize=11)
    for axes, panel in zip(
        figure.subplots(1, len(panels), sharey=True), panels, strict=True
    ):
        axes.set_title(panel["title"], fontsize=9)
        for place, group in enumerate(panel["groups"]):
            step = 0.8 / len(STYLES)
            for i, (kind, style) in enumerate(STYLES.items()):
                if kind not in group["values"]:
                    continue
                value, *interval = group["values"][kind]
                x = place + (i - (len(STYLES) - 1) / 2) * step
                if interval:
                    axes.plot([x, x], interval, color=style["color"], lw=1.5)
                axes.plot(x, value, ls="", ms=7, **style)
                axes.annotate(
                    f"{value:g}",
                    (x, value),
                    (0, 7) if not interval else (7, 4),
                    textcoords="offset points",
                    ha="center" if not interval else "left",
                    fontsize=7,
                )
        names = [group["name"] for group in panel["groups"]]
        axes.set_xticks(range(len(names)), names, fontsize=8)
        axes.set_xlim(-0.55, len(names) - 0.45)
        axes.axhline(100, color="0.4", lw=0.8, ls="--")
        axes.tick_params(axis="y", labelsize=8)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel(results["axis"], fontsize=9)
    figure.axes[0].text(
        -0.5, 100.6, "the transcript itself", fontsize=7, color="0.3", va="bottom"
    )
    handles = [
        Line2D([], [], ls="", label=NAMES[kind], **style)
        for kind, style in STYLES.items()
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    _save(figure, path)


def draw_noise(path, results):
    """Shares of the text's gain over each noise, with 95 % intervals as bands."""
    panels = results["panels"]
    figure = Figure(figsize=(9.5, 6), layout="constrained")
    figure.suptitle(results["title"], fontsize=10)
    for axes, panel in zip(
        figure.subplots(2, 2, sharey=True).flat, panels, strict=True
    ):
        axes.set_title(panel["title"], fontsize=9)
        places = range(len(panel["noises"]))
        for kind, values in panel["lines"].items():
            middle, low, high = np.array(values).T
            style = {**STYLES[kind], "label": NAMES[kind]}
            axes.fill_between(places, low, high, color=style["color"], alpha=0.12, lw=0)
            axes.plot(places, middle, ms=6, **style)
        axes.axhline(100, color="0.4", lw=0.8, ls="--")
        axes.axhline(0, color="0.4", lw=0.8, ls=":")
        axes.set_xticks(places, panel["noises"], fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supylabel(results["axis"], fontsize=8)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, fontsize=8, frameon=False, loc="outside lower center", ncols=3
    )
    _save(figure, path)


def draw_seeds(path):
    """Learning curves of runs that differ in their seed."""
    from ssr_plugin.metrics.pictures import draw_seed_curves

    runs = json.loads((FOLDER / "seeds.json").read_text(encoding="utf-8"))
    for each in (path, path.with_suffix(".svg")):
        draw_seed_curves(each, runs)
    _shrink(path, path, 64)


def draw_rivals(path, results):
    """The LLM's loss by connector; what lies far off is named at the border."""
    connectors = results["connectors"]
    low, high = results["limits"]
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(results["title"], fontsize=11)
    for row, connector in enumerate(connectors):
        given = {kind: connector[kind] for kind in STYLES if kind in connector}
        for kind, value in given.items():
            if value <= high:
                offset = 0.14 if kind == "forced" else -0.14
                axes.plot(value, row - offset, ls="", ms=7, **STYLES[kind])
        if min(given.values()) > high:
            text = ", ".join(f"{kind} {value:.2f}" for kind, value in given.items())
            axes.annotate(f"{text} →", (high, row), ha="right", va="center", fontsize=8)
    for (name, value), style in zip(
        results["lines"].items(), ("-", "--", ":"), strict=True
    ):
        axes.axvline(value, color="0.4", ls=style, lw=1)
        axes.text(value + 0.01, -0.95, f"{name} {value:.2f}", fontsize=7.5, color="0.3")
    labels = [f"{x['name']}\n{x['audio_s_per_s']} s a second" for x in connectors]
    axes.set_yticks(range(len(connectors)), labels, fontsize=8)
    axes.set_ylim(len(connectors) - 0.5, -1.4)
    axes.set_xlim(low, high)
    axes.set_xlabel(results["axis"], fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    handles = [
        Line2D([], [], ls="", label=NAMES[kind], **STYLES[kind])
        for kind in ("forced", "predicted")
    ]
    axes.legend(handles=handles, loc="lower right", fontsize=8)
    _save(figure, path)


def draw_idea(path, lm):
    """Waveform, frames, segments and vectors of a recording, and the LLM's embeddings.

    All is as the model hears it: no transcript is used.
    """
    import torch

    from ssr_plugin.data.audio import read_audio

    rate = lm.encoder.sample_rate
    audio = read_audio(RECORDING, rate)
    speech = lm.embed(RECORDING)
    with torch.no_grad():
        frames, _ = lm.encoder(audio[None], torch.tensor([len(audio)]))
    count = sum(end <= SECONDS for end in speech.ends)
    tokens = torch.tensor(speech.tokens[:count])
    words = [lm.llm.tokenizer.decode([token]).strip() for token in tokens]
    spans = list(zip(speech.starts, speech.ends, strict=True))[:count]
    vectors = speech.vectors[:count]
    embeddings = lm.llm.embed(tokens)
    # Seen from the middle of the table, which all embeddings share.
    mean = lm.llm.table().mean(0)
    alike = torch.cosine_similarity(vectors - mean, embeddings - mean, dim=-1)
    shown = (embeddings - mean).var(0).topk(20).indices.sort().values
    _draw_idea(
        path,
        audio[: round(SECONDS * rate)].numpy(),
        frames[0, : round(SECONDS * lm.encoder.frame_rate)].numpy(),
        spans,
        words,
        (vectors - mean)[:, shown].numpy(),
        (embeddings - mean)[:, shown].numpy(),
        alike.tolist(),
        lm.encoder.frame_rate,
    )


def draw_segments(folder, lm):
    """Forced and predicted segments over each other, and how alike vectors are."""
    import torch

    from ssr_plugin import build
    from ssr_plugin.alignment.base import AlignmentItem
    from ssr_plugin.data.audio import read_audio
    from ssr_plugin.metrics.pictures import (
        draw_segmentations,
        draw_similarity,
        token_labels,
    )

    (transcripts,) = RECORDING.parent.glob("*.trans.txt")
    texts = dict(line.split(" ", 1) for line in transcripts.read_text().splitlines())
    item = AlignmentItem(RECORDING.stem, str(RECORDING), texts[RECORDING.stem])
    alignment = build.aligner("pocketsphinx").align([item])[0]
    forced, predicted = lm.embed(RECORDING, alignment), lm.embed(RECORDING)
    labels = {
        speech.segmentation: token_labels(lm.llm.tokenizer, speech.tokens)
        for speech in (forced, predicted)
    }
    both = [
        (x.segmentation, x.starts, x.ends, labels[x.segmentation])
        for x in (forced, predicted)
    ]
    rate = lm.encoder.sample_rate
    audio = read_audio(RECORDING, rate)[: round(ROW * rate)]
    embeddings = lm.llm.embed(torch.tensor(forced.tokens))
    for kind in ("png", "svg"):
        draw_segmentations(folder / f"segments.{kind}", audio, rate, *both)
        draw_similarity(
            folder / f"similarity.{kind}", forced.vectors, embeddings, labels["forced"]
        )
    for name in ("segments", "similarity"):
        _shrink(folder / f"{name}.png", folder / f"{name}.png", 40)


def _draw_idea(
    path, audio, frames, spans, words, vectors, embeddings, alike, frame_rate
):
    figure = Figure(figsize=(10, 5.9))
    heights = {"audio": 0.6, "frames": 0.8, "segments": 0.45, "vectors": 1.15}
    heights["embeddings"] = heights["vectors"]
    gaps = {"audio": 0.1, "frames": 0.08, "segments": 0.5, "vectors": 0.42}
    left, right, top, page = 2.3, 0.1, 0.12, figure.get_size_inches()
    rows, height = {}, page[1] - top
    for name, tall in heights.items():
        height -= tall
        box = (left / page[0], height / page[1], 1 - (left + right) / page[0])
        rows[name] = figure.add_axes((*box, tall / page[1]))
        rows[name].set_xlim(0, SECONDS)
        rows[name].axis("off")
        height -= gaps.get(name, 0)
    colours = ["#bcd7ea", "#f6cf9d"]

    rows["audio"].plot(np.linspace(0, SECONDS, len(audio)), audio, color="0.25", lw=0.5)
    rows["audio"].set_ylim(-np.abs(audio).max(), np.abs(audio).max())
    bands = frames[:, frames.var(0).argsort()[-16:]]
    bands = (bands - bands.mean(0)) / bands.std(0)
    rows["frames"].imshow(
        bands.T,
        aspect="auto",
        extent=(0, len(frames) / frame_rate, 0, 1),
        cmap="Greys",
        vmin=-2,
        vmax=2.5,
        interpolation="nearest",
    )
    width = 0.75 * min(
        np.diff([(start + end) / 2 for start, end in spans]).min(), SECONDS / 12
    )
    scale = np.abs(embeddings).max()
    for i, ((start, end), word) in enumerate(zip(spans, words, strict=True)):
        colour, middle = colours[i % 2], (start + end) / 2
        rows["segments"].add_patch(
            Rectangle((start, 0), end - start, 1, facecolor=colour, edgecolor="white")
        )
        rows["segments"].text(middle, 0.5, word, ha="center", va="center", fontsize=8.5)
        for name in ("audio", "frames"):
            rows[name].axvspan(start, end, color=colour, alpha=0.35, lw=0)
        for name, values in (("vectors", vectors), ("embeddings", embeddings)):
            rows[name].imshow(
                values[i][:, None],
                aspect="auto",
                extent=(middle - width / 2, middle + width / 2, 0, 1),
                cmap="PuOr",
                vmin=-scale,
                vmax=scale,
                interpolation="nearest",
            )
            rows[name].add_patch(
                Rectangle(
                    (middle - width / 2, 0), width, 1, fill=False, ec="0.4", lw=0.8
                )
            )
        rows["segments"].annotate(
            "",
            (middle, 1.02),
            (middle, 0),
            xycoords=rows["vectors"].transData,
            textcoords="data",
            arrowprops={"arrowstyle": "-|>", "color": "0.35", "shrinkA": 3},
            annotation_clip=False,
        )
        rows["embeddings"].text(
            middle, 1.17, f"{alike[i]:.2f}", ha="center", va="center", fontsize=8
        )
        rows["embeddings"].text(middle, -0.1, word, ha="center", va="top", fontsize=8.5)
    for name in ("vectors", "embeddings"):
        rows[name].set_xlim(0, SECONDS)
        rows[name].set_ylim(0, 1)
    notes = {
        "audio": ("Speech", "16,000 samples a second"),
        "frames": ("Encoder", f"frozen; {frame_rate:g} frames a second"),
        "segments": ("Segments", "one for each LLM token"),
        "vectors": ("Connector, trained", "one vector for each segment"),
        "embeddings": ("LLM, frozen", "its own embeddings of these\nwords as text"),
    }
    for name, (head, text) in notes.items():
        place = rows[name].get_position()
        middle = (place.y0 + place.y1) / 2
        figure.text(0.012, middle + 0.004, head, weight="bold", fontsize=10)
        figure.text(0.012, middle - 0.006, text, fontsize=8.5, va="top", color="0.25")
    figure.text(
        left / page[0],
        0.012,
        "The LLM reads the upper row in place of the lower one: "
        "speech becomes as short as its text.",
        fontsize=10,
    )
    place = rows["embeddings"].get_position()
    figure.text(
        0.012, place.y1 + 0.027, "how alike (cosine)", fontsize=8.5, color="0.25"
    )
    _save(figure, path)


def _save(figure, path):
    """Writes a PNG file, and an SVG file beside it."""
    import io

    from matplotlib import rc_context

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, facecolor="white")
    _shrink(buffer, path)
    # Without time and chance, so that what has not changed is the same file.
    with rc_context({"svg.hashsalt": "ssr_plugin"}):
        figure.savefig(
            path.with_suffix(".svg"), facecolor="white", metadata={"Date": None}
        )


def _shrink(source, path, colours=128):
    """A palette is enough, and a third of the size."""
    from PIL import Image

    Image.open(source).convert("RGB").quantize(colours).save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
