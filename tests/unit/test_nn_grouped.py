"""The grouped kernel as an operator: what torch asks of operators, and attention dropout."""

from __future__ import annotations

import pytest
import torch
from nn_tools import LENGTHS, RULES, TERMS, distance_terms, pack

from didact.nn.flash import SHORT
from didact.nn.grouped import Grouped
from didact.nn.groups import Plan


def arguments(plan: Plan, name: str, rows: int, dropout: float) -> tuple:
    terms = distance_terms(name, rows, 2)
    qkv = torch.randn(rows, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    rule = (plan.table, plan.order, plan.positions, plan.segments, plan.rank, plan.reach)
    by = (None,) * 4 if terms is None else (terms.by_distance, terms.by_query, terms.by_key, terms.by_same)
    return qkv, *rule, None if terms is None else terms.index, *by, dropout, torch.tensor([11]) if dropout else None


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("lengths", ["equal", "scattered"])
@pytest.mark.parametrize("name", TERMS)
def test_torch_accepts_the_operator(name: str, lengths: str, dropout: float) -> None:
    packed = pack(LENGTHS[lengths])
    plan = Grouped().plan(packed, RULES["permuted"](packed))
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        torch.ops.didact.grouped.default, arguments(plan, name, packed.tokens.shape[0], dropout), test_utils=checks
    )


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("rule", ["full", "causal", "permuted"])
def test_gradients_under_dropout_are_those_of_the_same_mask(rule: str, name: str) -> None:
    packed = pack([2, 2, 1, 3, 2])
    plan = Grouped().plan(packed, RULES[rule](packed))
    given = arguments(plan, name, 10, 0.4)
    torch.autograd.gradcheck(lambda *tensors: torch.ops.didact.grouped(*tensors)[0], given, fast_mode=True)


def test_dropout_follows_the_seed_and_keeps_the_mean() -> None:
    packed = pack([100, 100, 50])
    kernel = Grouped()
    plan = kernel.plan(packed, RULES["full"](packed))
    qkv = torch.zeros(250, 3, 2, 4)
    qkv[:, 2] = 1.0

    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return kernel(qkv, plan, dropout=0.25)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert abs(float(run(1).mean()) - 1.0) < 0.02


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", TERMS)
def test_half_precision_stays_near(name: str, dtype: torch.dtype) -> None:
    packed = pack(LENGTHS["scattered"])
    kernel = Grouped()
    plan = kernel.plan(packed, RULES["full"](packed))
    terms = distance_terms(name, 26, 2, torch.float32)
    qkv = torch.randn(26, 3, 2, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    half = qkv.detach().to(dtype).requires_grad_()
    exact, near = kernel(qkv, plan, terms), kernel(half, plan, terms)
    assert near.dtype == dtype
    torch.testing.assert_close(near.float(), exact, atol=3e-2, rtol=3e-2)
    exact.square().sum().backward()
    near.float().square().sum().backward()
    assert half.grad is not None
    torch.testing.assert_close(half.grad.float(), qkv.grad, atol=1e-1, rtol=1e-1)


@pytest.mark.parametrize("rule", ["full", "causal", "permuted", "window"])
@pytest.mark.parametrize("length", [37, SHORT - 1, SHORT])
def test_gradients_in_bf16_are_as_near_as_bf16_is(length: int, rule: str) -> None:
    """On both sides of the length from which the fused backward pass computes in bf16."""
    packed = pack([length, length])
    plan = Grouped().plan(packed, RULES[rule](packed))
    half = torch.randn(2 * length, 3, 2, 16, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    exact = half.detach().double().requires_grad_()
    upstream = torch.randn(2 * length, 2, 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    Grouped()(half, plan).backward(upstream)
    Grouped()(exact, plan).backward(upstream.double())
    assert half.grad is not None
    assert exact.grad is not None
    assert float((half.grad.double() - exact.grad).norm() / exact.grad.norm()) < 0.01
