"""The loss of second halves: what first halves as text, vectors or nothing give."""

import pytest
import torch

from ssr_plugin.metrics.second_half_loss import SecondHalfLoss, first_half

TOKENS = [torch.tensor(x) for x in ([5, 6, 7, 8, 9], [10, 11], [12, 13, 14])]


def halved(llm, tokens):
    return llm.embed(tokens[: len(tokens) // 2])


def slow_nll(llm, context, tokens):
    """Nats of a second half, and its tokens, by the definition."""
    half = len(tokens) // 2
    start = torch.tensor([llm.start_id])
    ids = torch.cat([start, context, tokens[half:]])
    scores = llm.load_model()(ids[None]).logits[0].log_softmax(-1)
    chosen = scores[:-1].gather(1, ids[1:, None]).squeeze(1)[len(context) :]
    return -chosen.sum().item(), len(chosen)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_losses_are_those_of_the_definition_in_any_batch(llm, batch_size):
    loss = SecondHalfLoss(llm, batch_size)
    for tokens in TOKENS:
        loss.add(halved(llm, tokens), tokens, tokens[:1])
    nll = loss.summary()
    for key, cut in (
        ("text", lambda tokens: tokens[: len(tokens) // 2]),
        ("speech", lambda tokens: tokens[: len(tokens) // 2]),
        ("none", lambda tokens: tokens[:0]),
        ("cascade", lambda tokens: tokens[:1]),
    ):
        sums, counts = zip(*(slow_nll(llm, cut(x), x) for x in TOKENS), strict=True)
        assert nll[key] == pytest.approx(sum(sums) / sum(counts), rel=1e-4)


def test_a_hypothesis_that_is_the_transcript_gives_what_text_gives(llm):
    loss = SecondHalfLoss(llm)
    for tokens in TOKENS:
        first = tokens[: len(tokens) // 2]
        loss.add(torch.zeros(3, llm.hidden_size), tokens, first)
    nll = loss.summary()
    assert nll["cascade"] == pytest.approx(nll["text"], rel=1e-6)
    assert nll["speech"] != pytest.approx(nll["text"], rel=1e-3)


def test_what_is_kept_is_the_share_of_the_gain_of_text(llm):
    loss = SecondHalfLoss(llm)
    loss.losses = {"text": [2.0], "speech": [4.0], "none": [10.0], "cascade": [3.0]}
    loss.counts = [4]
    nll = loss.summary()
    assert nll["text"] == 0.5 and nll["none"] == 2.5
    assert nll["gain_kept"] == pytest.approx(75.0)
    assert nll["cascade_kept"] == pytest.approx(87.5)
    # A text that does not help leaves nothing to keep.
    loss.losses["text"] = [11.0]
    nll = loss.summary()
    assert nll["gain_kept"] is nll["gain_kept_interval"] is nll["ahead"] is None


def test_how_sure_it_is_depends_on_how_utterances_differ(llm):
    loss = SecondHalfLoss(llm)
    loss.losses = {"text": [1.0] * 50, "none": [2.0] * 50, "speech": [1.25] * 50}
    loss.losses["cascade"] = [1.0, 2.0] * 25
    loss.counts = [3] * 50
    nll = loss.summary()
    assert nll["gain_kept"] == pytest.approx(75.0)
    assert nll["gain_kept_interval"] == pytest.approx([75.0, 75.0])
    # Ahead of a hypothesis that helps in one half of the utterances, not in the other.
    assert nll["ahead"] == pytest.approx(25.0)
    low, high = nll["ahead_interval"]
    assert 8 < low < 15 and 35 < high < 42


def test_an_utterance_without_a_vector_is_read_as_if_there_were_none(llm):
    loss = SecondHalfLoss(llm)
    for tokens in TOKENS:
        loss.add(torch.zeros(0, llm.hidden_size), tokens, tokens[:0])
    nll = loss.summary()
    assert nll["speech"] == nll["cascade"] == nll["none"] != nll["text"]
    assert nll["gain_kept"] in (None, 0.0)


def test_any_number_of_vectors_will_do(llm):
    loss = SecondHalfLoss(llm)
    for count, tokens in zip((7, 1, 0), TOKENS, strict=True):
        loss.add(torch.randn(count, llm.hidden_size), tokens)
    nll = loss.summary()
    assert all(nll[key] > 0 for key in ("text", "speech", "none"))


def test_without_a_hypothesis_there_is_no_cascade(llm):
    loss = SecondHalfLoss(llm)
    loss.add(halved(llm, TOKENS[0]), TOKENS[0])
    assert not {"cascade", "cascade_kept"} & set(loss.summary())


@pytest.mark.parametrize("order", [1, -1])
def test_a_cascade_is_that_of_all_utterances_or_of_none(llm, order):
    """A sum over some would be divided by the tokens of all."""
    loss = SecondHalfLoss(llm)
    heard = [(TOKENS[0], TOKENS[0][:2]), (TOKENS[1], None)]
    for tokens, cascade in heard[::order]:
        loss.add(halved(llm, tokens), tokens, cascade)
    assert not {"cascade", "cascade_kept"} & set(loss.summary())


def test_an_utterance_of_one_token_has_no_halves(llm):
    loss = SecondHalfLoss(llm)
    loss.add(torch.zeros(1, llm.hidden_size), torch.tensor([5]), torch.tensor([5]))
    assert set(loss.summary().values()) == {None}


@pytest.mark.parametrize("count", range(1, 8))
def test_the_first_half_of_forced_segments_is_that_of_the_tokens(count):
    # Segments of one frame and of several, with silence between.
    starts = torch.tensor([0, 1, 2, 9, 12, 20, 21])[:count]
    boundaries = torch.tensor([0, 1, 5, 10, 19, 20, 30])[:count]
    found = first_half(starts, boundaries, starts)
    assert found.tolist() == [i < count // 2 for i in range(count)]


def test_a_found_segment_is_of_the_half_that_holds_its_middle():
    reference = torch.tensor([0, 10, 20, 30])
    starts, boundaries = torch.tensor([0, 15, 16, 24]), torch.tensor([14, 24, 25, 40])
    found = first_half(starts, boundaries, reference)
    assert found.tolist() == [True, True, False, False]


def test_no_segment_is_of_no_half():
    nothing = torch.zeros(0, dtype=torch.long)
    assert first_half(nothing, nothing, torch.tensor([0, 4])).shape == (0,)
