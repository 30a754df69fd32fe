"""Clipping within the optimizer's pass, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from didact.training import clipping
from didact.training.clipping import clip, gradient_norm


def parameters(scale: float, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    """One without a gradient, one whose gradient does not lie in a row."""
    generator = torch.Generator().manual_seed(0)
    found = [nn.Parameter(torch.randn(n, 7, generator=generator).to(dtype)) for n in (300, 1, 5)]
    found[0].grad = (torch.randn(300, 7, generator=generator) * scale).to(dtype)
    found[1].grad = (torch.randn(7, 1, generator=generator).t() * scale).to(dtype)
    return found


def sgd(each: list[nn.Parameter], fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(each, lr=0.1, momentum=0.9, fused=fused)


def adamw(each: list[nn.Parameter], fused: bool) -> torch.optim.Optimizer:
    """In two groups, as decayed and other weights are."""
    return torch.optim.AdamW([{"params": each[:1]}, {"params": each[1:], "weight_decay": 0.0}], lr=0.1, fused=fused)


@pytest.mark.parametrize("scale", [1e-4, 3.0])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("optimizer", [sgd, adamw])
@pytest.mark.parametrize("folding", [("cpu",), ()])
def test_the_step_is_that_of_clipped_gradients(
    scale: float, fused: bool, dtype: torch.dtype, optimizer: Any, folding: tuple[str, ...], monkeypatch: Any
) -> None:
    """Where the optimizer can do it and where it cannot."""
    monkeypatch.setattr(clipping, "FOLDING", folding)
    ours, theirs = parameters(scale, dtype), parameters(scale, dtype)
    a, b = optimizer(ours, fused), optimizer(theirs, fused)
    for steps in range(3):
        norm = clip(ours, 1.0, a)
        wanted = nn.utils.clip_grad_norm_(theirs, 1.0)
        torch.testing.assert_close(norm, wanted)
        assert hasattr(a, "grad_scale") is (fused and folding == ("cpu",))
        a.step()
        b.step()
        for x, y in zip(ours, theirs, strict=True):
            torch.testing.assert_close(x, y)
        for each in (ours, theirs):
            for p in each[:2]:
                p.grad = torch.full_like(p, scale * (steps + 1))


def test_without_an_optimizer_they_are_clipped_at_once() -> None:
    each = parameters(3.0)
    assert float(clip(each, 0.5)) > 100
    assert float(gradient_norm(each)) == pytest.approx(0.5, rel=1e-5)


def test_without_a_limit_nothing_is_clipped() -> None:
    each = parameters(3.0)
    optimizer = torch.optim.SGD(each, fused=True)
    assert torch.equal(clip(each, None, optimizer), gradient_norm(each))
    assert not hasattr(optimizer, "grad_scale")


def test_no_gradients_have_no_norm() -> None:
    each = parameters(1.0)
    for p in each:
        p.grad = None
    assert float(gradient_norm(each)) == float(nn.utils.get_total_norm([])) == 0.0
