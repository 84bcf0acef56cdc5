"""What ``ssr plan`` says a training step takes, beside what a real one took.

One command, nothing to download, two minutes on a CPU:

    python benchmarks/plan.py
    python benchmarks/plan.py --sizes tiny --stages distill

The recipe trains for a few steps with its own loader and Brain, in both stages, and in
two sizes: the bundled sample's models, and an encoder and an LLM of random weights that
are larger. Of the step that took most, the plan is made for the same utterances.

On a CPU the peak is what torch's profiler counts of its allocator within a step, on top
of all tensors that are there before it. On a GPU it is
``torch.cuda.max_memory_allocated``.
"""

import argparse
import concurrent.futures
import dataclasses
import gc
import multiprocessing
import pathlib
import tempfile
from unittest import mock

import torch
from gpu_models import find_encoder, find_llm, make_corpus

from ssr_plugin.hparams import make_job
from ssr_plugin.nnet.memory_trace import count_bytes
from ssr_plugin.training.brain import StageBrain
from ssr_plugin.training.resource_plan import stage1_of
from ssr_plugin.training.run_training import main as train
from ssr_plugin.training.step_traces import (
    Utterances,
    trace_distill,
    trace_finetune,
)

#: Encoder and LLM of each size; see gpu_models.
SIZES = {"sample": ("sample", "sample"), "tiny": ("whisper-base", "tiny")}
TRACES = {"distill": trace_distill, "finetune": trace_finetune}


@dataclasses.dataclass
class Measured:
    """A training step.

    Arguments
    ---------
    peak : int
        Bytes.
    utterances : Utterances
        Of its batch, all of the mean length.
    precision, llm_dtype : str
        Computed in.
    """

    peak: int
    utterances: Utterances
    precision: str
    llm_dtype: str


def measure(words):
    """The steps of a training, but for the first, which makes the optimizer's state.

    Arguments
    ---------
    words : list of str
        The command line behind ``train.py``.

    Returns
    -------
    list of Measured
    """
    steps, original = [], StageBrain._take_step

    def take(brain, batch, should_step=True):
        result = []

        def step():
            result.append(original(brain, batch, should_step))

        on_gpu = torch.device(brain.device).type == "cuda"
        peak = _peak_on_gpu(step, brain.device) if on_gpu else _peak_on_cpu(step)
        tokens = sum(map(len, batch.segments))
        seconds = sum(batch.seconds)
        count = len(batch.ids)
        utterances = Utterances(count, seconds / count, tokens / seconds)
        llm = brain.lm.llm if hasattr(brain, "lm") else brain.modules.llm
        dtype = str(llm.dtype).removeprefix("torch.")
        steps.append(Measured(peak, utterances, brain.hparams.precision, dtype))
        return result[0]

    with mock.patch.object(StageBrain, "_take_step", take):
        train(argv=words)
    return steps[1:]


def measure_alone(words):
    """As :func:`measure`, in a process of its own: nothing is left of another
    training."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, words).result()


def _peak_on_gpu(step, device):
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device)


def _peak_on_cpu(step):
    # Weights, the optimizer's state, the batch, and whatever else is kept, such as a
    # frozen connector's keys of all tokens.
    gc.collect()
    before = count_bytes(
        x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)
    )
    with torch.profiler.profile(profile_memory=True) as profile:
        step()
    alive = peak = 0
    events = profile.profiler.kineto_results.events()
    memory = [event for event in events if event.name() == "[memory]"]
    for event in sorted(memory, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return before + peak


def plan(stage, settings, measured):
    """What the plan says of a step."""
    settings = settings | {"precision": measured.precision}
    if stage == "finetune":
        settings |= stage1_of(settings)
        settings["llm_dtype"] = measured.llm_dtype
    return TRACES[stage](settings, measured.utterances)


def run_size(size, folder, stages, others):
    """Trains both stages in one size; gives (stage, measured, planned) of each."""
    encoder, llm = SIZES[size]
    corpus = make_corpus(folder, 8, 1)
    shared = {
        "data_folder": str(corpus),
        "cache_folder": str(folder / "cache"),
        "aligner": "files",
        "predicted_share": 0.0,
        "number_of_epochs": 1,
        "num_workers": 0,
    } | others
    overrides = {
        "distill": {
            "encoder_source": find_encoder(encoder, folder),
            "llm_source": find_llm(llm, folder),
            "segmenter": "forced",
            "score_with_llm": False,
            "output_folder": str(folder / f"{size}-distill"),
        },
        "finetune": {
            "stage1": str(folder / f"{size}-distill"),
            "text_tokens": 1000,
            "text_heldout_tokens": 200,
            "output_folder": str(folder / f"{size}-finetune"),
        },
    }
    for stage in ("distill", "finetune"):
        if stage == "finetune" and stage not in stages:
            continue
        chosen = shared | overrides[stage]
        yaml = f"{stage}.yaml"
        words = [yaml]
        for key, value in chosen.items():
            words += [f"--{key}", str(value)]
        # A few steps are enough.
        words += ["--debug", "--debug_batches", "4", "--debug_epochs", "1"]
        steps = measure_alone(words)
        if stage in stages:
            most = max(steps, key=lambda step: step.peak)
            yield stage, most, plan(stage, make_job(yaml, chosen).settings, most)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[*SIZES])
    parser.add_argument("--stages", nargs="+", choices=TRACES, default=[*TRACES])
    parser.add_argument("--batch_seconds", type=float, default=40.0)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            others = {"batch_seconds": options.batch_seconds}
            for row in run_size(size, pathlib.Path(folder), options.stages, others):
                rows.append((size, *row))
    print("| size | stage | batch s | precision | measured MB | planned MB | ratio |")
    print("|---|---|---|---|---|---|---|")
    for size, stage, measured, cost in rows:
        print(
            f"| {size} | {stage} | {measured.utterances.audio_seconds:.1f} "
            f"| {measured.precision} | {measured.peak / 1e6:.1f} "
            f"| {cost.peak / 1e6:.1f} | {cost.peak / measured.peak:.3f} |"
        )


if __name__ == "__main__":
    main()
