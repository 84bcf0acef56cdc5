"""Templates of speech and text: what the LLM reads, and where the loss falls."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ssr_plugin.inference.prompts import embed_prompt
from ssr_plugin.inference.speech import Speech
from ssr_plugin.llm.llm_losses import transcription_loss
from ssr_plugin.llm.next_token import next_token_loss
from ssr_plugin.llm.packing import make_pack
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.llm.tuning import TunedLLM
from ssr_plugin.metrics.speech_lm_metrics import SpeechLMMetrics
from ssr_plugin.training.templates import (
    parse_templates,
    sequence,
    transcription_template,
)

TOKENS = [29, 30, 31]  # the cat sat
LISTEN = {"format": "{speech}", "share": 1}
WRITE = {"format": "{speech} b c{text}", "share": 1}
ASK = {"format": "a {speech} b{text}", "share": 1}


@pytest.fixture(scope="module")
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


def parse(llm, settings):
    (template,) = parse_templates({"it": settings}, llm.tokenizer)
    return template


# --- Where the loss falls ----------------------------------------------------------


def test_a_template_without_text_predicts_each_token_from_the_vectors_before_it(llm):
    inputs, targets = sequence(parse(llm, LISTEN), llm, range(3), TOKENS)
    assert inputs.tolist() == [1, -1, -2]  # <s>, then vectors 0 and 1
    assert targets.tolist() == TOKENS


@pytest.mark.parametrize("count", [0, 5])
def test_a_template_with_text_predicts_the_text_and_its_end_alone(llm, count):
    inputs, targets = sequence(parse(llm, ASK), llm, range(count), TOKENS)
    vectors = [-1 - i for i in range(count)]
    assert inputs.tolist() == [1, 3, *vectors, 4, 29, 30, 31]  # <s> a [speech] b the..
    assert targets.tolist() == [-1] * (2 + count) + [29, 30, 31, 2]


def test_a_transcription_template_has_the_transcription_loss_of_stage_1(llm):
    vectors, counts = torch.randn(2, 5, 16), torch.tensor([5, 2])
    tokens = torch.tensor([[4, 5, 6], [7, -1, -1]])
    expected = transcription_loss(llm, vectors, counts, tokens, prompt="b c")
    sequences = [
        sequence(
            parse(llm, WRITE),
            llm,
            5 * i + np.arange(counts[i].item()),
            ids[ids >= 0].tolist(),
        )
        for i, ids in enumerate(tokens)
    ]
    tuned = TunedLLM(llm, "none")
    states, targets = read(tuned, sequences, vectors.flatten(0, 1))
    loss = next_token_loss(tuned.model, states, targets)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def read(tuned, sequences, vectors):
    """States and targets of sequences in one pass."""
    pack = make_pack(*zip(*sequences, strict=True))
    embeds = pack.embed(tuned.llm, vectors)
    return tuned(embeds, pack.layout, pack.wanted, pack.packed), pack.targets


def test_templates_in_one_pass_are_read_as_alone(llm):
    tuned, vectors = TunedLLM(llm, "none"), torch.randn(9, 16)
    sequences = [
        sequence(parse(llm, settings), llm, range(3 * i, 3 * i + 3), TOKENS)
        for i, settings in enumerate((LISTEN, ASK, WRITE))
    ]
    together, targets = read(tuned, sequences, vectors)
    alone = [read(tuned, [one], vectors) for one in sequences]
    assert torch.equal(targets, torch.cat([x for _, x in alone]))
    torch.testing.assert_close(together, torch.cat([x for x, _ in alone]))


@pytest.mark.parametrize(
    "template, prompt",
    [
        ("{speech}{text}", ["speech"]),
        ("{speech} b{text}", ["speech", " b"]),
        ("a b {speech} c{text}", ["a b ", "speech", " c"]),
    ],
)
def test_a_template_before_its_text_equals_the_prompt_of_a_user(llm, template, prompt):
    vectors = torch.randn(3, 16)
    speech = Speech(vectors, [], "", [], [], "forced", None, 1.0)
    prompt_embeds = embed_prompt(llm, [speech if x == "speech" else x for x in prompt])
    parsed = parse(llm, {"format": template, "share": 1})
    inputs, targets = sequence(parsed, llm, range(3), TOKENS)
    embeds = make_pack([inputs], [targets]).embed(llm, vectors)[0]
    last = len(prompt_embeds) - 1
    assert torch.equal(embeds[: last + 1], prompt_embeds)
    assert targets[last] == 29 and (targets[:last] == -1).all()


def test_transcription_template_is_the_one_that_is_trained_or_the_usual_one(llm):
    templates = parse_templates(
        {
            "listening": LISTEN,
            "continuation": {"format": "{speech}{text}", "share": 1, "halves": True},
            "mine": ASK,
        },
        llm.tokenizer,
    )
    assert transcription_template(templates, llm.tokenizer).name == "mine"
    usual = transcription_template(templates[:2], llm.tokenizer)
    assert usual.has_text and not usual.halves and usual.before == ()


def test_templates_without_a_share_are_left_out(llm):
    templates = parse_templates({"a": LISTEN, "b": ASK | {"share": 0}}, llm.tokenizer)
    assert [x.name for x in templates] == ["a"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"format": "{text}", "share": 1}, "its format is '{text}'"),
        ({"format": "{speech}\n", "share": 1}, "its format is"),
        ({"format": "{speech}{text}!", "share": 1}, "its format is"),
        ({"format": "{speech}{speech}{text}", "share": 1}, "its format is"),
        ({"format": "{speech}{txt}{text}", "share": 1}, "its format is"),
        ({"format": 5, "share": 1}, "templates: it: "),
        ({"format": "{speech}"}, "share"),
        ({"format": "{speech}", "share": -1}, "its share is -1"),
        ({"format": "{speech}", "share": "often"}, "often"),
        ({"format": "{speech}", "share": 1, "halves": True}, "there are no halves"),
        ({"format": "{speech}", "share": 1, "weight": 1}, "weight"),
        ({"format": "{speech}", "share": 0}, "none has a share above 0"),
        ("{speech}", "templates: it: "),
    ],
)
def test_malformed_templates_are_named(llm, settings, message):
    with pytest.raises(ValueError, match=message):
        parse(llm, settings)


# --- Scores ------------------------------------------------------------------------


def utterances(llm):
    """Utterances of several lengths: names, vectors, first halves, tokens."""
    tokens = [torch.arange(3, 3 + n) for n in (2, 7, 1, 4)]
    vectors = [llm.embed(ids) + torch.randn(len(ids), 16) / 9 for ids in tokens]
    firsts = [torch.arange(len(ids)) < len(ids) // 2 for ids in tokens]
    return ["a", "b", "c", "d"], vectors, firsts, tokens


def ask(vectors):
    return vectors


def test_listening_scores_of_a_batch_are_those_of_its_utterances(llm):
    batch = utterances(llm)
    together = SpeechLMMetrics(llm, ask, forced=True)
    together.add(*batch)
    alone = SpeechLMMetrics(llm, ask, forced=True)
    for one in zip(*batch, strict=True):
        alone.add(*([x] for x in one))
    summary, expected = together.summary(), alone.summary()
    assert summary["utterances"] == 4
    for key in ("speech_loss", "text_loss"):
        assert summary[key] == pytest.approx(expected[key], abs=1e-5)
    for key in ("text", "speech", "none"):
        assert summary["nll"][key] == pytest.approx(expected["nll"][key], abs=1e-5)


def test_listening_scores_have_the_loss_of_each_token_after_those_before_it(llm):
    names, vectors, firsts, tokens = utterances(llm)
    scores = SpeechLMMetrics(llm, None, forced=True)
    scores.add(names, vectors, firsts, tokens)
    losses = {"speech_loss": 0.0, "text_loss": 0.0}
    for spoken, ids in zip(vectors, tokens, strict=True):
        start = torch.tensor([1])
        for key, read in (("speech_loss", spoken), ("text_loss", llm.embed(ids))):
            embeds = torch.cat([llm.embed(start), read[:-1]])[None]
            with torch.no_grad():
                logits = llm.load_model()(inputs_embeds=embeds).logits[0]
            losses[key] += F.cross_entropy(logits, ids, reduction="sum").item()
    summary = scores.summary()
    for key, total in losses.items():
        assert summary[key] == pytest.approx(total / 14, abs=1e-5)
    assert "prompted_wer" not in summary


def test_listening_scores_of_predicted_segments_have_no_loss_per_token(llm):
    names, vectors, firsts, tokens = utterances(llm)
    scores = SpeechLMMetrics(llm, ask, forced=False)
    # As many vectors as the segmenter found, even none.
    vectors[0], firsts[0] = vectors[0][:0], firsts[0][:0]
    scores.add(names, vectors, firsts, tokens)
    assert set(scores.summary()) == {
        "nll",
        "prompted_wer",
        "prompted_wer_whisper",
        "utterances",
    }
