"""What the plan says that a training step takes is what a real step takes."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from ssr_plugin import SpeechLM, build
from ssr_plugin.connectors.ssr import PUBLISHED
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.hparams import make_job
from ssr_plugin.llm.compact_weights import quantized_options
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.memory_trace import (
    MemoryTrace,
    count_bytes,
    fake_tensors,
    place,
)
from ssr_plugin.training.config_models import ConfigLLM
from ssr_plugin.training.distill_brain import DistillBrain
from ssr_plugin.training.finetune_brain import FinetuneBrain
from ssr_plugin.training.resource_plan import stage1_of
from ssr_plugin.training.stage1_model import tune
from ssr_plugin.training.step_traces import (
    Utterances,
    trace_distill,
    trace_finetune,
)
from ssr_plugin.training.templates import parse_templates
from ssr_plugin.training.text_data import Text

#: Of two sizes: few long utterances and many short ones.
SIZES = [Utterances(3, 12.0, 3.5), Utterances(12, 4.0, 4.0)]


def peak_of(brain, batch):
    """Bytes that a real step takes at most, by torch's profiler of the CPU's memory."""
    brain.modules.train()
    brain.optimizer = torch.optim.AdamW(
        [p for p in brain.modules.parameters() if p.requires_grad], fused=True
    )
    # The first step makes the optimizer's state.
    brain._take_step(batch)
    with torch.profiler.profile(profile_memory=True) as profile:
        brain._take_step(batch)
    alive = peak = 0
    events = profile.profiler.kineto_results.events()
    memory = [event for event in events if event.name() == "[memory]"]
    for event in sorted(memory, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    assert peak
    weights = [
        x
        for module in [*brain.modules.values(), getattr(brain, "lm", None)]
        if module is not None
        for x in (*module.parameters(), *module.buffers())
    ]
    states = [x for state in brain.optimizer.state.values() for x in state.values()]
    return peak + count_bytes([*weights, *states, batch.tensors.buffer])


def distill_settings(encoder_folder, llm_folder, **overrides):
    sources = {"encoder_source": str(encoder_folder), "llm_source": str(llm_folder)}
    return make_job(
        "distill.yaml", sources | {"precision": "fp32"} | overrides
    ).settings


@pytest.mark.parametrize(
    "utterances, form", [*zip(SIZES, ["default", "published"], strict=True)]
)
def test_the_peak_of_stage_1_is_planned_within_15_percent(
    utterances, form, tiny_encoder_folder, tiny_llm_folder
):
    overrides = {}
    if form == "published":
        overrides = {"connector_options": {"ssr": PUBLISHED}, "ce_weight": 0.0}
    settings = distill_settings(tiny_encoder_folder, tiny_llm_folder, **overrides)
    encoder, llm = SpeechEncoder(tiny_encoder_folder), TextLLM(tiny_llm_folder)
    options = settings["connector_options"]
    connector = build.connector("ssr", encoder, llm, options)
    brain = DistillBrain(
        seen_tokens=torch.ones(llm.vocab_size, dtype=torch.bool),
        modules={"encoder": encoder, "llm": llm, "connector": connector},
        hparams=settings,
        run_opts={"device": "cpu"},
    )
    batch = brain.collate(utterances.examples(encoder, llm.vocab_size))
    cost = trace_distill(settings, utterances)
    assert cost.peak == pytest.approx(peak_of(brain, batch), rel=0.15)
    trained = sum(p.numel() for p in connector.parameters())
    assert cost.trained == {"connector": trained}
    assert cost.frozen["encoder"] == sum(p.numel() for p in encoder.parameters())


@pytest.mark.parametrize(
    "utterances, overrides",
    [
        *zip(
            SIZES, [{}, {"tuning": "full", "gradient_checkpointing": True}], strict=True
        )
    ],
)
def test_the_peak_of_stage_2_is_planned_within_15_percent(
    utterances, overrides, tiny_speech_lm_folder
):
    job = make_job(
        "finetune.yaml",
        {"precision": "fp32", "llm_dtype": "float32", "predicted_share": 0.0}
        | {"stage1": str(tiny_speech_lm_folder)}
        | overrides,
    )
    settings = job.settings
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder)
    block = settings["text_block"]
    # As the plan takes it: templates by their shares, blocks of text that are full.
    text = Text([torch.ones(block + 1, dtype=torch.long)] * 64, [], "")
    brain = FinetuneBrain(
        lm=lm,
        templates=parse_templates(settings["templates"], lm.llm.tokenizer),
        text=text,
        modules={"encoder": lm.encoder, "tuned": tune(lm.llm, settings)},
        hparams=settings,
        run_opts={"device": "cpu"},
    )
    batch = brain.collate(utterances.examples(lm.encoder, lm.llm.vocab_size))
    cost = trace_finetune(settings | stage1_of(settings), utterances)
    # Templates and text are drawn.
    torch.manual_seed(0)
    peak = peak_of(brain, batch)
    assert cost.peak == pytest.approx(peak, rel=0.15)
    trained = sum(x.numel() for x in brain.modules.tuned.state_dict().values())
    assert cost.trained == {"llm": trained}


def test_an_llm_in_4_bits_is_planned_as_large_as_it_is(tmp_path):
    pytest.importorskip("bitsandbytes", reason="needs ssr-plugin[quantized]")
    # Widths of the tiny LLM are too small for bitsandbytes.
    sizes = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "vocab_size": 32}
    LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(tmp_path)
    # As it is on a GPU: the first pass on a CPU packs it in another way.
    options = quantized_options("4bit", torch.float32, torch.device("cpu"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path, **options)
    real = count_bytes([*model.parameters(), *model.buffers()])
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            kept = (state.absmax, state.code, state.offset, state.state2.absmax)
            real += count_bytes(kept)
    planned = ConfigLLM(tmp_path, "float32", "4bit").load_model()
    with fake_tensors():
        place(planned)
        assert count_bytes([*planned.parameters(), *planned.buffers()]) == real


def test_a_step_through_an_llm_in_4_bits_takes_less_and_learns_as_much(
    tiny_speech_lm_folder,
):
    given = {"stage1": str(tiny_speech_lm_folder), "precision": "fp32"}
    settings = make_job("finetune.yaml", given | {"llm_dtype": "float32"}).settings
    settings |= stage1_of(settings)
    whole, small = (
        trace_finetune(settings | {"quantization": kind}, SIZES[0])
        for kind in (None, "4bit")
    )
    assert (small.trained, small.frozen) == (whole.trained, whole.frozen)
    assert small.optimizer == whole.optimizer
    layers = TextLLM(settings["llm_source"]).load_model().get_decoder().layers
    linear = sum(p.numel() for p in layers.parameters() if p.dim() == 2)
    saved = whole.weights - small.weights
    assert 4 * linear * 0.8 < saved < 4 * linear


def test_what_a_trace_leaves_behind_is_real(tiny_encoder_folder, tiny_llm_folder):
    settings = distill_settings(tiny_encoder_folder, tiny_llm_folder)
    trace_distill(settings, SIZES[0])
    llm = TextLLM(tiny_llm_folder)
    connector = build.connector("ssr", SpeechEncoder(tiny_encoder_folder), llm)
    vectors = connector(torch.rand(1, 8, 32), torch.tensor([[3, 7]])).vectors
    assert vectors.tolist()


def test_a_connector_that_asks_for_numbers_is_named(
    tiny_encoder_folder, tiny_llm_folder
):
    settings = distill_settings(
        tiny_encoder_folder, tiny_llm_folder, connector="stack_mlp"
    )
    with pytest.raises(ValueError, match="beforehand: connector 'stack_mlp', or"):
        trace_distill(settings, SIZES[0])


def test_views_are_counted_once_and_what_is_freed_no_more():
    with fake_tensors():
        x = torch.empty(1000, dtype=torch.float32)
        with MemoryTrace(x) as trace:
            y = x * 2
            views = y[:10], y.view(10, 100)
            assert trace.alive == 4000
            z = y + 1
            assert trace.alive == 8000
            del z
            assert trace.alive == 4000 and trace.peak == 8000
            del y, views
            assert trace.alive == 0
