"""``ssr plan``: what a training takes, before anything is loaded."""

import argparse

from ssr_plugin.cli.arguments import add_yaml

SUMMARY = "tell what a training takes: memory, steps, disk, time"
USAGE = """
  ssr plan --hours 961 hparams/librispeech_1b.yaml
  ssr plan --hours 44500 --gpus 8 --gpu-memory 80 hparams/mls_8b.yaml
  ssr plan --hours 100 --gpus 0 hparams/distill.yaml --llm_source CONFIG_FOLDER
  ssr plan --hours 100 hparams/finetune.yaml

No weights are loaded: of encoder and LLM, the configurations are enough, of the hub or
in a folder. A YAML of stage 1 is planned with stage 2 after it; keys of the YAML are
overridden as in ssr train. What is counted and what is not: docs/plan.md."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    _add_options(parser)
    add_yaml(parser)


def _add_options(parser):
    parser.add_argument(
        "--hours",
        type=float,
        metavar="H",
        help="of training speech, with extra_train, without copies (default: of the "
        "manifest in output_folder, or of the shards in data_folder)",
    )
    parser.add_argument(
        "--gpus", type=int, default=1, metavar="N", help="0: a CPU (default 1)"
    )
    parser.add_argument(
        "--gpu-memory",
        type=float,
        default=80.0,
        metavar="GB",
        help="of each GPU (default 80)",
    )
    parser.add_argument(
        "--utterance-seconds",
        type=float,
        metavar="S",
        help="mean length of an utterance (default 12)",
    )
    parser.add_argument(
        "--tokens-per-second",
        type=float,
        default=40 / 12,
        metavar="R",
        help="tokens of the LLM by a second of speech (default 3.3)",
    )
    parser.add_argument(
        "--finetune",
        default="finetune.yaml",
        metavar="YAML",
        help="of stage 2 after a YAML of stage 1 (default finetune.yaml)",
    )


def run(options):
    """Prints the plan."""
    import logging

    # What the Brains tell of a run: there is none.
    logging.disable(logging.INFO)
    try:
        print("\n".join(_plan(options)))
    finally:
        logging.disable(logging.NOTSET)


def _plan(options):
    # The YAML's own keys come after it, and so may the options. A --help there is of
    # the YAML.
    parser = argparse.ArgumentParser(
        prog="ssr plan", allow_abbrev=False, add_help=False
    )
    _add_options(parser)
    defaults = {k: v for k, v in vars(options).items() if k not in ("words", "run")}
    parser.set_defaults(**defaults)
    options, words = parser.parse_known_args(options.words)
    for name in ("hours", "gpu_memory", "utterance_seconds", "tokens_per_second"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name.replace('_', '-')}: {value:g} is not above 0")
    if options.gpus < 0:
        raise ValueError(f"--gpus: {options.gpus} is below 0")

    from ssr_plugin.hparams import make_job, parse_command_line
    from ssr_plugin.training import resource_plan

    job = parse_command_line(words, "ssr plan")
    settings = job.settings
    hours, utterance_seconds = options.hours, options.utterance_seconds
    prepared = resource_plan.prepared_data(settings)
    if prepared is not None:
        settings = settings | prepared.settings
    if hours is None:
        if prepared is None:
            raise ValueError(
                "how much speech is there? Give --hours: no run has prepared the data"
            )
        hours = prepared.hours
        utterance_seconds = utterance_seconds or prepared.utterance_seconds
    corpus = resource_plan.Corpus(
        hours, utterance_seconds or 12.0, options.tokens_per_second
    )
    hardware = resource_plan.Hardware(options.gpus, options.gpu_memory * 1e9)
    lines = [_title(job.path, corpus, hardware)]
    times = resource_plan.times_heard(settings)
    if times != 1:
        lines.append(
            f"With copies in noise and at other speeds, an epoch has {hours * times:g} "
            f"h."
        )
    if "stage1" in settings:
        settings = settings | resource_plan.stage1_of(settings)
        resource_plan.check_sources(settings)
        encoder = resource_plan.plan_encoder(settings, corpus, hardware)
    elif "llm_weight" in settings:
        resource_plan.check_sources(settings)
        stage, encoder = resource_plan.plan_distill(settings, corpus, hardware)
        lines += _stage_lines("Stage 1, distillation", stage, hardware, "at most")
        of_stage1 = {key: settings[key] for key in resource_plan.OF_STAGE1}
        shared = ("cache_features", "cache_dtype", "precision")
        shared += ("speed_perturbation", "noisy_copies")
        settings = (
            make_job(options.finetune, {}).settings
            | of_stage1
            | {key: settings[key] for key in shared}
        )
    else:
        raise ValueError(
            f"{job.path} is of neither stage 1 nor stage 2: plans are made of "
            f"distill.yaml, finetune.yaml, and YAMLs like them"
        )
    stage = resource_plan.plan_finetune(settings, corpus, hardware)
    lines += _stage_lines("Stage 2, fine-tuning", stage, hardware, "at least")
    return [*lines, *_encoder_lines(encoder, settings["cache_dtype"], prepared)]


def _title(path, corpus, hardware):
    device = (
        f"{hardware.gpus} GPU{'s' * (hardware.gpus > 1)} of "
        f"{hardware.gpu_memory / 1e9:g} GB"
        if hardware.gpus
        else "a CPU"
    )
    return (
        f"{path}: {corpus.hours:g} h of speech in utterances of "
        f"{corpus.utterance_seconds:.3g} s, {device}. GB are 10^9 bytes."
    )


def _stage_lines(title, stage, hardware, bound):
    cost = stage.cost
    lines = ["", title]

    def add(name, text):
        lines.append(f"  {name:<12}{text}")

    for name, counts in (("trained", cost.trained), ("frozen", cost.frozen)):
        parts = [f"{part} {count / 1e6:,.1f} M" for part, count in counts.items()]
        add(name, ", ".join(parts) or "nothing")
    parts = {
        "weights": cost.weights,
        "optimizer": cost.optimizer,
        "gradients and activations": cost.step,
        _exchanged(cost): stage.reduction,
    }
    shown = ", ".join(f"{name} {_gb(size)}" for name, size in parts.items() if size)
    add("memory", f"{_gb(stage.peak)} on each device: {shown}")
    if hardware.gpus:
        share = stage.peak / hardware.gpu_memory
        verdict = f"{100 * share:.0f} % of a GPU's"
        if share > 1:
            verdict += ": it does not fit"
        elif share > 0.9:
            verdict += ": it may not fit"
        add("", verdict)
    whole = ""
    if cost.llm < stage.whole_llm:
        whole = f" (its table); {_gb(stage.whole_llm)} when the LLM scores in the end"
    add("the LLM", f"{_gb(cost.llm)}{whole}")
    batch = f"{stage.batch_seconds:g} s of audio on each device, lr {stage.lr:.3g}"
    add("batch", batch)
    add("steps", f"{stage.steps:,}, {stage.epochs} times through the data")
    if stage.hours is not None:
        add("time", f"{bound} {stage.hours:,.3g} h")
    return lines


def _exchanged(cost):
    """What several processes send each other."""
    return f"{'layers and ' if cost.gathered else ''}gradients on their way"


def _encoder_lines(encoder, cache_dtype, prepared):
    lines = ["", "Encoder, frozen"]
    lines.append(
        f"  {'frames':<12}{encoder.width} numbers, {encoder.frame_rate:g} a second"
    )
    disk = f"{_gb(encoder.disk)} of frames in {cache_dtype}"
    if not encoder.cached:
        of_shards = prepared is not None and "cache_features" in prepared.settings
        kept = "kept in shards" if of_shards else "with cache_features: True"
        disk = f"none; {kept} {disk}"
    if encoder.noisy_disk:
        disk += f"; {_gb(encoder.noisy_disk)} of audio in noise"
    lines.append(f"  {'disk':<12}{disk}")
    lines.append(f"  {'memory':<12}{_gb(encoder.memory)} at most, with its weights")
    if encoder.hours is not None:
        how = "once" if encoder.cached else "in every epoch"
        lines.append(f"  {'time':<12}at most {encoder.hours:,.3g} h, {how}")
    return lines


def _gb(size):
    return f"{size / 1e9:,.3g} GB"
