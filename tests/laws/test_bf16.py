"""Half precision: every objective learns in bf16 what it learns in float32, but for rounding."""

from __future__ import annotations

import pytest
import torch
from gradients import stream_of
from training_tools import MADE, step_of

from didact.objectives import Objective


def loss_and_gradient(objective: Objective, half: bool) -> tuple[float, torch.Tensor]:
    """Of the first step, of all parameters in a row."""
    step = step_of(objective, seed=3, init_std=0.3).train()
    step.settle(0)
    (batch,) = stream_of(objective, 4096)[0]
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = step(batch).scaled(batch.counts)
    loss.backward()
    found = [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in step.parameters()]
    return float(loss.detach()), torch.cat(found)


@pytest.mark.parametrize("objective", MADE, ids=lambda o: o.kind)
def test_a_step_in_bf16_is_the_step(objective: Objective) -> None:
    loss, gradient = loss_and_gradient(objective, half=False)
    near, rounded = loss_and_gradient(objective, half=True)
    assert near == pytest.approx(loss, rel=0.02)
    assert float(torch.cosine_similarity(gradient, rounded, dim=0)) > 0.98
