"""CTC over characters whose labels are worth less the more often they are given."""

import itertools

import pytest
import torch

from ssr_plugin.models.llm import TextLLM
from ssr_plugin.segmenters.char_ctc import CharCTCSegmenter

D = 6


@pytest.fixture
def make(tiny_llm_folder, monkeypatch):
    """``make(text, **options)``: a segmenter to whom any tokens spell the text."""

    def segmenter(text, **options):
        torch.manual_seed(1)
        tiny = {"width": 8, "num_heads": 2, "stack": 1, "dropout": 0.0}
        llm = TextLLM(tiny_llm_folder)
        made = CharCTCSegmenter(D, llm, 50.0, alphabet="ab", **tiny, **options)
        monkeypatch.setattr(made, "spell", lambda tokens: text)
        return made

    return segmenter


def loss_of(segmenter, *lengths):
    lengths = torch.tensor(lengths)
    torch.manual_seed(2)
    features = torch.randn(len(lengths), max(lengths), D)
    return segmenter.loss(
        features, lengths, None, None, torch.tensor([[4]] * len(lengths))
    )


def ways(text, length):
    """All rows of labels of that length that CTC reads as the text; 0 is the blank."""
    for row in itertools.product(range(3), repeat=length):
        if [label for label, _ in itertools.groupby(row) if label] == text:
            yield list(row)


@pytest.mark.parametrize("prior", [0.0, 0.7])
def test_the_loss_is_that_of_all_ways_and_so_is_its_gradient(make, prior):
    segmenter = make("ab", num_layers=0, prior=prior).eval()
    segmenter.mean_probs.copy_(torch.tensor([0.7, 0.2, 0.1]))
    loss = loss_of(segmenter, 4)
    own = torch.autograd.grad(loss, segmenter.output.weight)[0]

    torch.manual_seed(2)
    states, _ = segmenter.network(torch.randn(1, 4, D), torch.tensor([4]))
    scores = segmenter.output(states)[0].log_softmax(-1)
    scores = scores - prior * torch.tensor([0.7, 0.2, 0.1]).log()
    found = [scores[range(4), way].sum() for way in ways([1, 2], 4)]
    expected = -torch.stack(found).logsumexp(0) / 2
    torch.testing.assert_close(loss, expected)
    wanted = torch.autograd.grad(expected, segmenter.output.weight)[0]
    torch.testing.assert_close(own, wanted)


def test_padding_adds_nothing_to_the_loss(make):
    segmenter = make("ab").eval()
    padded = loss_of(segmenter, 9, 4)
    torch.manual_seed(2)
    features = torch.randn(2, 9, D)
    alone = [
        segmenter.loss(
            features[i : i + 1, :n], torch.tensor([n]), None, None, torch.tensor([[4]])
        )
        for i, n in enumerate((9, 4))
    ]
    torch.testing.assert_close(padded, sum(alone) / 2)


def test_the_prior_is_learnt_in_training_alone_and_kept(make):
    segmenter = make("ab")
    before = segmenter.mean_probs.clone()
    loss_of(segmenter.eval(), 9, 4)
    assert torch.equal(segmenter.mean_probs, before)
    loss_of(segmenter.train(), 9, 4)
    assert not torch.equal(segmenter.mean_probs, before)
    assert segmenter.mean_probs.sum().item() == pytest.approx(1.0)
    assert "mean_probs" in segmenter.state_dict()


def test_a_text_that_does_not_fit_teaches_nothing(make):
    segmenter = make("abab")
    loss = loss_of(segmenter, 3)
    loss.backward()
    assert loss == 0
    assert segmenter.output.weight.grad.abs().max() == 0
