"""The definition of attention against loops over pairs of rows."""

from __future__ import annotations

import pytest
import torch
from nn_tools import RULES, TERMS, distance_terms, pack

from didact.nn.dense import Dense, cross_probabilities, probabilities


def by_hand(name: str, rule: str, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """(qkv, attention's results, probabilities of each sequence): one pair of rows at a time."""
    packed = pack(lengths)
    seen = RULES[rule](packed)
    rank, reach = seen.ranks(packed)
    T, N, H = sum(lengths), 2, 4
    terms = distance_terms(name, T, N)
    qkv = torch.randn(T, 3, N, H, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    segments = packed.segments
    assert segments is not None
    out = torch.zeros(T, N, H, dtype=torch.float64)
    looks = []
    start = 0
    for length in lengths:
        p = torch.zeros(N, length, length, dtype=torch.float64)
        for n in range(N):
            for a in range(length):
                q = start + a
                weights = {}
                for b in range(length):
                    k = start + b
                    near = seen.window is None or abs(a - b) <= seen.window
                    if rank[k] > reach[q] or not near:
                        continue
                    logit = float(qkv[q, 0, n] @ qkv[k, 1, n]) / H**0.5
                    if terms is not None:
                        row = min(max(b - a, -3), 3) + 3
                        i = terms.index[row]
                        if terms.by_same is not None and segments[q] == segments[k]:
                            logit += float(terms.by_same.detach()[q, n])
                        logit += 0.0 if terms.by_distance is None else float(terms.by_distance.detach()[n, i])
                        logit += 0.0 if terms.by_query is None else float(terms.by_query.detach()[q, n, i])
                        logit += 0.0 if terms.by_key is None else float(terms.by_key.detach()[k, n, i])
                    weights[b] = torch.tensor(logit, dtype=torch.float64).exp()
                for b, weight in weights.items():
                    p[n, a, b] = weight / sum(weights.values())
                    out[q, n] += p[n, a, b] * qkv[start + b, 2, n]
        looks.append(p)
        start += length
    return qkv, out, looks


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("rule", ["full", "causal window", "permuted", "blind rows"])
def test_attention_is_what_the_loops_give(rule: str, name: str) -> None:
    lengths = [1, 5, 3]
    qkv, expected, looks = by_hand(name, rule, lengths)
    packed = pack(lengths)
    seen = RULES[rule](packed)
    terms = distance_terms(name, sum(lengths), 2)
    out = Dense()(qkv, Dense().plan(packed, seen), terms)
    torch.testing.assert_close(out.detach(), expected)
    given = probabilities(qkv[:, 0], qkv[:, 1], packed, seen, terms)
    for a, b in zip(given, looks, strict=True):
        torch.testing.assert_close(a.detach(), b)


def test_dropout_drops_and_scales() -> None:
    packed = pack([300])
    seen = RULES["full"](packed)
    qkv = torch.zeros(300, 3, 1, 4)
    qkv[:, 2] = 1.0
    torch.manual_seed(0)
    out = Dense()(qkv, Dense().plan(packed, seen), dropout=0.25)
    assert 0.98 < float(out.mean()) < 1.02
    assert float(out.std()) > 0.01


def test_crossed_under_autocast() -> None:
    """Where a decoder looks is as exact as in float32, and that it goes back to q and k is as well."""
    queries, keys = pack([3, 1]), pack([4, 6])
    draw = torch.Generator().manual_seed(2)
    q = torch.randn(4, 2, 8, generator=draw, requires_grad=True)
    k = torch.randn(10, 2, 8, generator=draw, requires_grad=True)
    wanted = [
        torch.stack([torch.softmax(q[rows, n] @ k[places, n].T / 8**0.5, -1) for n in range(2)])
        for rows, places in ((slice(0, 3), slice(0, 4)), (slice(3, 4), slice(4, 10)))
    ]
    with torch.autocast("cpu", torch.bfloat16):
        found = cross_probabilities(q, k, queries, keys)
    upstream = [torch.randn(p.shape, generator=draw) for p in wanted]
    for p, own in zip(found, wanted, strict=True):
        assert p.dtype == torch.float32
        assert torch.allclose(p, own, atol=1e-6)
    ours = torch.autograd.grad(found, (q, k), upstream)
    for mine, own in zip(ours, torch.autograd.grad(wanted, (q, k), upstream), strict=True):
        assert torch.allclose(mine, own, atol=1e-5)
