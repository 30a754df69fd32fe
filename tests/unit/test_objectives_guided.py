"""didact.objectives.guided: the penalties written out, their gradients, who is penalised."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from didact.objectives.guided import diagonal, guided, monotonic, penalties


def attention(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [(2, 3, 5), (2, 1, 1), (2, 4, 2)]
    return [torch.randn(size, generator=generator, dtype=torch.float64).softmax(-1) for size in sizes]


def test_eq_6_and_7_written_out() -> None:
    total = 0.0
    for p in attention():
        heads, queries, keys = p.shape
        for h in range(heads):
            for q in range(queries):
                for k in range(keys):
                    w = 1 - math.exp(-((q / queries - k / keys) ** 2) / (2 * 0.2**2))
                    assert float(penalties(queries, keys, 0.2)[q, k]) == pytest.approx(w, abs=1e-6)
                    total += float(p[h, q, k]) * w / heads
    found, rows = diagonal(attention())
    assert rows == 8
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_going_back_written_out() -> None:
    for margin in (0.0, 0.5):
        total = 0.0
        for p in attention():
            heads, queries, keys = p.shape
            for h in range(heads):
                place = [sum(k * float(p[h, q, k]) for k in range(keys)) for q in range(queries)]
                for before, now in pairwise(place):
                    total += max(0.0, before + margin * keys / queries - now) / keys / heads
        found, rows = monotonic(attention(), margin)
        assert rows == 8
        assert float(found) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("guide", ["diagonal", "monotonic"])
def test_gradients(guide: str) -> None:
    """By differences, of the logits below a softmax."""
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def total(at: Tensor) -> Tensor:
        return guided([at.softmax(-1)], guide, 0.3)[0]  # type: ignore[arg-type]

    total(logits).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0
    for place in [(0, 0, 0), (0, 2, 3), (1, 3, 1), (1, 1, 4)]:
        step = torch.zeros_like(logits)
        step[place] = 1e-2
        with torch.no_grad():
            slope = float(total(logits + step) - total(logits - step)) / 2e-2
        assert float(logits.grad[place]) == pytest.approx(slope, rel=0.02, abs=1e-4)


def test_what_is_penalised() -> None:
    forwards, backwards = torch.eye(6)[None], torch.eye(6).flip(0)[None]
    assert float(diagonal([forwards])[0]) == float(monotonic([forwards])[0]) == 0
    assert float(diagonal([backwards])[0]) > 3
    assert float(monotonic([backwards])[0]) == pytest.approx(5 / 6)
    still = torch.zeros(1, 6, 6).index_fill(2, torch.tensor([2]), 1.0)
    assert float(monotonic([still])[0]) == 0
    assert float(monotonic([still], margin=0.5)[0]) == pytest.approx(5 * 0.5 / 6)
    assert diagonal([]) == (0, 0)
