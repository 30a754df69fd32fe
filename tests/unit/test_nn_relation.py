"""Distance terms that layers make of their own q and k, by their formulas, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from didact.config import Position
from didact.nn.position import Widths, build_position, build_relation
from didact.nn.relation import Disentangled, Distances

N, H, D, T = 2, 4, 6, 5


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def drawn(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.double()


def test_transformer_xl_and_xlnet() -> None:
    widths = Widths(D, H, N, D)
    scheme = build_position(Position("relative", distance=3), widths).double()
    relation = drawn(build_relation(Position("relative"), widths) or nn.Identity())
    assert isinstance(relation, Distances)
    qkv = torch.randn(T, 3, N, H, dtype=torch.float64)
    relative = scheme.relative(10)
    assert relative is not None
    moved, terms = relation(qkv, relative, nn.Linear(1, 1))
    assert torch.equal(moved[:, 1:], qkv[:, 1:])
    assert terms.by_query is not None
    assert terms.by_same is not None
    for q in range(T):
        for k in range(T):
            for n in range(N):
                back = max(-3, min(3, q - k))  # cut where the configuration says so
                angle = [back / 10000 ** (2 * j / D) for j in range(D // 2)]
                wave = torch.tensor([math.sin(a) for a in angle] + [math.cos(a) for a in angle], dtype=torch.float64)
                key = (relation.distance.weight @ wave).view(N, H)[n]
                expected = (qkv[q, 0, n] + relation.distance_bias[n]) @ key / H**0.5
                i = terms.relate(torch.tensor(q), torch.tensor(k))
                torch.testing.assert_close(terms.by_query[q, n, i], expected)
                content = (qkv[q, 0, n] + relation.content_bias[n]) @ qkv[k, 1, n]
                torch.testing.assert_close(moved[q, 0, n] @ moved[k, 1, n], content)
            same, other = ((qkv[q, 0] + relation.segment_bias) * relation.segment[s] for s in (0, 1))
            torch.testing.assert_close(terms.by_same[q], (same - other).sum(-1) / H**0.5)


def test_deberta() -> None:
    relation, projection = Disentangled(0.0), nn.Linear(D, 3 * N * H).double()
    scheme = drawn(build_position(Position("disentangled", maximum=9, buckets=4, distance=-1), Widths(D, H, N, D)))
    qkv = torch.randn(T, 3, N, H, dtype=torch.float64)
    relative = scheme.relative(5)  # type: ignore[operator]
    moved, terms = relation(qkv, relative, projection)
    assert terms.by_query is not None
    assert terms.by_key is not None
    projected = projection(relative.table).view(-1, 3, N, H)
    for q in range(T):
        for k in range(T):
            i = terms.relate(torch.tensor(q), torch.tensor(k))
            for n in range(N):
                content = qkv[q, 0, n] @ qkv[k, 1, n]
                torch.testing.assert_close(moved[q, 0, n] @ moved[k, 1, n], content / 3**0.5)
                c2p, p2c = qkv[q, 0, n] @ projected[i, 1, n], qkv[k, 1, n] @ projected[i, 0, n]
                torch.testing.assert_close(terms.by_query[q, n, i], c2p / (3 * H) ** 0.5)
                torch.testing.assert_close(terms.by_key[k, n, i], p2c / (3 * H) ** 0.5)


def test_the_table_is_dropped_out_in_training_alone() -> None:
    relation, projection = Disentangled(0.5), nn.Linear(D, 3 * N * H)
    scheme = build_position(Position("disentangled", maximum=9, buckets=4), Widths(D, H, N, D))
    drawn(scheme).float()
    qkv, relative = torch.randn(T, 3, N, H), scheme.relative(5)
    assert relative is not None
    eval_ = [relation.eval()(qkv, relative, projection)[1].by_query for _ in range(2)]
    train = [relation.train()(qkv, relative, projection)[1].by_query for _ in range(2)]
    assert eval_[0] is not None
    assert torch.equal(*eval_)
    assert not torch.equal(*train)
