"""Multi-head attention against torch's own module, and its probabilities."""

from __future__ import annotations

import torch
from nn_tools import RULES, pack
from torch import nn

from didact.nn.attention import Attention, Context
from didact.nn.kernel import named
from didact.visibility import bidirectional


def test_it_is_torchs_multihead_attention() -> None:
    oracle = nn.MultiheadAttention(16, 4, batch_first=True).double()
    layer = Attention(16, 4, 4, bias=True, dropout=0.0).double()
    for name in ("weight", "bias"):
        getattr(layer.qkv, name).data = getattr(oracle, f"in_proj_{name}").data
        getattr(layer.out, name).data = getattr(oracle.out_proj, name).data
    packed = pack([5, 3])
    x = torch.randn(8, 16, dtype=torch.float64)
    kernel = named("grouped")
    context = Context(kernel, kernel.plan(packed, bidirectional()))
    looks = layer.probabilities(x, context, packed, bidirectional())
    for rows, look in zip((slice(0, 5), slice(5, 8)), looks, strict=True):
        expected, weights = oracle(*(x[None, rows],) * 3, average_attn_weights=False)
        torch.testing.assert_close(layer(x, context)[rows], expected[0])
        torch.testing.assert_close(look, weights[0])


def test_probabilities_follow_the_rule_and_sum_to_one() -> None:
    layer = Attention(16, 2, 8, bias=False, dropout=0.5).eval()
    packed = pack([4, 1])
    seen = RULES["blind rows"](packed)
    kernel = named("grouped")
    context = Context(kernel, kernel.plan(packed, seen))
    looks = layer.probabilities(torch.randn(5, 16), context, packed, seen)
    matrix = seen.matrix(packed)
    for look, rows in zip(looks, (slice(0, 4), slice(4, 5)), strict=True):
        allowed = matrix[rows, rows]
        assert not look[:, ~allowed].any()
        torch.testing.assert_close(look.sum(-1), allowed.any(-1).float().expand(2, -1))


def test_dropout_is_only_for_training() -> None:
    layer = Attention(16, 2, 8, bias=True, dropout=0.5)
    packed = pack([30])
    kernel = named("grouped")
    context = Context(kernel, kernel.plan(packed, bidirectional()))
    x = torch.randn(30, 16)
    assert torch.equal(layer.eval()(x, context), layer(x, context))
    assert not torch.equal(layer.train()(x, context), layer(x, context))
