"""didact.objectives.copying: eq. 3 and 9 to 12 by brute force over a vocabulary of six, tokens that repeat included."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from didact.objectives.copying import contexts, coverage_loss, coverages, looks, mixed, pointed, pointed_at

V = 6
SOURCES = [torch.tensor([1, 4, 1, 1, 5]), torch.tensor([2]), torch.tensor([3, 3, 0])]
QUERIES = (3, 2, 4)


def drawn(seed: int = 0) -> tuple[list[Tensor], Tensor, Tensor]:
    """Attention of two heads, logits of writing (T, V), gates (T,)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = zip(QUERIES, SOURCES, strict=True)
    heads = [torch.randn(2, q, len(s), generator=generator, dtype=torch.float64).softmax(-1) for q, s in sizes]
    return heads, torch.randn(9, V, generator=generator), 3 * torch.randn(9, generator=generator)


def by_definition(heads: list[Tensor], logits: Tensor, gate: Tensor) -> list[list[float]]:
    """P(w) = p_gen P_vocab(w) + (1 - p_gen) Σ_{i: w_i = w} a_i, one number at a time."""
    found: list[list[float]] = []
    for p, source in zip(heads, SOURCES, strict=True):
        for q in range(p.shape[1]):
            t = len(found)
            write = 1 / (1 + math.exp(-float(gate[t])))
            weights = [math.exp(float(x)) for x in logits[t]]
            row = []
            for w in range(V):
                copy = sum(float(p[:, q, i].mean()) for i in range(len(source)) if int(source[i]) == w)
                row.append(write * weights[w] / sum(weights) + (1 - write) * copy)
            found.append(row)
    return found


def test_every_probability() -> None:
    heads, logits, gate = drawn()
    a = looks(heads)
    found = mixed(logits, gate, pointed(a, SOURCES, V))
    wanted = torch.tensor(by_definition(heads, logits, gate))
    assert torch.allclose(found.exp(), wanted, atol=1e-6)
    assert torch.allclose(found.exp().sum(-1), torch.ones(9), atol=1e-5)
    for w in range(V):  # the right token alone, as training needs it
        own = torch.full((9,), w)
        one = mixed(logits.log_softmax(-1)[:, [w]], gate, pointed_at(a, SOURCES, own)[:, None])
        assert torch.allclose(one.exp()[:, 0], wanted[:, w], atol=1e-6)


def test_only_copying_and_only_writing() -> None:
    """Also where the logarithm of nothing would be taken."""
    heads, logits, _ = drawn()
    a = looks(heads)
    copied = pointed(a, SOURCES, V)
    for gate, wanted in ((60.0, logits.softmax(-1)), (-60.0, copied.float())):
        found = mixed(logits, torch.full((9,), gate), copied)
        assert torch.isfinite(found).all()
        assert torch.allclose(found.exp(), wanted, atol=1e-6)


def test_gradients() -> None:
    """Of the right token's loss, in gate, logits and attention, by differences; finite where nothing can be copied."""
    heads, logits, gate = drawn(1)
    wanted = torch.tensor([1, 0, 5, 2, 4, 3, 0, 0, 2])
    leaves = [torch.cat([p.flatten().log() for p in heads]).float(), logits, gate]

    def loss(flat: Tensor, logits: Tensor, gate: Tensor) -> Tensor:
        shapes = [p.shape for p in heads]
        own = flat.split([s.numel() for s in shapes])
        a = looks([x.view(s).softmax(-1) for x, s in zip(own, shapes, strict=True)])
        return -mixed(logits, gate, pointed(a, SOURCES, V)).gather(1, wanted[:, None]).sum()

    given = [x.clone().requires_grad_() for x in leaves]
    loss(*given).backward()
    for i, leaf in enumerate(given):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
        for place in range(0, leaf.numel(), 7):
            step = [torch.zeros_like(x) for x in leaves]
            step[i].view(-1)[place] = 1e-2
            ups, downs = ([x + s * k for x, s in zip(leaves, step, strict=True)] for k in (1, -1))
            slope = float(loss(*ups) - loss(*downs)) / 2e-2
            assert float(leaf.grad.flatten()[place]) == pytest.approx(slope, rel=0.02, abs=2e-3)


def test_contexts() -> None:
    heads, _, _ = drawn()
    encoded = torch.randn(sum(map(len, SOURCES)), 4, dtype=torch.float64)
    found, start, t = contexts(looks(heads), encoded), 0, 0
    for p, source in zip(heads, SOURCES, strict=True):
        for q in range(p.shape[1]):
            wanted = sum(p[:, q, k].mean() * encoded[start + k] for k in range(len(source)))
            assert torch.allclose(found[t], wanted, atol=1e-6)  # type: ignore[arg-type]
            t += 1
        start += len(source)


def test_coverage() -> None:
    heads, _, _ = drawn()
    total = 0.0
    for a, c in zip(looks(heads), coverages(looks(heads)), strict=True):
        for q in range(len(a)):
            before: Any = [sum(float(a[r, k]) for r in range(q)) for k in range(a.shape[1])]
            assert c[q].tolist() == pytest.approx(before, abs=1e-6)
            total += sum(min(float(a[q, k]), before[k]) for k in range(a.shape[1]))
    found, rows = coverage_loss(looks(heads))
    assert rows == 9
    assert float(found) == pytest.approx(total, rel=1e-5)
    assert coverage_loss([torch.eye(4)]) == (0, 4)  # each place once
    assert float(coverage_loss([torch.ones(3, 1)])[0]) == 2
