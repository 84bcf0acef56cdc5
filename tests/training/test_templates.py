"""Templates of speech and text: what the LLM reads, and where the loss falls."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.inference.prompts import embed_prompt
from ssr_plugin.inference.speech import Speech
from ssr_plugin.llm.llm_losses import transcription_loss
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.llm.tuning import TunedLLM
from ssr_plugin.metrics.speech_lm_metrics import SpeechLMMetrics
from ssr_plugin.training.templates import (
    parse_templates,
    sequence,
    transcription_template,
)

TOKENS = torch.tensor([29, 30, 31])  # the cat sat
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
    vectors = torch.randn(3, 16)
    embeds, targets = sequence(parse(llm, LISTEN), llm, vectors, TOKENS)
    start = llm.embed(torch.tensor([1]))
    assert torch.equal(embeds, torch.cat([start, vectors[:2]]))
    assert torch.equal(targets, TOKENS)


@pytest.mark.parametrize("count", [0, 5])
def test_a_template_with_text_predicts_the_text_and_its_end_alone(llm, count):
    vectors = torch.randn(count, 16)
    embeds, targets = sequence(parse(llm, ASK), llm, vectors, TOKENS)
    words = llm.embed(torch.tensor([1, 3, 4, 29, 30, 31]))  # <s> a [speech] b the cat..
    expected = torch.cat([words[:2], vectors, words[2:]])
    assert torch.equal(embeds, expected)
    assert targets.tolist() == [-1] * (2 + count) + [29, 30, 31, 2]


def test_a_transcription_template_has_the_transcription_loss_of_stage_1(llm):
    vectors, counts = torch.randn(2, 5, 16), torch.tensor([5, 2])
    tokens = torch.tensor([[4, 5, 6], [7, -1, -1]])
    expected = transcription_loss(llm, vectors, counts, tokens, prompt="b c")
    sequences = [
        sequence(parse(llm, WRITE), llm, vectors[i, : counts[i]], ids[ids >= 0])
        for i, ids in enumerate(tokens)
    ]
    logits, targets = predict(TunedLLM(llm, "none"), sequences)
    assert F.cross_entropy(logits, targets).item() == pytest.approx(
        expected.item(), abs=1e-5
    )


def predict(tuned, sequences):
    """Logits and targets of sequences in one batch."""
    embeds, targets = zip(*sequences, strict=True)
    ones = [torch.ones(len(x), dtype=torch.bool) for x in embeds]
    targets = pad_sequence(targets, True, padding_value=-1)
    mask = pad_sequence(ones, True)
    logits = tuned(pad_sequence(embeds, True), mask, targets >= 0)
    return logits, targets[targets >= 0]


def test_templates_in_one_batch_are_read_as_alone(llm):
    tuned = TunedLLM(llm, "none")
    sequences = [
        sequence(parse(llm, settings), llm, torch.randn(3, 16), TOKENS)
        for settings in (LISTEN, ASK, WRITE)
    ]
    together, targets = predict(tuned, sequences)
    alone = [predict(tuned, [one]) for one in sequences]
    assert torch.equal(targets, torch.cat([x for _, x in alone]))
    assert torch.allclose(together, torch.cat([x for x, _ in alone]), atol=1e-4)


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
    embeds, targets = sequence(parsed, llm, vectors, TOKENS)
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
