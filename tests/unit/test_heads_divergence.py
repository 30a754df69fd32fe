"""didact.heads.divergence: torch's KL divergence at a temperature, and its gradient, in pieces of any size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from didact.heads import cross_entropy as module
from didact.heads.divergence import divergence


def written_out(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """As the reference script of DistilBERT has it, row by row."""
    log_q, p = F.log_softmax(logits / temperature, -1), F.softmax(taught / temperature, -1)
    return F.kl_div(log_q, p, reduction="none").sum(-1) * temperature**2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("cached", [1, 30, 2**19])
def test_losses_and_gradients(temperature: float, cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED", cached)
    generator = torch.Generator().manual_seed(0)
    logits, taught = (3.0 * torch.randn(9, 13, generator=generator) for _ in range(2))
    own, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    losses, right = divergence(own, taught.requires_grad_(), temperature)
    expected = written_out(theirs, taught.detach(), temperature)
    torch.testing.assert_close(losses, expected)
    assert torch.equal(right, logits.argmax(-1) == taught.argmax(-1))
    weights = torch.rand(9, generator=generator)
    (losses * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(own.grad, theirs.grad)
    assert taught.grad is None
    with torch.no_grad():
        torch.testing.assert_close(divergence(logits, taught, temperature)[0], expected)


def test_extreme_logits_and_no_rows() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    losses, _ = divergence(logits, torch.tensor([[1e4, 0.0, -1e4]]), 2.0)
    losses.sum().backward()
    assert losses.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()
    assert divergence(torch.zeros(0, 3), torch.zeros(0, 3), 1.0)[0].shape == (0,)
