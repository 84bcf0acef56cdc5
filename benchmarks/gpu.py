"""How much audio a second a GPU gets through, and how much of the time it is busy.

One command, nothing to download, under eight minutes on one GPU; without a GPU the same
on smaller models, in a few minutes:

    python benchmarks/gpu.py
    python benchmarks/gpu.py --only loop encode --num_workers 8
    python benchmarks/gpu.py --profile loop stage2

Parts:

- ``steps``: bare optimiser steps of SSR's forms and of the usual rival: frames stacked,
  an MLP, and the transcript's loss through the whole LLM. Random frames, random LLMs of
  Llama's shapes; on a CPU the sample's LLM and a small one. Or of ``--llm``.
- ``encode``: audio files to frames on disk, as the recipes do before they train.
- ``loop``: the recipe's stage 1 from these frames, its loader and Brain.
- ``embed``: audio files to vectors, as in use.
- ``stage2``: the recipe's stage 2, adapters in the LLM.

Speech is the bundled sample's, joined to utterances of 12 to 16 s. Each part runs in a
process of its own; one that fails or takes too long is reported, with what it had, and
the next goes on. After each, ``gpu.json`` and ``gpu.md`` in ``output_folder`` are
written anew.

"busy" is the time in which a kernel or a copy runs on the GPU, as the share of the time
that the same work takes when nothing watches it. "kernels" are launches a step,
"operators" what the host asks for in a step (the same on every device).
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import torch
from gpu_parts import (
    ON_CPU,
    ON_GPU,
    PARTS,
    PROFILED,
    PROGRAM,
    Setting,
    make_quick,
    reason,
)

from ssr_plugin.files import atomic_path, digest
from ssr_plugin.hparams import parse_command_line

# Figures of other systems, not measured here: audio s/s of one GPU, what that is, and
# the parts that are compared to it.
ANCHORS = {
    "ACIF": (1750, "trains on cached features, A100; at most", ["loop"]),
    "DirectSpeech2LLM 1": (1111, "its stage 1, trains the encoder; at most", ["loop"]),
    "Granite-NAR": (564, "trains", ["loop", "stage2"]),
    "DirectSpeech2LLM 2": (556, "its stage 2, an LLM of 4B; at most", ["stage2"]),
    "embedding, low": (1820, "RTFx of embedding speech, from", ["embed"]),
    "embedding, high": (3935, "RTFx of embedding speech, to", ["embed"]),
}
# What "steps" are compared to.
RIVALS = {"stack 10 + MLP, LLM": "stack 10", "stack 5 + MLP, LLM": "stack 5"}
# What each part may take, s: less than eight minutes in all.
LIMITS = {"steps": 140, "encode": 50, "loop": 110, "embed": 50, "stage2": 120}
PROFILE_LIMIT = 120
YAMLS = {"loop": "distill", "stage2": "finetune"}
COLUMNS = {
    "llm": "LLM",
    "batch": "utterances",
    "batch_seconds": "batch s",
    "audio_s_per_s": "audio s/s",
    "loader_audio_s_per_s": "loader alone",
    "ms": "ms a step",
    "busy": "GPU busy %",
    "kernels": "kernels",
    "copies": "copies",
    "operators": "operators",
    "peak_gib": "peak GiB",
}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Any other --key value overrides the YAML of loop and that of stage2.",
        allow_abbrev=False,
    )
    parser.add_argument("--output_folder", default="results/gpu", type=pathlib.Path)
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), default=[*LIMITS])
    parser.add_argument(
        "--profile",
        nargs="*",
        choices=list(PROFILED),
        help="only tell where these spend their time; loop if none is named",
    )
    parser.add_argument(
        "--quick", action="store_true", help="see in a minute that all runs"
    )
    parser.add_argument(
        "--llm",
        nargs="+",
        help="of the steps: tiny, 135m, 1b, 8b, sample, a folder or a hub id",
    )
    parser.add_argument("--width", type=int, help="of the steps' frames")
    parser.add_argument("--device", help="by default a GPU if there is one")
    parser.add_argument("--run_part", help=argparse.SUPPRESS)
    argv = [str(word) for word in (sys.argv[1:] if argv is None else argv)]
    options, overrides = parser.parse_known_args(argv)
    setting = make_setting(options, overrides)
    if options.run_part:
        run_part(options.run_part, setting, figures_file(options, options.run_part))
        return
    profiles = options.profile is not None
    parts = ["profile"] if profiles else options.only
    try:
        check_overrides(setting.profiled if profiles else parts, overrides)
    except ValueError as error:
        parser.error(str(error))
    started = time.time()
    shutil.rmtree(setting.folder, ignore_errors=True)
    for folder in (setting.folder, options.output_folder):
        folder.mkdir(parents=True, exist_ok=True)
    results = {"machine": describe_machine(setting), "figures": []}
    try:
        for part in parts:
            command = [sys.executable, __file__, *argv, "--run_part", part]
            log = options.output_folder / f"{part}.log"
            limit = LIMITS.get(part, PROFILE_LIMIT * len(setting.profiled))
            failure = run_process(command, limit, log)
            figures = read_figures(figures_file(options, part))
            figures_file(options, part).unlink(missing_ok=True)
            if failure:
                figures.append({"variant": "all that is left", "failed": failure})
            results["figures"] += [{"part": part, **figure} for figure in figures]
            results["seconds"] = time.time() - started
            write_report(options.output_folder, results)
    finally:
        shutil.rmtree(setting.folder, ignore_errors=True)
    print((options.output_folder / "gpu.md").read_text(encoding="utf-8"))


def make_setting(options, overrides):
    """What the parts are given."""
    device = options.device or ("cuda:0" if torch.cuda.is_available() else "cpu")
    scale = ON_GPU if device.startswith("cuda") else ON_CPU
    if options.quick:
        scale = make_quick(scale)
    given = {"llms": options.llm and tuple(options.llm), "width": options.width}
    scale = dataclasses.replace(scale, **{k: x for k, x in given.items() if x})
    # The same for all parts of a run; no part of what the run leaves.
    name = f"ssr-gpu-{digest(options.output_folder.absolute())}"
    folder = pathlib.Path(tempfile.gettempdir()) / name
    profiled = [] if options.profile is None else options.profile or ["loop"]
    return Setting(scale, device, folder, overrides, profiled)


def check_overrides(parts, overrides):
    """Raises ValueError where a part's YAML has no such key, or no part has a YAML."""
    yamls = {YAMLS[part] for part in parts if part in YAMLS}
    if overrides and not yamls:
        raise ValueError(f"no part takes {' '.join(overrides)}")
    for yaml in sorted(yamls):
        parse_command_line([f"hparams/{yaml}.yaml", *overrides], PROGRAM)


def describe_machine(setting):
    """What the figures are of."""
    gpu = torch.cuda.get_device_name(setting.device) if setting.on_gpu else None
    # Older torch does not tell.
    tell = getattr(torch.cpu, "get_capabilities", dict)
    return {
        "gpu": gpu,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": tell().get("cpu_name") or platform.machine(),
        "torch": torch.__version__,
        "precision": "bf16" if setting.half else "fp32",
    }


# --- One part, in a process of its own -----------------------------------------------


def figures_file(options, part):
    """Where a part leaves its figures, a line of JSON for each."""
    return options.output_folder / f"{part}.jsonl"


def run_part(part, setting, path):
    """Measures; each figure is written as soon as it is there."""
    with open(path, "w", encoding="utf-8") as file:
        try:
            for figure in PARTS[part](setting):
                print(json.dumps(figure), file=file, flush=True)
                print(f"{part}: {show(figure)}", flush=True)
        except Exception as error:
            figure = {"variant": "all that is left", "failed": reason(error)}
            print(json.dumps(figure), file=file, flush=True)
            raise


def run_process(command, limit, log):
    """Runs a command, and all that it starts, for so many seconds at most.

    Arguments
    ---------
    command : list of str
    limit : float
    log : pathlib.Path
        Where warnings, bars and errors go.

    Returns
    -------
    str or None
        Why it came to no good end; None if it did, or has said so itself.
    """
    with open(log, "w", encoding="utf-8") as stderr:
        process = subprocess.Popen(command, stderr=stderr, start_new_session=True)
    try:
        status = process.wait(limit)
    except subprocess.TimeoutExpired:
        return f"took longer than {limit} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # 1: an exception, which the part has noted itself.
    return None if status in (0, 1) else f"ended with status {status}: see {log}"


def read_figures(path):
    """The figures of a part so far; a line that was cut off is left out."""
    figures = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                figures.append(json.loads(line))
    return figures


# --- Report --------------------------------------------------------------------------


def with_ratios(figures):
    """The figures with "ratios": how many times the rate of each thing compared to.

    Steps are compared to the rivals' of the same LLM and batch, loops to the rivals'
    bare steps with the same LLM in the largest batch, and whatever has anchors to them.
    """
    rates = {
        (figure["llm"], figure["variant"], figure["batch"]): figure["audio_s_per_s"]
        for figure in figures
        if figure["part"] == "steps" and "audio_s_per_s" in figure
    }
    results = []
    for figure in figures:
        part, llm = figure["part"], figure.get("llm")
        bases = {
            name: rate for name, (rate, _, parts) in ANCHORS.items() if part in parts
        }
        for rival, name in RIVALS.items():
            batches = [batch for *key, batch in rates if key == [llm, rival]]
            if part == "steps":
                bases[name] = rates.get((llm, rival, figure.get("batch")))
            elif part == "loop" and batches:
                bases[f"{name}, bare"] = rates[llm, rival, max(batches)]
        rate = figure.get("audio_s_per_s")
        ratios = {name: rate / base for name, base in bases.items() if rate and base}
        results.append({**figure, "ratios": ratios} if ratios else figure)
    return results


def write_report(folder, results):
    """Writes ``gpu.json`` and ``gpu.md``, whole or not at all."""
    anchors = {
        name: {"audio_s_per_s": rate, "what": what, "compared": parts}
        for name, (rate, what, parts) in ANCHORS.items()
    }
    results = {**results, "figures": with_ratios(results["figures"])}
    contents = {
        "gpu.json": json.dumps({**results, "anchors": anchors}, indent=2),
        "gpu.md": report(results),
    }
    for name, content in contents.items():
        with atomic_path(folder / name) as path:
            path.write_text(content + "\n", encoding="utf-8")


def report(results):
    """All figures in Markdown."""
    machine = results["machine"]
    place = machine["gpu"] or f"no GPU; {machine['processor']}"
    parts = list(dict.fromkeys(figure["part"] for figure in results["figures"]))
    sections = [
        f"{place}; {machine['cpus']} CPUs, {machine['threads']} threads; "
        f"{machine['precision']}; torch {machine['torch']}; {results['seconds']:.0f} s"
    ]
    for part in parts:
        figures = [each for each in results["figures"] if each["part"] == part]
        llms = [figure.get("llm") for figure in figures]
        # What is compared stands together.
        figures.sort(key=lambda x: (llms.index(x.get("llm")), x.get("batch", 0)))
        texts = [figure["text"] for figure in figures if "text" in figure]
        sections += [f"```\n{text}\n```" for text in texts] or [table(part, figures)]
    rows = [
        f"| {name} | {what} | {rate} |" for name, (rate, what, _) in ANCHORS.items()
    ]
    sections.append(
        "\n".join(["| compared to | | audio s/s |", "|---|---|---|", *rows])
    )
    return "\n\n".join(sections)


def table(part, figures):
    """The figures of a part as a Markdown table."""
    ratios = list(dict.fromkeys(k for x in figures for k in x.get("ratios", {})))
    columns = {
        key: title
        for key, title in COLUMNS.items()
        if any(figure.get(key) is not None for figure in figures)
    }
    titles = [part, *columns.values(), *(f"x {name}" for name in ratios)]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for figure in figures:
        cells = [figure["variant"], *(cell(key, figure.get(key)) for key in columns)]
        cells += [cell("ratio", figure.get("ratios", {}).get(name)) for name in ratios]
        if "failed" in figure:
            cells[0] += f": failed: {figure['failed']}".replace("|", "/")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(key, value):
    """A value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if key == "busy":
        return f"{100 * value:.0f}"
    digits = {"audio_s_per_s": 0, "kernels": 0, "copies": 0, "operators": 0}
    if key in digits or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def show(figure):
    """A figure in a line."""
    if "text" in figure:
        return "\n" + figure["text"]
    known = {key: value for key, value in figure.items() if value is not None}
    return ", ".join(f"{key} {cell(key, value)}" for key, value in known.items())


if __name__ == "__main__":
    main()
