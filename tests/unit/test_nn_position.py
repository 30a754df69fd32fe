"""Position schemes against transformers' and against their formulas."""

from __future__ import annotations

import cmath
import math
from typing import Any

import pytest
import torch
from nn_tools import pack

from didact.config import Position
from didact.nn.attention import rotate
from didact.nn.kernel import attend
from didact.nn.position import POSITIONS, Learned, Rotary, Sinusoidal, Widths, bucket, build_position
from didact.visibility import bidirectional, causal


@pytest.mark.parametrize("entry", POSITIONS, ids=lambda e: e.name)
def test_a_scheme_opens_one_door_at_most(entry) -> None:
    widths = Widths(embedding=6, head=4, heads=2, model=8)
    scheme = entry.build(Position(entry.name, maximum=8), widths)
    at = torch.arange(5)
    for parameter in scheme.parameters():
        torch.nn.init.normal_(parameter)
    relative = scheme.relative(5)
    doors = [scheme.embed(at, torch.zeros(5, 6)), scheme.rotation(at), scheme.distance(), relative]
    assert sum(door is not None for door in doors) == (entry.name != "none")
    assert (entry.relation(widths) is not None) == (relative is not None)
    assert scheme.distances(5) == (0 if relative is None else len(relative.table))
    assert relative is None or int(relative.index.max()) < len(relative.table)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"maximum": 0}, "maximum 0: at least 1"),
        ({"offset": -1}, "offset -1: at least 0"),
        ({"theta": 0.0}, "theta 0.0: a number above 0"),
        ({"theta": float("nan")}, "theta nan: a number above 0"),
        ({"local_theta": float("inf")}, "local_theta inf: a number above 0"),
        ({"scheme": "bucketed", "buckets": 0}, "buckets 0: at least 4"),
        ({"scheme": "bucketed", "buckets": -4}, "buckets -4: at least 4"),
        ({"scheme": "disentangled", "buckets": 3}, "buckets 3: at least 4"),
        ({"scheme": "bucketed", "distance": 0}, "distance 0: above 8, up to which 32 buckets tell"),
        ({"scheme": "bucketed", "distance": 8}, "distance 8: above 8, up to which 32 buckets tell"),
        ({"scheme": "bucketed", "distance": 16, "bidirectional": False}, "16: above 16, up to which 32 .* direction"),
    ],
    ids=str,
)
def test_numbers_without_a_meaning(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Position(**fields)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("buckets", [4, 5, 32])
def test_the_shortest_distance_that_buckets_have(buckets: int, bidirectional: bool) -> None:
    furthest = buckets // (4 if bidirectional else 2) + 1
    position = Position("bucketed", buckets=buckets, distance=furthest, bidirectional=bidirectional)
    terms = build_position(position, Widths(embedding=6, head=4, heads=2)).distance()
    assert terms is not None
    assert 0 <= int(terms.index.min()) <= int(terms.index.max()) < buckets
    assert terms.index[0] != terms.index[furthest]


def test_an_unknown_scheme_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"there are learned, sinusoidal, .*, relative, disentangled, none"):
        build_position(Position("absolute"), Widths(4, 4, 1))
    for scheme in ("learned", "disentangled"):
        with pytest.raises(ValueError, match="maximum"):
            build_position(Position(scheme, maximum=None, distance=-1), Widths(4, 4, 1))


@pytest.mark.parametrize("offset", [0, 2])
def test_learned_positions_begin_at_their_offset(offset: int) -> None:
    scheme = Learned(maximum=4, offset=offset, width=1)
    assert scheme.weight.shape == (4 + offset, 1)
    scheme.weight.data = torch.arange(4.0 + offset)[:, None]
    assert scheme.embed(torch.tensor([0, 3, 0]), torch.zeros(3, 1)).flatten().tolist() == [offset, 3 + offset, offset]


def test_sinusoids_are_the_papers() -> None:
    width, at = 6, torch.tensor([0, 1, 700])
    given = Sinusoidal().embed(at, torch.zeros(3, width))
    for row, p in zip(given.tolist(), at.tolist(), strict=True):
        for j, value in enumerate(row):
            angle = p / 10000 ** (2 * (j // 2) / width)
            assert math.isclose(value, (math.sin, math.cos)[j % 2](angle), abs_tol=1e-4)


def test_rotation_is_multiplication_by_a_unit_number() -> None:
    head, theta = 6, 100.0
    at = torch.tensor([0, 1, 5])
    qkv = torch.randn(3, 3, 2, head, generator=torch.Generator().manual_seed(0))
    given = rotate(qkv, Rotary(theta, head).rotation(at))
    assert torch.equal(given[:, 2], qkv[:, 2])
    for t, p in enumerate(at.tolist()):
        for part in (0, 1):
            for n in range(2):
                for j in range(head // 2):
                    before = complex(qkv[t, part, n, j], qkv[t, part, n, j + head // 2])
                    after = before * cmath.exp(1j * p * theta ** (-2 * j / head))
                    assert cmath.isclose(
                        complex(given[t, part, n, j], given[t, part, n, j + head // 2]), after, abs_tol=1e-5
                    )


def test_rotation_keeps_half_precision_half() -> None:
    qkv = torch.randn(4, 3, 2, 8).bfloat16()
    assert rotate(qkv, Rotary(10000.0, 8).rotation(torch.arange(4))).dtype == torch.bfloat16


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20), (16, 64)])
def test_buckets_are_t5s(buckets: int, furthest: int, bidirectional: bool) -> None:
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    distance = torch.arange(-300, 301)
    expected = t5.T5Attention._relative_position_bucket(distance, bidirectional, buckets, furthest)
    assert torch.equal(bucket(distance, buckets, furthest, bidirectional), expected)


@pytest.mark.parametrize("decoder", [False, True])
def test_attention_with_buckets_is_t5s_attention(decoder: bool) -> None:
    """The whole layer: our kernel with `by_distance` against T5Attention, whose logits are not scaled."""
    transformers = pytest.importorskip("transformers")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    heads, head, length = 2, 4, 40
    config = transformers.T5Config(
        d_model=8,
        d_kv=head,
        num_heads=heads,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
        is_decoder=decoder,
        dropout_rate=0.0,
    )
    layer = t5.T5Attention(config, has_relative_attention_bias=True).eval()
    torch.manual_seed(0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    position = Position("bucketed", buckets=8, distance=20, bidirectional=not decoder)
    scheme = build_position(position, Widths(embedding=8, head=head, heads=heads))
    scheme.load_state_dict({"weight": layer.relative_attention_bias.weight.detach()})
    x = torch.randn(length, 8)
    q, k, v = (getattr(layer, name)(x).view(length, heads, head) for name in "qkv")
    seen = causal() if decoder else bidirectional()
    with torch.no_grad():
        bias = layer.compute_bias(length, length, past_seen_tokens=0) if decoder else layer.compute_bias(length, length)
        hidden = torch.zeros(length, length).masked_fill(~seen.matrix(pack([length])), float("-inf"))
        weights = torch.softmax(torch.einsum("qnh,knh->nqk", q, k) + bias[0] + hidden, -1)
        expected = torch.einsum("nqk,knh->qnh", weights, v)
        for kernel in ("dense", "grouped"):
            given = attend(q * head**0.5, k, v, pack([length]), seen, scheme.distance(), kernel=kernel)
            torch.testing.assert_close(given, expected, atol=1e-5, rtol=1e-5)
