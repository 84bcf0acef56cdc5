"""An LLM in parts: what several processes tune together is what one tunes."""

import os

import numpy as np
import pytest
import torch
from speechbrain.utils.epoch_loop import EpochCounter
from test_finetune_brain import LISTENING, PLAIN, TRANSCRIPTION
from torch.distributed.tensor import DTensor

from ssr_plugin import SpeechLM
from ssr_plugin.hparams import make_job
from ssr_plugin.llm.tuning import TunedLLM
from ssr_plugin.segmenters.base import Segments
from ssr_plugin.training import fsdp
from ssr_plugin.training.augment import Strengths
from ssr_plugin.training.checkpoints import AtomicCheckpointer
from ssr_plugin.training.finetune_brain import FinetuneBrain
from ssr_plugin.training.history import History
from ssr_plugin.training.planning import TrainingCollate
from ssr_plugin.training.resource_plan import stage1_of
from ssr_plugin.training.step_traces import Utterances, trace_finetune
from ssr_plugin.training.templates import parse_templates
from ssr_plugin.training.text_data import Text

import runs

STEPS = 5


def make_brain(source, folder, kind, world_size, checkpoints):
    """A brain whose steps are over two batches, by one process or by two."""
    torch.manual_seed(0)
    lm = SpeechLM.from_pretrained(source)
    options = {"r": 2} if kind == "lora" else {}
    tuned = TunedLLM(lm.llm, kind, **options)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    fsdp.shard(tuned, "cpu")
    counter, history = EpochCounter(1), History(folder, loggers=[])
    recoverables = {"counter": counter, "tuned": fsdp.ShardedModel(tuned)}
    run_opts = {"device": "cpu", "grad_accumulation_factor": 2 // world_size}
    if world_size > 1:
        run_opts |= {"distributed_launch": True, "distributed_backend": "gloo"}
    hparams = {
        "lr": 0.01,
        "weight_decay": 0.1,
        "warmup": 0.0,
        "number_of_epochs": 1,
        "epoch_counter": counter,
        "history": history,
        "parallel": "fsdp",
    }
    templates = {"listening": LISTENING, "transcription": TRANSCRIPTION}
    brain = FinetuneBrain(
        lm=lm,
        templates=parse_templates(templates, lm.llm.tokenizer),
        text=Text([torch.tensor([1, 5, 6, 9]), torch.tensor([1, 8, 4, 4, 2])], [], ""),
        modules={"encoder": lm.encoder, "tuned": tuned},
        hparams={**PLAIN, **hparams},
        run_opts=run_opts,
        checkpointer=AtomicCheckpointer(folder / checkpoints, recoverables),
    )
    brain.valid_loader = None
    brain.steps_per_epoch = 2 * STEPS // world_size
    brain.on_fit_start()
    next(iter(counter))
    brain.modules.train()
    return brain


def make_batch(number):
    """The batch of that number in the epoch."""
    generator = np.random.default_rng(number)
    examples = []
    for i, count in enumerate(generator.integers(1, 6, 3)):
        ends = 4 * np.arange(1, count + 1) - 1
        segments = Segments(generator.integers(3, 32, count), ends - 3, ends)
        features = generator.standard_normal((4 * count, 32), dtype=np.float32)
        example = {"id": str(i), "duration": 0.1, "input": features}
        example["num_frames"] = len(features)
        examples.append({**example, "segments": segments})
    return TrainingCollate(Strengths(), seed=0)(examples)


def tune(rank, world_size, source, folder, kind, name, steps):
    """Goes on for some steps of the optimizer; leaves a checkpoint and its results."""
    if world_size > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        meeting = f"file://{folder}/meeting{name}"
        torch.distributed.init_process_group(
            "gloo", meeting, rank=rank, world_size=world_size
        )
    brain = make_brain(source, folder, kind, world_size, name.rstrip("0123456789"))
    for _ in range(steps * 2 // world_size):
        number = brain.step * world_size + rank
        brain.step += 1
        brain.fit_batch(make_batch(number))
    brain._save_intra_epoch_ckpt()
    tuned = brain.modules.tuned
    parts = [x for x in tuned.parameters() if isinstance(x, DTensor)]
    weights = fsdp.whole_weights(tuned) if parts else tuned.weights()
    states = [x for state in brain.optimizer.state.values() for x in state.values()]
    held = [
        sum(getattr(x, "_local_tensor", x).nbytes for x in tensors)
        for tensors in (tuned.parameters(), [x for x in states if x.dim()])
    ]
    if rank == 0:
        weights = {key: x.detach().clone() for key, x in weights.items()}
        results = brain.avg_train_loss, weights, held
        torch.save(results, folder / f"{name}.pt")
    if world_size > 1:
        torch.distributed.destroy_process_group()


def run(processes, *arguments):
    """Results of :func:`tune` in processes of their own."""
    runs.start_together(tune, (processes, *arguments), processes)
    return torch.load(arguments[1] / f"{arguments[3]}.pt")


def plan(source, kind):
    """What a step takes with one process and with two, as planned."""
    given = {"stage1": str(source), "precision": "fp32", "llm_dtype": "float32"}
    given |= {"tuning": kind, "parallel": "fsdp", "tuning_options": {"lora": {"r": 2}}}
    settings = make_job("finetune.yaml", given).settings
    settings |= stage1_of(settings)
    return [trace_finetune(settings, Utterances(3, 1.0, 3.0), n) for n in (1, 2)]


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_an_llm_in_parts_learns_what_a_whole_one_learns_by_any_number_of_processes(
    tiny_speech_lm_folder, tmp_path, kind
):
    begin = (tiny_speech_lm_folder, tmp_path, kind)
    loss, weights, whole = run(1, *begin, "alone", STEPS)
    # Two processes, then one, then two again.
    _, _, held = run(2, *begin, "together1", 2)
    run(1, *begin, "together2", 1)
    found_loss, found, _ = run(2, *begin, "together3", 2)
    # What ssr plan says that two processes save of weights, and what they keep of the
    # optimizer.
    alone, together = plan(tiny_speech_lm_folder, kind)
    saved = alone.weights - together.weights
    assert saved == pytest.approx(whole[0] - held[0], rel=0.05)
    assert [alone.optimizer, together.optimizer] == pytest.approx(
        [whole[1], held[1]], rel=0.05
    )
    assert found_loss == pytest.approx(loss, rel=1e-5)
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight, atol=2e-5, rtol=1e-4)
