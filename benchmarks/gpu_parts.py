"""What ``gpu.py`` measures, part by part: each gives its figures one after another.

A figure is a dict: "variant", "audio_s_per_s", and whatever else a part knows.
"""

import contextlib
import cProfile
import dataclasses
import functools
import gc
import io
import pathlib
import pstats
import statistics
import tempfile
import time

import soundfile
import torch
import torch.nn.functional as F
from gpu_models import (
    SAMPLE,
    SAMPLE_RATE,
    find_encoder,
    find_llm,
    load_llm,
    make_corpus,
)

from ssr_plugin import build
from ssr_plugin.connectors import (
    StackMLPConnector,
    VocabularyConnector,
    ssr_connector,
)
from ssr_plugin.connectors.ssr import PUBLISHED
from ssr_plugin.data.audio import read_row
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.encoders.feature_cache import FeatureCache
from ssr_plugin.hparams import parse_command_line
from ssr_plugin.inference.speech_lm import SpeechLM
from ssr_plugin.llm.llm_losses import transcription_loss
from ssr_plugin.nnet.candidates import draw_candidates
from ssr_plugin.nnet.precision import resolve_precision
from ssr_plugin.nnet.segments import contiguous_starts
from ssr_plugin.training.data_pipeline import make_splits
from ssr_plugin.training.distill_brain import DistillBrain
from ssr_plugin.training.finetune_brain import FinetuneBrain
from ssr_plugin.training.loop import make_loaders, train
from ssr_plugin.training.losses import cosine_distance, squared_error
from ssr_plugin.training.profiling import DeviceWatch, count_by_phase, count_operators
from ssr_plugin.training.run_job import prepare_on_main
from ssr_plugin.training.stage1_model import tune
from ssr_plugin.training.templates import parse_templates
from ssr_plugin.training.text_data import make_text

PROGRAM = "benchmarks/gpu.py"
FRAME_RATE = 50
# Of the bare steps: utterances of 12 s, of 40 tokens.
SECONDS, TOKENS = 12.0, 40
CANDIDATES = 2000
HELD_OUT = SAMPLE / "text/heldout.txt"
# The segmenter of embed and stage 2: so many segments a second as there are tokens.
FIXED = {"fixed": {"vectors_per_second": TOKENS / SECONDS}}


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large everything is.

    Arguments
    ---------
    llms : tuple of str
        Of the bare steps; see :func:`gpu_models.load_llm`.
    width : int
        Of their frames.
    batches : tuple of int
        Their utterances.
    window : float
        How long a bare step is repeated, s; a training loop three times as long.
    encoder : str
        See :func:`gpu_models.find_encoder`.
    joined, copies : int
        Of the corpus; see :func:`gpu_models.make_corpus`.
    long : float
        Of the long recording, s.
    loops : tuple of (str, float)
        Of stage 1's loop: LLM and ``batch_seconds``.
    embed_llm, tuned_llm : str
        Of embedding and of stage 2.
    tuned_batches : tuple of float
        ``batch_seconds`` of stage 2's loop.
    embed_batches : tuple of (float or None)
        ``batch_seconds`` of embedding; None is its default.
    """

    llms: tuple
    width: int
    batches: tuple
    window: float
    encoder: str
    joined: int
    copies: int
    long: float
    loops: tuple
    tuned_llm: str
    tuned_batches: tuple
    embed_llm: str
    embed_batches: tuple


ON_GPU = Scale(
    llms=("1b", "8b"),
    width=512,
    batches=(8, 64),
    window=2.0,
    encoder="whisper-base",
    joined=16,
    copies=48,
    long=3600.0,
    loops=(("135m", 40.0), ("135m", 200.0), ("8b", 800.0)),
    tuned_llm="1b",
    tuned_batches=(40.0, 320.0),
    embed_llm="135m",
    embed_batches=(None, 960.0),
)
ON_CPU = Scale(
    llms=("sample", "tiny"),
    width=192,
    batches=(1, 4),
    window=2.0,
    encoder="sample",
    joined=16,
    copies=2,
    long=300.0,
    loops=(("sample", 40.0), ("sample", 80.0)),
    tuned_llm="sample",
    tuned_batches=(40.0,),
    embed_llm="sample",
    embed_batches=(None,),
)


def make_quick(scale):
    """The smallest of its kind: to see that all runs, not how fast."""
    return dataclasses.replace(
        scale,
        llms=scale.llms[:1],
        batches=scale.batches[:1],
        window=0.1,
        joined=5,
        copies=1,
        long=30.0,
        loops=scale.loops[:1],
        tuned_batches=scale.tuned_batches[:1],
        embed_batches=scale.embed_batches[:1],
    )


@dataclasses.dataclass
class Setting:
    """What all parts are given.

    Arguments
    ---------
    scale : Scale
    device : str
    folder : pathlib.Path
        For models, audio, caches.
    overrides : list of str
        Of the YAMLs' keys, as words of a command line.
    profiled : list of str
        The parts that "profile" looks into.
    """

    scale: Scale
    device: str
    folder: pathlib.Path
    overrides: list = dataclasses.field(default_factory=list)
    profiled: list = dataclasses.field(default_factory=list)

    @property
    def on_gpu(self):
        return self.device.startswith("cuda")

    @property
    def half(self):
        """Whether steps are computed in bfloat16."""
        return resolve_precision("auto", self.device) == "bf16"

    @property
    def llm_dtype(self):
        return "bfloat16" if self.on_gpu else "float32"

    def corpus(self):
        return make_corpus(self.folder, self.scale.joined, self.scale.copies)


def synchronize():
    """Waits for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def start_memory():
    """Gives memory back and counts its peak anew."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib():
    """The most memory of the GPU since :func:`start_memory`, GiB; None without one."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated() / 2**30


# --- steps: bare optimiser steps -----------------------------------------------------


def steps(setting):
    """Whole optimiser steps on random frames and segments."""
    scale = setting.scale
    for name in scale.llms:
        llm = load_llm(name, setting.folder, setting.device, setting.llm_dtype)
        variants = STEPS | (RECORDED if setting.on_gpu else {})
        for variant, make_step in variants.items():
            for batch in scale.batches:
                start_memory()
                figure = {"variant": variant, "llm": name, "batch": batch}
                try:
                    step = make_step(llm, RandomBatch(llm, batch, setting))
                    figure |= _time_step(step, batch * SECONDS, setting)
                except Exception as error:
                    # Such as too little memory: the others are measured all the same.
                    figure["failed"] = reason(error)
                # Else the next one finds its memory taken.
                step = None
                yield figure
        llm = None


def reason(error):
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


class RandomBatch:
    """Frames and segments as a connector takes them.

    Arguments
    ---------
    llm : ssr_plugin.llm.text_llm.TextLLM
    size : int
        Utterances.
    setting : Setting
    """

    def __init__(self, llm, size, setting):
        torch.manual_seed(0)
        self.device, self.half = torch.device(setting.device), setting.half
        self.frames = round(SECONDS * FRAME_RATE)
        shape = (size, self.frames, setting.scale.width)
        self.features = torch.randn(shape, device=self.device)
        ends = torch.linspace(self.frames / TOKENS, self.frames, TOKENS).long() - 1
        self.boundaries = ends.expand(size, -1).contiguous().to(self.device)
        shape = (size, TOKENS)
        self.targets = torch.randint(llm.vocab_size, shape, device=self.device)

    def step_of(self, connector, compute_loss):
        """A function that makes one optimiser step, of a loss."""
        connector.train()
        optimizer = torch.optim.AdamW(
            connector.parameters(), fused=True, capturable=self.device.type == "cuda"
        )

        def step():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                loss = compute_loss()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step


def rival_step(llm, batch, stack):
    """A step of frames stacked: the transcript's loss through the frozen LLM."""
    size, width = len(batch.features), batch.features.shape[-1]
    connector = StackMLPConnector(width, llm, stack).to(batch.device)
    fixed = torch.arange(stack - 1, batch.frames, stack, device=batch.device)
    fixed = fixed.expand(size, -1).contiguous()
    counts = torch.full((size,), fixed.shape[1], device=batch.device)
    llm.load_model()

    def compute_loss():
        vectors = connector(batch.features, fixed).vectors
        return transcription_loss(llm, vectors, counts, batch.targets)

    return batch.step_of(connector, compute_loss)


def form_step(llm, batch, options):
    """A step of a form of the SSR connector, with the losses of stage 1."""
    # Made on the device: it takes long to draw its weights on the host.
    with batch.device:
        connector = ssr_connector(batch.features.shape[-1], llm, **options)
    connector.to(batch.device)
    table, targets = llm.table(), batch.targets
    weight = torch.full_like(targets, 1 / targets.numel(), dtype=torch.float32)
    # What a loader's workers would have planned.
    tokens, seen = targets.cpu(), torch.arange(len(table))
    candidates = draw_candidates(tokens, seen, len(table), CANDIDATES)
    index = torch.searchsorted(candidates, tokens).to(batch.device)
    boundaries = batch.boundaries.cpu()
    arguments = (boundaries, contiguous_starts(boundaries), batch.frames)
    plan = connector.planner().plan(*arguments, candidates)
    keywords = {"plan": {key: x.to(batch.device) for key, x in plan.items()}}
    if isinstance(connector, VocabularyConnector):
        keywords["candidates"] = candidates.to(batch.device)

    def compute_loss():
        output = connector(batch.features, batch.boundaries, **keywords)
        z, h = output.vectors.float(), table[targets].float()
        loss = squared_error(z, h, weight) + 5 * cosine_distance(z, h, weight=weight)
        if output.token_logits is not None:
            logits = output.token_logits.flatten(0, 1)
            loss = loss + F.cross_entropy(logits, index.flatten())
        return loss

    return batch.step_of(connector, compute_loss)


# Name -> (llm, batch) -> step.
STEPS = {
    "stack 10 + MLP, LLM": functools.partial(rival_step, stack=10),
    "stack 5 + MLP, LLM": functools.partial(rival_step, stack=5),
    "published": functools.partial(form_step, options=PUBLISHED),
    "token form, direct": functools.partial(form_step, options={"head": "direct"}),
    "default": functools.partial(form_step, options={}),
}


def recorded_step(llm, batch, options):
    """A step of a form as a CUDA graph: so the recipe's training takes it."""
    step = form_step(llm, batch, options)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph.replay


RECORDED = {"default, recorded": functools.partial(recorded_step, options={})}


def _time_step(step, audio, setting):
    """The median time of a step, and what the device does in it."""
    for _ in range(3 if setting.on_gpu else 1):
        step()
    synchronize()
    times = []
    while len(times) < 3 or (sum(times) < setting.scale.window and len(times) < 200):
        start = time.perf_counter()
        step()
        synchronize()
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    figure = {"audio_s_per_s": audio / seconds, "ms": 1e3 * seconds}
    figure["peak_gib"] = peak_gib()
    if setting.on_gpu:
        watch, count = DeviceWatch(), 3
        watch.start()
        for _ in range(count):
            step()
        figure |= _device_figures(watch.stop(), count, count * seconds)
    figure["operators"] = count_operators(step).total()
    return figure


def _device_figures(work, count, seconds):
    """What a GPU did in each of ``count`` steps, which take ``seconds`` unwatched."""
    return {
        "busy": work.busy_seconds / seconds,
        "kernels": work.kernels / count,
        "copies": work.copies / count,
    }


# --- loop, stage2: the recipes' own training -----------------------------------------


class _Enough(Exception):
    """All is measured: the training need not go on."""


class _Timed:
    """A Brain that trains as a recipe does, until its speed is known.

    Afterwards ``figure`` has what was found.
    """

    window, warm_up, num_watched = 8.0, 5, 10
    plan, batch, audio = None, None, 0.0

    def fit_epochs(self, loader, valid_loader):
        """Times the loader alone, then the training."""
        self.figure = {"loader_audio_s_per_s": _loader_rate(loader, self.window / 4)}
        self.plan = self._measure()
        next(self.plan)
        with contextlib.suppress(_Enough):
            super().fit_epochs(loader, valid_loader)
        self.plan = None
        self.figure["operators"] = self.count().total()

    def fit_batch(self, batch):
        """A step, then what there is to be noted."""
        loss = super().fit_batch(batch)
        self.batch = batch
        self.audio += sum(batch.seconds)
        if self.plan is not None and next(self.plan, _Enough) is _Enough:
            raise _Enough
        return loss

    def count(self):
        """The operators of a step."""
        return count_operators(lambda: self.fit_batch(self.batch))

    def _measure(self):
        """Goes on after each step."""
        for _ in range(self.warm_up):
            yield
        start_memory()
        synchronize()
        audio, start, steps = self.audio, time.perf_counter(), 0
        while time.perf_counter() - start < self.window:
            yield
            steps += 1
        synchronize()
        seconds = time.perf_counter() - start
        audio = self.audio - audio
        rate = audio / seconds
        self.figure |= {
            "audio_s_per_s": rate,
            "ms": 1e3 * seconds / steps,
            "audio_s_per_step": audio / steps,
            "peak_gib": peak_gib(),
        }
        if torch.device(self.device).type == "cuda":
            audio, watch = self.audio, DeviceWatch()
            watch.start()
            for _ in range(self.num_watched):
                yield
            # Batches differ: the time is what as much audio takes unwatched.
            seconds = (self.audio - audio) / rate
            self.figure |= _device_figures(watch.stop(), self.num_watched, seconds)


class _TimedDistill(_Timed, DistillBrain):
    """Stage 1."""


class _TimedFinetune(_Timed, FinetuneBrain):
    """Stage 2."""


def _loader_rate(loader, window):
    """Audio that a loader gives in a second, s; nothing else runs meanwhile."""
    # What its workers made while they were started, or had ready then, does not count.
    ahead = loader.num_workers * (loader.prefetch_factor or 0)
    audio = start = 0.0
    for number, batch in enumerate(loader):
        if number > ahead:
            audio += sum(batch.seconds)
            if time.perf_counter() - start > window:
                break
        else:
            start = time.perf_counter()
    return audio / (time.perf_counter() - start)


def _settings(setting, yaml, batch_seconds, **keys):
    """The YAML of a stage on the joined corpus, what to run it with, and its data."""
    # Of its own: nothing is there to go on from.
    folder = tempfile.mkdtemp(prefix=yaml, dir=setting.folder)
    keys = {
        "data_folder": setting.corpus(),
        "output_folder": folder,
        "cache_folder": setting.folder / "cache",
        "aligner": "files",
        "test_splits": "[]",
        "number_of_epochs": 1000,
        "batch_seconds": batch_seconds,
        "loggers": "[]",
        "device": setting.device,
        **keys,
    }
    words = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    words = [f"hparams/{yaml}.yaml", *words, *setting.overrides]
    job = parse_command_line(words, PROGRAM)
    make_dataset = job.dataset_maker()
    hparams = job.load()
    dataset = make_dataset(hparams["data_folder"])
    return hparams, job.run_opts, prepare_on_main(dataset, hparams)


def _train(brain, splits, hparams, setting):
    """Trains as a recipe does; gives the figure."""
    brain.window = 3 * setting.scale.window
    data = splits["train"].dataset
    # No epoch ends while the time is taken.
    data.data_ids = data.data_ids * 64
    loaders = make_loaders(splits, hparams["batch_seconds"])
    train(brain, data, loaders["valid"], hparams)
    return {"batch_seconds": hparams["batch_seconds"], **brain.figure}


def _distill(setting, llm, batch_seconds):
    """Stage 1 on the joined corpus, ready to train: what :func:`_train` takes."""
    hparams, run_opts, manifests = _settings(
        setting,
        "distill",
        batch_seconds,
        encoder_source=find_encoder(setting.scale.encoder, setting.folder),
        llm_source=find_llm(llm, setting.folder),
        segmenter="forced",
    )
    splits = make_splits(hparams, run_opts, manifests)
    seen = torch.zeros(hparams["llm"].vocab_size, dtype=torch.bool)
    for segments in splits["train"].segments.values():
        seen[segments.tokens] = True
    brain = _TimedDistill(
        seen_tokens=seen,
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    return brain, splits, hparams, setting


def loop(setting):
    """The recipe's stage 1 from cached features."""
    for llm, batch_seconds in setting.scale.loops:
        start_memory()
        figure = _train(*_distill(setting, llm, batch_seconds))
        yield {"variant": "stage 1", "llm": llm, **figure}


def stage2(setting):
    """The recipe's stage 2: adapters in the LLM, read beside text and without."""
    for batch_seconds in setting.scale.tuned_batches:
        for variant, text_ratio in (("LoRA", 1.0), ("LoRA, no text", 0.0)):
            start_memory()
            figure = _train(*_finetune(setting, batch_seconds, text_ratio))
            yield {"variant": variant, "llm": setting.scale.tuned_llm, **figure}


def _finetune(setting, batch_seconds, text_ratio):
    """Stage 2 on the joined corpus, ready to train: what :func:`_train` takes."""
    hparams, run_opts, manifests = _settings(
        setting,
        "finetune",
        batch_seconds,
        text_ratio=text_ratio,
        text_source=HELD_OUT,
        text_heldout=HELD_OUT,
        text_heldout_tokens=500,
    )
    lm = _speech_lm(setting, setting.scale.tuned_llm)
    hparams["encoder"], hparams["segmenters"] = lm.encoder, lm.segmenters
    splits = make_splits(hparams, run_opts, manifests)
    tuned = tune(lm.llm, hparams)
    brain = _TimedFinetune(
        lm=lm,
        templates=parse_templates(hparams["templates"], lm.llm.tokenizer),
        text=make_text(hparams, lm.llm),
        modules={"encoder": lm.encoder, "tuned": tuned},
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    return brain, splits, hparams, setting


# --- encode, embed: audio files at work ----------------------------------------------


def encode(setting):
    """Frames of audio files into the cache."""
    rows = _recordings(setting)
    encoder = _encoder(setting)
    few = dict(list(rows.items())[:32])

    def build(name, rows):
        # The recipe's own folder: the training loop finds what is in it.
        cache = FeatureCache(setting.folder / "cache" / name, encoder)
        cache.build(rows)
        return cache

    build("first", few)
    watched = _watch(lambda: build("second", few), setting)
    start_memory()
    start = time.perf_counter()
    cache = build("features", rows)
    rate = _seconds(rows) / (time.perf_counter() - start)
    figure = {"variant": "build", "audio_s_per_s": rate, "peak_gib": peak_gib()}
    yield figure | _busy(watched, _seconds(few) / rate)
    for name, rate in cache.rates.items():
        if name != "build":
            yield {"variant": name.replace("_", " "), "audio_s_per_s": rate}


def embed(setting):
    """Audio files, and one long recording, to vectors."""
    rows = _recordings(setting)
    files = [row["wav"] for row in rows.values()]
    embedder = _speech_lm(setting, setting.scale.embed_llm).embedder
    long = torch.cat([read_row({"wav": file}, SAMPLE_RATE) for file in files[:5]])
    long = long.repeat(max(round(setting.scale.long / (len(long) / SAMPLE_RATE)), 1))
    inputs = {"files": files, "one long recording": [(long.numpy(), SAMPLE_RATE)]}
    audio = {"files": _seconds(rows), "one long recording": len(long) / SAMPLE_RATE}
    embedder.embed(files[:8])
    for batch_seconds in setting.scale.embed_batches:
        options = {} if batch_seconds is None else {"batch_seconds": batch_seconds}
        run = functools.partial(embedder.embed, **options)
        for variant, wavs in inputs.items():
            start_memory()
            start = time.perf_counter()
            run(wavs)
            synchronize()
            rate = audio[variant] / (time.perf_counter() - start)
            figure = {"variant": variant, "batch_seconds": batch_seconds}
            figure |= {"audio_s_per_s": rate, "peak_gib": peak_gib()}
            if variant == "files":
                few = dict(list(rows.items())[:32])
                watched = _watch(lambda run=run: run(files[:32]), setting)
                figure |= _busy(watched, _seconds(few) / rate)
            yield figure


def _recordings(setting):
    """Manifest rows of the joined corpus."""
    paths = sorted(setting.corpus().glob("train-joined/*/*/*.flac"))
    return {
        path.stem: {"wav": str(path), "duration": soundfile.info(path).duration}
        for path in paths
    }


def _seconds(rows):
    return sum(row["duration"] for row in rows.values())


def _watch(work, setting):
    """What the GPU does in some work; None without one."""
    if not setting.on_gpu:
        return work() and None
    watch = DeviceWatch()
    watch.start()
    work()
    return watch.stop()


def _busy(watched, seconds):
    """The share of ``seconds``, what the work takes unwatched, that the GPU is busy."""
    return {} if watched is None else {"busy": watched.busy_seconds / seconds}


def _encoder(setting):
    """The encoder as a recipe has it."""
    source = find_encoder(setting.scale.encoder, setting.folder)
    return SpeechEncoder(source, dtype="auto").to(setting.device)


def _speech_lm(setting, name):
    """A model of a random connector and segments of a fixed length."""
    device, encoder = setting.device, _encoder(setting)
    llm = load_llm(name, setting.folder, device, setting.llm_dtype)
    connector = build.connector("ssr", encoder, llm)
    segmenters = build.segmenters("fixed", encoder, llm, FIXED)
    settings = {"lm_fusion": {}}
    return SpeechLM(encoder, llm, connector, segmenters, settings).to(device)


# --- profile: where the time goes ----------------------------------------------------


def profile(setting):
    """Text in place of figures: operators, kernels and the host's functions."""
    for part in setting.profiled:
        start_memory()
        yield {"variant": part, "text": _trace(*PROFILED[part](setting), setting)}


def _profiled_steps(setting):
    """The default form's bare step with the largest LLM, in the largest batch."""
    scale = setting.scale
    llm = load_llm(scale.llms[-1], setting.folder, setting.device, setting.llm_dtype)
    step = STEPS["default"](llm, RandomBatch(llm, scale.batches[-1], setting))
    title = f"A bare step of the default form, {scale.batches[-1]} utterances"
    return title, step


def _profiled_brain(make, title, setting):
    """A step of a recipe's own training."""
    brain, *rest = make
    figure = _train(brain, *rest)
    audio, count = sum(brain.batch.seconds), len(brain.batch.ids)
    title += f", of {audio:.1f} s of audio ({count} utterances): "
    return title + f"{figure['ms']:.1f} ms in the loop", lambda: brain.fit_batch(
        brain.batch
    )


def _profiled_loop(setting):
    make = _distill(setting, *setting.scale.loops[0])
    return _profiled_brain(make, "A step of stage 1", setting)


def _profiled_stage2(setting):
    make = _finetune(setting, setting.scale.tuned_batches[-1], 1.0)
    return _profiled_brain(make, "A step of stage 2", setting)


def _profiled_embed(setting):
    files = [row["wav"] for row in _recordings(setting).values()][:64]
    embedder = _speech_lm(setting, setting.scale.embed_llm).embedder
    return f"Vectors of {len(files)} files", lambda: embedder.embed(files)


def _trace(title, work, setting):
    """Where some work spends its time, as text."""

    def step():
        work()
        synchronize()

    step()
    lines = [title, "", "operators with work for the device (views, allocations not):"]
    for phase, counts in count_by_phase(step).items():
        common = ", ".join(
            f"{name.removeprefix('aten::')} {n}" for name, n in counts.most_common(12)
        )
        lines.append(f"  {phase}: {counts.total()}: {common}")
    with torch.profiler.profile() as trace:
        step()
    orders = ["self_cpu_time_total"]
    orders += ["self_device_time_total"] if setting.on_gpu else []
    for order in orders:
        averages = trace.key_averages()
        lines += ["", averages.table(order, row_limit=20, max_name_column_width=50)]
    host, text = cProfile.Profile(), io.StringIO()
    host.runcall(lambda: [step() for _ in range(10)])
    pstats.Stats(host, stream=text).sort_stats("tottime").print_stats(20)
    lines += ["the host, ten times:", text.getvalue()]
    return "\n".join(lines)


PROFILED = {
    "steps": _profiled_steps,
    "loop": _profiled_loop,
    "embed": _profiled_embed,
    "stage2": _profiled_stage2,
}
PARTS = {
    "steps": steps,
    "encode": encode,
    "loop": loop,
    "embed": embed,
    "stage2": stage2,
    "profile": profile,
}
