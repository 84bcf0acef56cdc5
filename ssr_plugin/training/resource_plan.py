"""What a training takes before it is started: memory, steps, disk and time."""

import csv
import dataclasses
import math
import pathlib

from ssr_plugin.data.shards import is_shard_folder
from ssr_plugin.hub import load_config
from ssr_plugin.inference.pretrained import read_settings
from ssr_plugin.nnet.device_memory import seconds_per_pass
from ssr_plugin.nnet.memory_trace import MemoryTrace, count_bytes, fake_tensors, place
from ssr_plugin.nnet.precision import resolve_precision
from ssr_plugin.problems import prefix_errors
from ssr_plugin.training.batch_size import (
    AUTO,
    FINETUNE_GROWTH,
    STAGE1_MEMORY,
    choose_batch,
    finetune_memory,
    scale_learning_rate,
)
from ssr_plugin.training.config_models import ConfigEncoder, ConfigLLM
from ssr_plugin.training.data_pipeline import copies_in_noise
from ssr_plugin.training.finetune_stage import resolve_llm_dtype
from ssr_plugin.training.fsdp import check_parallel
from ssr_plugin.training.inputs import check_quantized_tuning
from ssr_plugin.training.shard_splits import ShardCorpus
from ssr_plugin.training.speed_perturbation import check_speeds
from ssr_plugin.training.stage1_model import find_stage1
from ssr_plugin.training.step_traces import (
    StepCost,
    Utterances,
    trace_distill,
    trace_finetune,
)

#: Keys of stage 1 that stage 2 goes by.
OF_STAGE1 = (
    "encoder_source",
    "encoder_layer",
    "llm_source",
    "connector",
    "connector_options",
)
# Floating-point operations a second that one GPU reached (RESULTS.md, "On a GPU").
# Stage 1, LLM of 135M, batches of 370 s in 12.0 ms; they are 307 MFLOP a second of
# audio. Small layers: larger ones reach more.
_STAGE1_RATE = 9.4e12
# whisper-base: 2.91 GFLOP a second of audio, 6,962 of them a second.
_ENCODER_RATE = 2.03e13
# A bare step of the stacked rival through an LLM of 8B, 64 utterances: 239 GFLOP a
# second of audio, 1,758 of them a second.
_LLM_RATE = 4.2e14
# In stage 2 the host launches the layers' kernels one by one, however large the batch:
# the 16 of a 1B, tuned and as they were, with the backward pass, in 178 ms.
_LAYER_SECONDS = 0.178 / 16
# Audio a second that one machine's processes (16 cores) read for the encoder; and that
# the loader gave, of frames of 512 numbers.
_READING, _LOADING, _LOADED_WIDTH = 19516.0, 29846.0, 512
# Audio that the encoder sees at once, s.
_WINDOW = 30.0
# Bytes of a second of FLAC in noise, 16 bits at 16 kHz: packed to 0.72. Of Mini
# LibriSpeech and test-other in white and speech-shaped noise and in babble, from 20 to
# 0 dB, it was 0.65 to 0.79; in no noise 0.55.
_NOISY = 0.72 * 2 * 16000
# Bytes of a number on disk.
_STORED = {"float16": 2, "int8": 1}
_SECONDS_AN_HOUR = 3600.0


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The training data.

    Arguments
    ---------
    hours : float
    utterance_seconds : float
        Mean length of an utterance, s.
    tokens_per_second : float
        Tokens of the LLM, by a second of audio; 3 to 4 are usual in English.
    """

    hours: float
    utterance_seconds: float = 12.0
    tokens_per_second: float = 40 / 12

    @property
    def seconds(self):
        """Of audio."""
        return self.hours * _SECONDS_AN_HOUR


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What trains.

    Arguments
    ---------
    gpus : int
        0: a CPU.
    gpu_memory : float
        Of each, bytes.
    """

    gpus: int = 1
    gpu_memory: float = 80e9

    @property
    def processes(self):
        """Each has batches of its own."""
        return max(self.gpus, 1)

    @property
    def memory(self):
        """Of a GPU, bytes; None on a CPU."""
        return self.gpu_memory if self.gpus else None


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """What a stage takes.

    Arguments
    ---------
    cost : ssr_plugin.training.step_traces.StepCost
        Of a step, on each device.
    reduction : int
        Bytes of what several processes exchange: copies of gradients; of FSDP layers,
        too.
    batch_seconds : float
        Audio of a batch of one process, s.
    lr : float
    epochs, steps : int
    hours : float or None
        Of the training; None where no rate was measured. Of stage 1 at most, of stage 2
        at least.
    whole_llm : int
        Bytes of the whole LLM's weights, which stage 1 loads for scoring in the end.
    """

    cost: StepCost
    reduction: int
    batch_seconds: float
    lr: float
    epochs: int
    steps: int
    hours: float | None
    whole_llm: int

    @property
    def peak(self):
        """Bytes on each device."""
        return self.cost.peak + self.reduction


@dataclasses.dataclass(frozen=True)
class EncoderPlan:
    """What the frozen encoder takes.

    Arguments
    ---------
    width : int
    frame_rate : float
        Hz
    cached : bool
        Whether frames are kept on disk.
    disk : int
        Bytes that they take.
    memory : int
        Bytes of its weights and of a pass, before the training or in it.
    hours : float or None
        To encode the data once.
    noisy_disk : int
        Bytes that audio in noise takes, as files.
    """

    width: int
    frame_rate: float
    cached: bool
    disk: int
    memory: int
    hours: float | None
    noisy_disk: int = 0


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """Training data that are there.

    Arguments
    ---------
    hours : float
        Of speech, without copies.
    utterance_seconds : float
        Mean length of an utterance, s.
    settings : dict
        What counts in place of the YAML's keys.
    """

    hours: float
    utterance_seconds: float
    settings: dict


def plan_distill(settings, corpus, hardware):
    """Plans stage 1.

    Arguments
    ---------
    settings : dict
        Plain keys of ``hparams/distill.yaml``.
    corpus : Corpus
    hardware : Hardware

    Returns
    -------
    StagePlan, EncoderPlan

    Raises
    ------
    ValueError
        If a configuration cannot be had, or the connector's step cannot be traced.

    Example
    -------
    >>> from ssr_plugin.hparams import make_job
    >>> settings = make_job("distill.yaml", {}).settings
    >>> stage, encoder = plan_distill(settings, Corpus(hours=100), Hardware(gpus=1))
    >>> stage.batch_seconds, stage.steps, encoder.disk // 10**9
    (1280.0, 2820, 6)
    """
    settings = settings | {"precision": _precision(settings, hardware)}
    epochs = settings["number_of_epochs"]
    audio = corpus.seconds * times_heard(settings)
    batch_seconds, lr = _batch(settings, audio, hardware)
    encoder = plan_encoder(settings, corpus, hardware)
    utterances = _utterances(corpus, batch_seconds)
    cost = trace_distill(settings, utterances)
    model = ConfigLLM(settings["llm_source"], settings["llm_dtype"]).load_model()
    whole = count_bytes([*model.parameters(), *model.buffers()])
    hours = None
    if hardware.gpus:
        loading = _LOADING * _LOADED_WIDTH / encoder.width
        rate = _STAGE1_RATE * utterances.audio_seconds / cost.flops
        hours = audio * epochs / min(rate, loading) / hardware.gpus / _SECONDS_AN_HOUR
    stage = _stage(cost, audio, batch_seconds, lr, settings, hardware, hours, whole)
    if not encoder.cached and hours is not None:
        stage = dataclasses.replace(stage, hours=hours + epochs * encoder.hours)
    return stage, encoder


def plan_finetune(settings, corpus, hardware):
    """Plans stage 2.

    Arguments
    ---------
    settings : dict
        Plain keys of ``hparams/finetune.yaml``, and those of stage 1 in
        :data:`OF_STAGE1`.
    corpus : Corpus
    hardware : Hardware

    Returns
    -------
    StagePlan

    Raises
    ------
    ValueError
        As :func:`plan_distill`.
    """
    settings = settings | {"precision": _precision(settings, hardware)}
    device = "cuda" if hardware.gpus else "cpu"
    settings["llm_dtype"] = resolve_llm_dtype(settings, device)
    check_parallel(settings["parallel"], settings["precision"])
    if settings["quantization"] is not None:
        check_quantized_tuning(settings)
    audio = corpus.seconds * times_heard(settings)
    epochs, config = settings["number_of_epochs"], load_config(settings["llm_source"])
    memory = finetune_memory(config)
    batch_seconds, lr = _batch(settings, audio, hardware, memory, FINETUNE_GROWTH)
    utterances = _utterances(corpus, batch_seconds)
    cost = trace_finetune(settings, utterances, hardware.processes)
    hours = None
    if hardware.gpus:
        layers = config.get_text_config().num_hidden_layers
        step = cost.flops / _LLM_RATE + layers * _LAYER_SECONDS
        rate = utterances.audio_seconds / step
        hours = audio * epochs / rate / hardware.gpus / _SECONDS_AN_HOUR
    return _stage(cost, audio, batch_seconds, lr, settings, hardware, hours, cost.llm)


def _batch(settings, audio, hardware, per_second=STAGE1_MEMORY, most_growth=math.inf):
    """``batch_seconds`` and ``lr``, as :func:`resolve_batch` has them in a run."""
    batch_seconds, lr = settings["batch_seconds"], settings["lr"]
    if batch_seconds != AUTO:
        return batch_seconds, lr
    total, count = audio * settings["number_of_epochs"], hardware.processes
    batch_seconds = choose_batch(total, hardware.memory, count, per_second)
    if hardware.gpus:
        lr = scale_learning_rate(lr, batch_seconds, count, most_growth)
    return batch_seconds, lr


def plan_encoder(settings, corpus, hardware):
    """Plans what the encoder does.

    Arguments
    ---------
    settings : dict
        ``encoder_source``, ``encoder_layer``, ``cache_features``, ``cache_dtype``,
        ``speed_perturbation``, ``noisy_copies`` and ``data_folder``.
    corpus : Corpus
    hardware : Hardware

    Returns
    -------
    EncoderPlan
    """
    audio_seconds = corpus.seconds * times_heard(settings)
    encoder = ConfigEncoder(settings["encoder_source"], settings["encoder_layer"])
    size = count_bytes([*encoder.parameters(), *encoder.buffers()])
    per_second, at_once, hours = encoder.pass_memory(_WINDOW), _WINDOW, None
    with fake_tensors():
        place(encoder)
        with MemoryTrace() as trace:
            encoder.run(_WINDOW)
    if hardware.gpus:
        free = hardware.gpu_memory - size
        at_once = seconds_per_pass(free, per_second)
        rate = _ENCODER_RATE * _WINDOW / trace.flops
        rate = min(rate * hardware.gpus, _READING)
        hours = audio_seconds / rate / _SECONDS_AN_HOUR
    frames = audio_seconds * encoder.frame_rate
    cached = settings["cache_features"]
    return EncoderPlan(
        encoder.width,
        encoder.frame_rate,
        cached,
        round(frames * encoder.width * _STORED[settings["cache_dtype"]]),
        round(size + at_once * per_second),
        hours,
        # Those of shards are made as they are read.
        0
        if is_shard_folder(settings["data_folder"])
        else round(corpus.seconds * _copies_in_noise(settings) * _NOISY),
    )


def times_heard(settings):
    """How much audio an epoch has, for a second of the data: with copies in noise, and
    at other speeds.

    Arguments
    ---------
    settings : dict
        ``speed_perturbation``, ``noisy_copies``.

    Returns
    -------
    float

    Example
    -------
    >>> noise = {"kinds": ["white"], "copies": 2}
    >>> times_heard({"speed_perturbation": [1.0, 0.8], "noisy_copies": noise})
    6.75
    """
    speeds = settings["speed_perturbation"]
    check_speeds(speeds)
    return (1 + _copies_in_noise(settings)) * sum(1 / speed for speed in speeds)


def _copies_in_noise(settings):
    """Of each utterance."""
    noise = copies_in_noise(settings)
    return noise.get("copies", 1) if noise else 0


def check_sources(settings):
    """Looks whether the configurations of encoder and LLM can be had.

    Arguments
    ---------
    settings : dict
        ``encoder_source``, ``llm_source``.

    Raises
    ------
    ValueError
        If not; names the key and what will do.

    Example
    -------
    >>> check_sources({"encoder_source": "/no/encoder"})
    Traceback (most recent call last):
        ...
    ValueError: encoder_source: '/no/encoder' is neither a folder ... For a plan, a
    folder with its config.json alone will do: --encoder_source FOLDER
    """
    for key in ("encoder_source", "llm_source"):
        try:
            with prefix_errors(key):
                load_config(settings[key])
        except ValueError as error:
            raise ValueError(
                f"{error}. For a plan, a folder with its config.json alone will do: "
                f"--{key} FOLDER"
            ) from error


def stage1_of(settings):
    """What stage 2 goes by, of the folder that its YAML names.

    Arguments
    ---------
    settings : dict
        Plain keys of ``hparams/finetune.yaml``.

    Returns
    -------
    dict
        :data:`OF_STAGE1`.

    Raises
    ------
    ValueError
        If there is no such folder.
    """
    saved = read_settings(find_stage1(settings["stage1"]))
    connector = saved["connector"]
    return {
        "encoder_source": saved["encoder"]["source"],
        "encoder_layer": saved["encoder"]["layer"],
        "llm_source": saved["llm"]["source"],
        "connector": connector["name"],
        "connector_options": {connector["name"]: connector["options"]},
    }


def prepared_data(settings):
    """The training data of a run: shards, or what a run has prepared.

    Arguments
    ---------
    settings : dict
        Plain keys of a YAML.

    Returns
    -------
    PreparedData or None
        With what ``extra_train`` names. None where there are no shards, and no run has
        prepared the data.

    Raises
    ------
    ValueError
        If shards are damaged, or not what the settings say.
    """
    if is_shard_folder(settings["data_folder"]):
        return _data_of_shards(settings)
    path = pathlib.Path(settings["output_folder"]) / "manifests" / "train.csv"
    if not path.is_file():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        seconds = [float(row["duration"]) for row in csv.DictReader(file)]
    total = sum(seconds)
    return PreparedData(total / _SECONDS_AN_HOUR, total / max(len(seconds), 1), {})


def _data_of_shards(settings):
    """What shards have, and whether frames are read of them."""
    corpus = ShardCorpus.open(settings)
    train = corpus.splits["train"]
    frames = [source.made_of.get("frames") for source in corpus.trained_on]
    # What is changed is audio.
    is_changed = settings["speed_perturbation"] != [1.0] or copies_in_noise(settings)
    found = {"cache_features": all(frames) and not is_changed}
    if frames[0]:
        found["cache_dtype"] = frames[0].get("cache_dtype", "float16")
    return PreparedData(
        train.seconds / _SECONDS_AN_HOUR, train.seconds / len(train), found
    )


def _precision(settings, hardware):
    if settings["precision"] != AUTO:
        return settings["precision"]
    return "bf16" if hardware.gpus else resolve_precision(AUTO, "cpu")


def _utterances(corpus, batch_seconds):
    count = max(int(batch_seconds / corpus.utterance_seconds), 1)
    return Utterances(count, corpus.utterance_seconds, corpus.tokens_per_second)


def _stage(cost, audio, batch_seconds, lr, settings, hardware, hours, whole):
    step_seconds = batch_seconds * settings["grad_accumulation_factor"]
    per_epoch = math.ceil(audio / (step_seconds * hardware.processes))
    epochs = settings["number_of_epochs"]
    return StagePlan(
        cost,
        cost.gathered or (cost.gradients if hardware.gpus > 1 else 0),
        batch_seconds,
        lr,
        epochs,
        per_epoch * epochs,
        hours,
        whole,
    )
