"""Attention written out for a group: its results and gradients against torch's own, and its memory of dropout."""

from __future__ import annotations

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
    p = torch.ones(3, 2, 4, 4)
    first, again = (Dropout(0.5, torch.Generator().manual_seed(9))(p) for _ in range(2))
    assert torch.equal(first, again)
    assert set(first.unique().tolist()) == {0.0, 2.0}
