"""A step of stage 2: one pass of the tuned LLM, and what its loss is made of."""

import numpy as np
import pytest
import speechbrain as sb
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from ssr_plugin import SpeechLM
from ssr_plugin.llm import next_token, packing
from ssr_plugin.llm.tuning import TunedLLM
from ssr_plugin.segmenters.base import Segments
from ssr_plugin.training import pseudo_speech
from ssr_plugin.training.augment import Strengths
from ssr_plugin.training.brain import ReadOptions
from ssr_plugin.training.finetune_brain import FinetuneBrain
from ssr_plugin.training.planning import TrainingCollate
from ssr_plugin.training.templates import parse_templates
from ssr_plugin.training.text_data import Text

LISTENING = {"format": "{speech}", "share": 1}
TRANSCRIPTION = {"format": "{speech} b{text}", "share": 1}
CONTINUATION = {"format": "{speech}{text}", "share": 1, "halves": True}
PLAIN = {
    "mean_swap": 0.0,
    "frame_noise": 0.0,
    "frame_dropout": 0.0,
    "time_masks": 0.0,
    "time_mask_frames": 1,
    "boundary_jitter": 0.0,
    "predicted_share": 0.0,
    "lm_fusion": False,
    "text_ratio": 1.0,
    "text_weight": 0.0,
    "text_kl_weight": 1.0,
    "text_block": 16,
    "precision": "fp32",
    "seed": 0,
}


@pytest.fixture
def make_brain(tiny_speech_lm_folder):
    """``make_brain(templates, **hparams)``: a brain whose adapters have learnt."""

    def make(templates, device="cpu", **hparams):
        torch.manual_seed(0)
        lm = SpeechLM.from_pretrained(tiny_speech_lm_folder)
        tuned = TunedLLM(lm.llm, "lora", r=2)
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if ".lora_" in name:
                    parameter += 0.3 * torch.randn_like(parameter)
        brain = FinetuneBrain(
            lm=lm,
            templates=parse_templates(templates, lm.llm.tokenizer),
            text=Text(
                [torch.tensor([1, 5, 6, 9]), torch.tensor([1, 8, 4, 4, 2])], [], ""
            ),
            modules={"encoder": lm.encoder, "tuned": tuned},
            hparams={**PLAIN, **hparams},
            run_opts={"device": device},
        )
        for module in brain.modules.values():
            module.to(device)
        return brain

    return make


def make_batch(counts=(3, 5, 1)):
    """Utterances of so many tokens, four frames each."""
    generator = np.random.default_rng(0)
    examples = []
    for i, count in enumerate(counts):
        ends = 4 * np.arange(1, count + 1) - 1
        segments = Segments(generator.integers(3, 32, count), ends - 3, ends)
        features = generator.standard_normal((4 * count, 32), dtype=np.float32)
        example = {"id": str(i), "duration": 0.1, "input": features}
        example["num_frames"] = len(features)
        examples.append({**example, "segments": segments})
    return TrainingCollate(Strengths(), seed=0)(examples)


def losses(brain, batch):
    """Loss of a training step's forward pass."""
    torch.manual_seed(1)
    predictions = brain.compute_forward(batch, sb.Stage.TRAIN)
    return brain.compute_objectives(predictions, batch, sb.Stage.TRAIN)


def alone(model, embeds, targets):
    """Nats of the last tokens of one sequence, by the plain model."""
    logits = model(inputs_embeds=embeds[None]).logits[0, -len(targets) :]
    return F.cross_entropy(logits, targets, reduction="sum")


def test_the_loss_of_speech_is_that_of_each_utterance_alone(make_brain):
    brain = make_brain({"listening": LISTENING}, text_ratio=0, text_kl_weight=0.0)
    batch = make_batch()
    vectors, utterances = brain.read(batch, ReadOptions())
    model, llm = brain.modules.tuned.model, brain.llm
    start, total = llm.embed(torch.tensor([1])), 0.0
    for segments, utterance in zip(batch.segments, utterances, strict=True):
        tokens = torch.tensor(segments.tokens)
        assert utterance.tokens.tolist() == segments.tokens.tolist()
        read = torch.cat([start, vectors[utterance.vectors]])[:-1]
        total = total + alone(model, read, tokens)
    torch.testing.assert_close(losses(brain, batch), total / 9, atol=1e-5, rtol=1e-4)


def test_the_loss_of_text_is_the_kl_from_the_base_model_alone(make_brain, monkeypatch):
    batch, drawn = make_batch(), []
    brain = make_brain({"listening": LISTENING}, text_kl_weight=2.0)
    draw = brain.text.draw
    monkeypatch.setattr(
        brain.text, "draw", lambda count: drawn.extend(draw(count)) or drawn
    )
    found = losses(brain, batch)
    brain.hparams.text_kl_weight = 0.0
    speech = losses(brain, batch)
    divergence, count, tuned = 0.0, 0, brain.modules.tuned
    for chunk in drawn:
        q = tuned.model(chunk[None, :-1]).logits[0].log_softmax(-1)
        with tuned.base_model():
            p = tuned.model(chunk[None, :-1]).logits[0].log_softmax(-1)
        divergence += (p.exp() * (p - q)).sum()
        count += len(q)
    expected = speech + 2 * divergence / count
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert divergence > 1e-3


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_padded_rows_give_the_loss_of_packed_ones(make_brain, share):
    found = []
    for packed in (True, False):
        templates = {
            "listening": LISTENING,
            "transcription": TRANSCRIPTION,
            "continuation": CONTINUATION,
        }
        brain = make_brain(templates, predicted_share=share, text_weight=0.5)
        if not packed:
            packing._WAYS[brain.modules.tuned.model] = None
        found.append(losses(brain, make_batch()))
        validated = brain.compute_forward(make_batch(), sb.Stage.VALID)
        found[-1] = torch.stack([found[-1], *validated.speech_losses])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


def test_a_step_runs_the_llm_once_tuned_and_once_as_the_base_model(make_brain):
    brain = make_brain({"listening": LISTENING, "transcription": TRANSCRIPTION})
    packing.can_pack(brain.modules.tuned.model)
    passes = []
    decoder = brain.modules.tuned.model.get_decoder()
    decoder.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    losses(brain, make_batch())
    assert passes == [True, False]
    brain.hparams.lm_fusion = True
    losses(brain, make_batch())
    # Asked for, the base model is run to read the vectors, too.
    assert len(passes) > 4


def test_predicted_segments_are_read_where_a_text_is_asked_for(make_brain):
    brain = make_brain({"transcription": TRANSCRIPTION}, predicted_share=1.0)
    rows = []
    embed = brain._embed_predicted

    def note(heard, features, *arguments):
        rows.append(len(features))
        return embed(heard, features, *arguments)

    brain._embed_predicted = note
    batch = make_batch((30, 50, 10))
    assert losses(brain, batch) > 0 and rows == [3]
    brain.hparams.predicted_share = 0.5
    for seed in range(4):
        torch.manual_seed(seed)
        brain.compute_forward(batch, sb.Stage.TRAIN)
    assert {1, 2} & set(rows[1:])
    brain.hparams.predicted_share = 0.0
    count = len(rows)
    losses(brain, batch)
    assert len(rows) == count


@pytest.mark.parametrize("predicted", [True, False])
def test_what_is_heard_of_an_utterance_is_what_its_vectors_are_made_of(
    make_brain, predicted, monkeypatch
):
    brain = make_brain({"transcription": TRANSCRIPTION})
    monkeypatch.setattr(pseudo_speech, "_LIKELIEST", len(brain.lm.connector.table()))
    if not predicted:
        brain.segmenter = None
    batch = make_batch((30, 50, 10))
    heard = pseudo_speech.hear(brain, [batch])
    vectors, utterances = brain.read(batch, ReadOptions(predicted=predicted))
    table = brain.lm.connector.table()
    assert [x.count for x in heard] == [30, 50, 10]
    for one, utterance in zip(heard, utterances, strict=True):
        mixed = torch.from_numpy(one.shares)[:, None] @ table[torch.from_numpy(one.ids)]
        found = vectors[utterance.vectors]
        torch.testing.assert_close(mixed.squeeze(1), found, atol=1e-5, rtol=1e-4)


def test_pseudo_speech_that_is_heard_right_is_read_as_its_own_text(make_brain):
    brain = make_brain(
        {"transcription": TRANSCRIPTION, "listening": {**LISTENING, "share": 0}},
        text_ratio=0,
        text_kl_weight=0.0,
        pseudo_speech_ratio=1.0,
    )
    batch, text = make_batch((4,)), np.array([7, 8, 9, 10])
    (tokens,) = (segments.tokens for segments in batch.segments)
    speech = losses(brain, batch)
    right = pseudo_speech.HeardUtterance.of(np.array([[3]]), np.ones((1, 1)), [3])
    brain.pseudo_speech = pseudo_speech.PseudoSpeech([text], [right])
    model, llm, (between,) = (
        brain.modules.tuned.model,
        brain.llm,
        (template.between for template in brain.templates),
    )
    read = torch.tensor([1, *text, *between, *text])
    targets = torch.tensor([*text, 2])
    # Both have five tokens that are asked for.
    expected = (speech * 5 + alone(model, llm.embed(read), targets)) / 10
    assert len(tokens) == len(text)
    torch.testing.assert_close(losses(brain, batch), expected, atol=1e-5, rtol=1e-4)


class _NoQuestions(TorchDispatchMode):
    """Refuses what would have the host wait for a GPU."""

    asking = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        masks = name.startswith("index") and any(
            isinstance(x, torch.Tensor) and x.dtype == torch.bool
            for indices in args
            if isinstance(indices, list | tuple)
            for x in indices
        )
        if name in self.asking or masks:
            raise AssertionError(f"{function} asks a tensor for its values")
        return function(*args, **(kwargs or {}))


def test_a_step_asks_no_values_after_the_vectors_are_read(make_brain):
    brain = make_brain({"listening": LISTENING, "continuation": CONTINUATION})
    batch = make_batch()
    vectors, utterances = brain.read(batch, ReadOptions())
    requests = [list(zip(brain.templates * 2, utterances, strict=False))]
    chunks = brain._draw_text(9)
    brain._draw_text = lambda count: chunks
    packing.can_pack(brain.modules.tuned.model)
    with _NoQuestions():
        predictions = brain._predict(requests, [1.0], vectors, with_text=True)
        loss = brain.compute_objectives(predictions, batch, sb.Stage.TRAIN)
        loss.backward()
    with _NoQuestions(), pytest.raises(AssertionError, match="asks a tensor"):
        float(loss.detach())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_loss_of_a_cpu_and_is_asked_nothing(make_brain, monkeypatch):
    # liger-kernel asks how many targets there are.
    monkeypatch.setattr(next_token, "_liger", lambda: None)
    templates = {"listening": LISTENING, "transcription": TRANSCRIPTION}
    batch = make_batch()
    expected = losses(make_brain(templates), batch)
    brain, batch = make_brain(templates, "cuda"), batch.pin_memory()
    loss = losses(brain, batch)
    assert loss.is_cuda
    torch.testing.assert_close(loss.cpu(), expected, atol=1e-4, rtol=1e-4)
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses(brain, batch).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
