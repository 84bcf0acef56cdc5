"""A training step of each stage, run on tensors without memory: what it would take."""

import contextlib
import dataclasses
from types import SimpleNamespace

import numpy as np
import speechbrain as sb
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)

from ssr_plugin import build
from ssr_plugin.connectors.base import VocabularyConnector
from ssr_plugin.inference.reading import SHARPNESS
from ssr_plugin.llm.packing import make_pack, read_states, trust_configuration
from ssr_plugin.nnet.memory_trace import (
    MemoryTrace,
    count_bytes,
    fake_tensors,
    place,
)
from ssr_plugin.nnet.spelling import VocabularyHead
from ssr_plugin.segmenters.base import Segments
from ssr_plugin.training.augment import Strengths, change_frames
from ssr_plugin.training.config_models import ConfigEncoder, ConfigLLM, stay
from ssr_plugin.training.config_quantized import FourBitLinear
from ssr_plugin.training.distill_brain import DistillBrain
from ssr_plugin.training.finetune_brain import (
    FinetuneBrain,
    FinetunePredictions,
    TextPredictions,
)
from ssr_plugin.training.fsdp import decoder_layers
from ssr_plugin.training.packed_tensors import PackedTensors
from ssr_plugin.training.planning import TrainingCollate
from ssr_plugin.training.stage1_model import tune
from ssr_plugin.training.templates import parse_templates, sequence


@dataclasses.dataclass(frozen=True)
class Utterances:
    """What a batch is made of.

    Arguments
    ---------
    count : int
    seconds : float
        Of each, s.
    tokens_per_second : float
        Tokens of the LLM.
    """

    count: int
    seconds: float
    tokens_per_second: float

    @property
    def audio_seconds(self):
        """Of all."""
        return self.count * self.seconds

    @property
    def tokens(self):
        """Of each."""
        return max(round(self.seconds * self.tokens_per_second), 1)

    def examples(self, encoder, vocab_size):
        """As a data set gives them, the tokens at equal distances."""
        frames = max(round(self.seconds * encoder.frame_rate), self.tokens)
        ends = np.linspace(0, frames, self.tokens + 1).astype(int)
        tokens = np.arange(self.tokens) % vocab_size
        example = {
            "duration": self.seconds,
            "input": torch.zeros(frames, encoder.width, dtype=torch.float16),
            "num_frames": frames,
            "segments": Segments(tokens, ends[:-1], ends[1:] - 1),
        }
        return [{"id": str(i), **example} for i in range(self.count)]


@dataclasses.dataclass(frozen=True)
class StepCost:
    """What a training step takes on one device.

    Arguments
    ---------
    frozen, trained : dict
        Parameters of each part.
    weights, optimizer, gradients : int
        Bytes of all weights, of AdamW's two averages, and of the gradients.
    step : int
        Bytes that a step needs at most beside weights and optimizer: frames,
        activations, and gradients as they come.
    llm : int
        Bytes of the LLM's weights among ``weights``.
    flops : int
        Floating-point operations.
    gathered : int
        Bytes of the layers that a process of FSDP gathers, and of their gradients.
    """

    frozen: dict
    trained: dict
    weights: int
    optimizer: int
    gradients: int
    step: int
    llm: int
    flops: int
    gathered: int = 0

    @property
    def peak(self):
        """All of it, bytes."""
        return self.weights + self.optimizer + self.step


def trace_distill(settings, utterances):
    """A step of stage 1, with frames from the cache.

    Arguments
    ---------
    settings : dict
        Plain keys of ``hparams/distill.yaml``; ``precision`` "bf16" or "fp32".
    utterances : Utterances

    Returns
    -------
    StepCost

    Raises
    ------
    ValueError
        If the step asks for numbers, which tensors without memory do not have.

    Example
    -------
    >>> from ssr_plugin.hparams import make_job
    >>> settings = make_job("distill.yaml", {"precision": "fp32"}).settings
    >>> cost = trace_distill(settings, Utterances(3, 12.0, 3.5))
    >>> cost.optimizer == 2 * 4 * cost.trained["connector"]
    True
    """
    encoder = ConfigEncoder(settings["encoder_source"], settings["encoder_layer"])
    llm = ConfigLLM(settings["llm_source"], settings["llm_dtype"])
    connector = _make_connector(settings, encoder, llm)
    modules = {"encoder": encoder, "llm": llm, "connector": connector}
    seen = torch.ones(llm.vocab_size, dtype=torch.bool)
    with fake_tensors() as mode, _without_questions(settings["connector"]):
        place(encoder, llm, *llm.whole, connector)
        brain = DistillBrain(
            seen_tokens=seen,
            modules=modules,
            hparams=settings,
            run_opts={"device": "cpu"},
        )
    batch = brain.collate(utterances.examples(encoder, llm.vocab_size))
    with fake_tensors(mode), _without_questions(settings["connector"]):
        batch = _without_memory(batch, mode)
        brain.modules.train()
        constants = [x for x in (brain.norms, brain.center) if x is not None]

        def step():
            with brain.training_ctx:
                outputs = brain.compute_forward(batch, sb.Stage.TRAIN)
                loss = brain.compute_objectives(outputs, batch, sb.Stage.TRAIN)
            loss.backward()

        return _trace(step, modules, llm, batch, constants)


def trace_finetune(settings, utterances, processes=1):
    """A step of stage 2, with frames from the cache and forced segments.

    Arguments
    ---------
    settings : dict
        Plain keys of ``hparams/finetune.yaml``, and of the stage 1 before it
        ``encoder_source``, ``encoder_layer``, ``llm_source``, ``connector`` and
        ``connector_options``; ``precision`` "bf16" or "fp32", ``llm_dtype`` a type.
    utterances : Utterances
    processes : int
        That share the LLM, where ``parallel`` is "fsdp".

    Returns
    -------
    StepCost

    Raises
    ------
    ValueError
        As :func:`trace_distill`.
    """
    encoder = ConfigEncoder(settings["encoder_source"], settings["encoder_layer"])
    dtype, quantization = settings["llm_dtype"], settings["quantization"]
    llm = ConfigLLM(settings["llm_source"], dtype, quantization)
    connector = _make_connector(settings, encoder, llm).requires_grad_(False).eval()
    with torch.device("meta"):
        tuned = stay(tune(llm, settings))
    packs = [trust_configuration(x) for x in (llm.load_model(), tuned.model)]
    strengths = Strengths.of(settings)
    examples = utterances.examples(encoder, llm.vocab_size)
    batch = TrainingCollate(strengths, settings["seed"])(examples)
    speech, text = _sequences(settings, llm, utterances, batch)
    pack = _pack(speech + text, packs[1])
    base = _pack(text, packs[0]) if text else None
    count = sum(int((targets >= 0).sum()) for _, targets in speech)
    plan = _reading_plan(connector, batch)
    with fake_tensors() as mode:
        place(encoder, connector, tuned)
        pack, base = _fake_pack(pack, mode), base and _fake_pack(base, mode)
        batch = _without_memory(batch, mode)
        plan = {name: mode.from_tensor(x) for name, x in plan.items()}
        keys = _keep_keys(connector, llm.vocab_size)
        shards = None
        if settings["parallel"] == "fsdp" and processes > 1:
            shards = _Shards(tuned, processes)
        tuned.train()

        def forward():
            # Held until the LLM has read, as the Brain holds them.
            frames = change_frames(
                batch.inputs.float(),
                batch.tensors["mix"],
                batch.tensors["masked"],
                strengths.frame_noise,
            )
            places = batch.boundaries.numel(), llm.hidden_size
            vectors = _read(connector, frames, batch, plan, utterances, places)
            embeds = pack.embed(llm, vectors)
            states = tuned(embeds, pack.layout, pack.wanted, pack.packed)
            sizes = [count, len(states) - count]
            (speech_states, text_states) = states.split(sizes)
            (speech_targets, text_targets) = pack.targets.split(sizes)
            read = None
            if text:
                known = read_base() if settings["text_kl_weight"] else None
                read = TextPredictions(text_states, text_targets, known)
            del frames, vectors
            return FinetunePredictions(
                tuned.model, [speech_states], [speech_targets], [1.0], read
            )

        @torch.no_grad()
        def read_base():
            with tuned.base_model() as original:
                model = original.load_model()
                embeds = base.embed(original)
                arguments = (embeds, base.layout, base.wanted, base.packed)
                return model, read_states(model, *arguments)

        half = settings["precision"] == "bf16"

        def step():
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                outputs = forward()
                brain = SimpleNamespace(hparams=SimpleNamespace(**settings))
                loss = FinetuneBrain.compute_objectives(
                    brain, outputs, batch, sb.Stage.TRAIN
                )
            loss.backward()

        modules = {"encoder": encoder, "connector": connector, "llm": tuned}
        cost = _trace(step, modules, llm, batch, [*keys, *_tensors(pack)])
        return cost if shards is None else shards.share(cost)


def _make_connector(settings, encoder, llm):
    name, options = settings["connector"], settings["connector_options"]
    with torch.device("meta"):
        return stay(build.connector(name, encoder, llm, options))


@contextlib.contextmanager
def _without_questions(name):
    """Says so where a step asks for numbers."""
    try:
        yield
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise ValueError(
            f"what a training step takes cannot be told beforehand: connector "
            f"'{name}', or a loss through the LLM, asks the device for numbers "
            f"({error})"
        ) from error


def _without_memory(batch, mode):
    """A batch of fake tensors."""
    tensors = PackedTensors(
        mode.from_tensor(batch.tensors.buffer), dict(batch.tensors.layout)
    )
    return dataclasses.replace(batch, tensors=tensors)


def _pack(sequences, packed):
    inputs, targets = zip(*sequences, strict=True)
    return make_pack(inputs, targets, packed)


def _fake_pack(pack, mode):
    fake = {
        field.name: mode.from_tensor(value)
        for field in dataclasses.fields(pack)
        if isinstance(value := getattr(pack, field.name), torch.Tensor)
    }
    layout = [mode.from_tensor(x) for x in vars(pack.layout).values()]
    return dataclasses.replace(pack, layout=type(pack.layout)(*layout), **fake)


def _tensors(pack):
    parts = [*vars(pack.layout).values(), *vars(pack).values()]
    return [x for x in parts if isinstance(x, torch.Tensor)]


def _trace(step, modules, llm, batch, others):
    """The cost of a step, all weights and what it reads being there before."""
    weights = {
        name: [*module.parameters(), *module.buffers()]
        for name, module in modules.items()
    }
    known = [x for tensors in weights.values() for x in tensors]
    read = [batch.tensors.buffer, *others]
    with MemoryTrace(*known, *read) as trace:
        step()
    frozen, trained, seen = {}, {}, set()
    # Two of them are in a byte.
    counted = {
        id(layer.weight): layer.in_features * layer.out_features
        for module in modules.values()
        for layer in module.modules()
        if isinstance(layer, FourBitLinear)
    }
    for name, module in modules.items():
        parameters = [x for x in module.parameters() if id(x) not in seen]
        seen |= set(map(id, parameters))
        for counts, takes in ((frozen, False), (trained, True)):
            chosen = [x for x in parameters if x.requires_grad == takes]
            if chosen:
                counts[name] = sum(counted.get(id(x), x.numel()) for x in chosen)
    gradients = count_bytes(x for x in known if getattr(x, "requires_grad", False))
    return StepCost(
        frozen,
        trained,
        weights=count_bytes(known),
        optimizer=2 * gradients,
        gradients=gradients,
        step=trace.peak + count_bytes(read),
        llm=count_bytes([*llm.parameters(), *llm.buffers()]),
        flops=trace.flops,
    )


def _sequences(settings, llm, utterances, batch):
    """What a batch gives the LLM to read: speech, and text beside it."""
    templates = parse_templates(settings["templates"], llm.tokenizer)
    shares = np.cumsum([template.share for template in templates])
    width = batch.boundaries.shape[1]
    speech = []
    for row in range(utterances.count):
        draw = (row + 0.5) / utterances.count * shares[-1]
        template = templates[int(np.searchsorted(shares, draw))]
        tokens = np.arange(utterances.tokens)
        vectors = row * width + tokens
        if template.halves:
            half = len(tokens) // 2
            vectors, tokens = vectors[:half], tokens[half:]
        speech.append(sequence(template, llm, vectors, tokens % llm.vocab_size))
    text = []
    if settings["text_weight"] or settings["text_kl_weight"]:
        asked = sum(int((targets >= 0).sum()) for _, targets in speech)
        left, block = round(settings["text_ratio"] * asked), settings["text_block"]
        # What is drawn begins and ends in the middle of texts, which come whole: of
        # texts of half a block, so much more.
        left += block // 2 if left else 0
        while left > 0:
            tokens = np.zeros(min(left, block), dtype=int)
            text.append((tokens, tokens))
            left -= len(tokens)
    return speech, text


def _reading_plan(connector, batch):
    """What the connector's planner makes of forced segments; {} if it has none."""
    planner = connector.planner()
    if planner is None:
        return {}
    return planner.plan(batch.boundaries, batch.starts, batch.num_frames)


def _keep_keys(connector, vocab_size):
    """The keys of all tokens, that a frozen connector makes once and keeps."""
    kept = []
    for head in connector.modules():
        if isinstance(head, VocabularyHead):
            keys = torch.empty(vocab_size, head.query.out_features)
            kept += [keys, torch.empty(vocab_size)]
            head.keep_keys(*kept[-2:])
    return kept


@torch.no_grad()
def _read(connector, frames, batch, plan, utterances, shape):
    """Vectors as the frozen connector reads them, of a shape [K, H].

    What one that has no planner takes is not known.
    """
    boundaries = batch.boundaries
    if not plan:
        return torch.empty(shape)
    if not isinstance(connector, VocabularyConnector):
        vectors = connector(frames, boundaries, batch.starts, plan=plan).vectors
        return vectors.flatten(0, 1)
    states = connector.encode(frames, boundaries, batch.starts, plan).flatten(0, 1)
    # Those of segments, without padding.
    said = states[: utterances.count * utterances.tokens].clone()
    vectors = connector.expected_embeddings(said, SHARPNESS)
    return vectors.new_zeros(shape).index_copy(0, torch.arange(len(said)), vectors)


class _Shards:
    """What each process of FSDP holds of an LLM, and of its gradients.

    Arguments
    ---------
    tuned : ssr_plugin.llm.tuning.TunedLLM
        Its gradients are cut from now on as they come.
    processes : int
    """

    def __init__(self, tuned, processes):
        self.processes = processes
        self._gradients = []
        models = [tuned.llm.load_model(), tuned.model]
        self._layers = [x for model in models for x in decoder_layers(model)]
        self._of_llm, of_tuned = (
            {
                parameter
                for parameter in model.get_decoder().parameters()
                if parameter is not model.get_input_embeddings().weight
            }
            for model in models
        )
        self._parameters = self._of_llm | of_tuned
        for parameter in self._parameters:
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(self._cut)

    def _cut(self, parameter):
        """Keeps this process's part of a gradient."""
        size = -(-parameter.numel() // self.processes)
        self._gradients.append(parameter.new_empty(size))
        parameter.grad = None

    def share(self, cost):
        """The cost of a step in one of the processes.

        Arguments
        ---------
        cost : StepCost
            Of all weights.

        Returns
        -------
        StepCost
        """
        everything = count_bytes(self._parameters)
        trained = count_bytes(x for x in self._parameters if x.requires_grad)
        left = 1 - 1 / self.processes
        layers = [[*layer.parameters()] for layer in self._layers]
        whole = max(map(count_bytes, layers))
        learnt = max(
            count_bytes(x for x in layer if x.requires_grad) for layer in layers
        )
        return dataclasses.replace(
            cost,
            weights=round(cost.weights - left * everything),
            optimizer=round(cost.optimizer - 2 * left * trained),
            gradients=round(cost.gradients - left * trained),
            llm=round(cost.llm - left * count_bytes(self._of_llm)),
            # A layer, the next one that is on its way, and what it comes in; and the
            # gradients of a layer, once more as they are sent.
            gathered=3 * whole + 2 * learnt,
        )
