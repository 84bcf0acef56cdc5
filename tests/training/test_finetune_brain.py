"""What text alone adds to the loss of stage 2."""

import pytest
import torch

from ssr_plugin.training.finetune_brain import text_loss


def test_text_loss_has_the_kl_from_the_base_model_per_token():
    logits, base_logits = torch.randn(2, 5, 7).unbind()
    targets = torch.tensor([0, 1, 2, 3, 4])
    p, q = base_logits.softmax(-1), logits.softmax(-1)
    divergence = (p * (p / q).log()).sum(-1).mean().item()
    error = -q[torch.arange(5), targets].log().mean().item()
    for weight, kl_weight in ((0.0, 1.0), (0.5, 0.0), (2.0, 3.0)):
        loss = text_loss(logits, base_logits, targets, weight, kl_weight).item()
        assert loss == pytest.approx(weight * error + kl_weight * divergence, abs=1e-5)
    assert text_loss(logits, None, targets, 2.0, 3.0).item() == pytest.approx(2 * error)


def test_text_loss_has_no_kl_gradient_where_the_llm_equals_the_base_model():
    logits = torch.randn(5, 7, requires_grad=True)
    loss = text_loss(logits, logits.detach(), torch.arange(5), 0.0, 1.0)
    loss.backward()
    assert abs(loss.item()) < 1e-6 and logits.grad.abs().max() < 1e-6
