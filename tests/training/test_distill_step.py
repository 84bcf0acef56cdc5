"""A training step of stage 1: it asks a GPU nothing, and takes few operators."""

import contextlib
import dataclasses

import numpy as np
import pytest
import speechbrain as sb
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ssr_plugin.connectors import ssr_connector
from ssr_plugin.connectors.ssr import PUBLISHED
from ssr_plugin.hparams import find_yaml, plain_keys
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.segmenters.base import Segments
from ssr_plugin.training.distill_brain import DistillBrain
from ssr_plugin.training.packed_tensors import PackedTensors
from ssr_plugin.training.profiling import count_by_phase

WIDTH = 12


def make_brain(folder, **connector):
    """A Brain with the settings of hparams/distill.yaml, and a tiny LLM."""
    llm = TextLLM(folder)
    options = {"dropout": 0.2, "gram_dropout": 0.2, **connector}
    if options.get("head") == "direct":
        options.pop("gram_dropout")
    modules = {
        "encoder": nn.Identity(),
        "llm": llm,
        "connector": ssr_connector(WIDTH, llm, **options),
    }
    hparams = plain_keys(find_yaml("hparams/distill.yaml").read_text())
    hparams |= {"precision": "fp32", "ce_candidates": 20}
    if options.get("head") == "direct":
        hparams["ce_weight"] = 0.0
    hparams["epoch_counter"] = sb.utils.epoch_loop.EpochCounter(1)
    seen = torch.ones(len(llm.table()), dtype=torch.bool)
    brain = DistillBrain(seen_tokens=seen, modules=modules, hparams=hparams)
    brain.steps_per_epoch = 10
    brain.modules.train()
    return brain


def make_planned_batch(brain):
    examples = []
    for i, length in enumerate((90, 70, 33)):
        ends = np.arange(6, length, 7)
        examples.append(
            {
                "id": str(i),
                "duration": length / 50,
                "input": torch.randn(length, WIDTH).half(),
                "num_frames": length,
                "segments": Segments(ends % 30, ends - 6, ends),
            }
        )
    return brain.collate(examples)


def move(brain, batch, device):
    """The Brain and the batch on a device where tensors have no numbers."""

    def empty(x):
        return torch.empty(x.shape, dtype=x.dtype, device=device)

    for module in brain.modules.values():
        for child in module.modules():
            for name, parameter in child._parameters.items():
                if parameter is not None:
                    grad = parameter.requires_grad
                    child._parameters[name] = nn.Parameter(empty(parameter), grad)
    brain.table = brain.modules.llm.table()
    brain.norms, brain.center = empty(brain.norms), empty(brain.center)
    brain.device = device
    tensors = PackedTensors(
        torch.empty(batch.tensors.buffer.shape, dtype=torch.uint8, device=device),
        dict(batch.tensors.layout),
    )
    return dataclasses.replace(batch, tensors=tensors)


FORMS = {"default": {}, "published": PUBLISHED}


@pytest.mark.parametrize("form", FORMS)
def test_a_step_asks_a_gpu_nothing_until_the_backward_pass(form, tiny_llm_folder):
    # Torch's backward pass looks for a real GPU: that is left to the next test.
    brain = make_brain(tiny_llm_folder, **FORMS[form])
    batch = make_planned_batch(brain)
    with FakeTensorMode():
        batch = move(brain, batch, "cuda")
        output = brain.compute_forward(batch, sb.Stage.TRAIN)
        loss = brain.compute_objectives(output, batch, sb.Stage.TRAIN)
    assert loss.device.type == "cuda" and loss.shape == ()


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_step_needs_no_number_of_what_is_on_the_device(form, tiny_llm_folder):
    brain = make_brain(tiny_llm_folder, **FORMS[form])
    # On this device there are none: to ask for one, or for a shape that follows from
    # them, is an error.
    batch = move(brain, make_planned_batch(brain), "meta")
    brain.optimizer = torch.optim.AdamW(brain.modules.connector.parameters())
    brain.optimizers_step = lambda: torch.empty((), device="meta")
    loss, _ = brain._take_step(batch)
    assert loss.device.type == "meta"
    grads = [p.grad for p in brain.modules.connector.parameters()]
    assert all(grad is not None for grad in grads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("form", FORMS)
def test_a_gpu_is_asked_nothing_in_a_step(form, tiny_llm_folder):
    brain = make_brain(tiny_llm_folder, **FORMS[form])
    brain.device = "cuda"
    for module in brain.modules.values():
        module.to("cuda")
    brain.table = brain.modules.llm.table()
    brain.norms, brain.center = brain.norms.cuda(), brain.center.cuda()
    brain.init_optimizers()
    batch = make_planned_batch(brain).pin_memory()
    brain.read_every = 1000
    for step in range(8):
        brain.step = step + 1
        if step == 5:
            torch.cuda.set_sync_debug_mode("error")
        with contextlib.ExitStack() as stack:
            stack.callback(torch.cuda.set_sync_debug_mode, "default")
            brain.fit_batch(batch)


def test_a_step_takes_few_operators(tiny_llm_folder):
    brain = make_brain(tiny_llm_folder)
    brain.init_optimizers()
    batch = make_planned_batch(brain)
    brain.step = 1
    brain.fit_batch(batch)
    counts = count_by_phase(lambda: brain.fit_batch(batch))
    # They were 608 before the host planned: 366, 240 and 2. On a CPU 44 of them are
    # of the five RMS norms, for which a GPU has kernels.
    assert counts["forward"].total() <= 125
    assert counts["backward"].total() <= 117
    assert counts["optimizer"].total() <= 3
