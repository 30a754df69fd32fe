"""Attention written out for a group: its results and gradients against torch's own, and its memory of dropout."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from nn_tools import RULES, pack

from didact.nn.groups import Rule, plan, split
from didact.nn.written import Dropout, Terms, backward, forward


def test_without_terms_it_is_scaled_dot_product_attention() -> None:
    packed = pack([5, 5])
    made = plan(packed, RULES["causal"](packed))
    rule = Rule(made.table, made.positions, None, None, None, None)
    at, terms = rule.groups[0], Terms(None, None, None, None)
    qkv = torch.randn(10, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    expected = F.scaled_dot_product_attention(*split(qkv, at), is_causal=True)
    upstream = torch.randn(expected.shape, dtype=torch.float64)
    torch.testing.assert_close(forward(qkv, at, rule, terms, None), expected)
    (wanted,) = torch.autograd.grad(expected, qkv, upstream)
    given = backward(upstream, qkv, at, rule, terms, None, terms.zeros())
    for a, b in zip(given, split(wanted, at), strict=True):
        torch.testing.assert_close(a, b)


def test_dropout_is_redrawn_alike() -> None:
    p = torch.ones(3, 2, 5, 5)
    seed = torch.tensor([9])
    drawn = [d for d in (Dropout.seeded(0.5, seed), Dropout.seeded(0.5, seed)) if d is not None]
    first, again = (torch.stack([draw(p), draw(p)]) for draw in drawn)
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1]), "each group has a mask of its own"
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert Dropout.seeded(0.5, None) is None


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_the_share_it_says_and_keeps_the_mean(rate: float) -> None:
    draw = Dropout.seeded(rate, torch.tensor([2**61]))
    assert draw is not None
    n = 999_999  # not a multiple of what is drawn at a time
    kept = draw(torch.ones(n, dtype=torch.float64))
    assert abs(float((kept == 0).double().mean()) - rate) < 5 * (rate * (1 - rate) / n) ** 0.5
    assert abs(float(kept.mean()) - 1.0) < 5 * (rate / (1 - rate) / n) ** 0.5
