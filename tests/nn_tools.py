"""Small packs, rules, distance terms and models for the tests of `nn`: every law walks over these tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from didact.config import (
    POST_NORM,
    PRE_NORM,
    Characters,
    Mix,
    ModelConfig,
    Norms,
    Output,
    Position,
    Recurrent,
)
from didact.nn.distance import DistanceTerms
from didact.nn.kernel import Kernel
from didact.nn.position import POSITIONS
from didact.packed import Packed
from didact.visibility import (
    EVERYBODY,
    NOBODY,
    Visibility,
    bidirectional,
    causal,
    joined,
    permuted,
    prefix,
    ranked,
    right_to_left,
)

LENGTHS = {
    "one": [5],
    "single rows": [1, 1, 2],
    "equal": [4, 4, 4],
    "neighbours": [1, 3, 3, 6],
    "scattered": [3, 5, 3, 1, 5, 3, 5, 1],
    "empty inside": [3, 0, 4, 0, 0],
}

RULES: dict[str, Callable[[Packed], Visibility]] = {
    "full": lambda _: bidirectional(),
    "causal": lambda _: causal(),
    "window": lambda _: bidirectional().within(1),
    "causal window": lambda _: causal().within(2),
    "wide window": lambda _: bidirectional().within(100),
    "prefix": lambda p: prefix(p.positions, 2),
    "right to left": lambda p: right_to_left(p.positions),
    "permuted": lambda p: permuted(_order(p)),
    "permuted window": lambda p: permuted(_order(p)).within(2),
    "mixed": lambda p: joined([(bidirectional(), causal())[b % 2] for b in range(len(p.lengths))], p.lengths),
    "blind rows": lambda p: ranked(_order(p), _order(p) - 1),
    "two streams": lambda p: _streams(p),
    "remembered rows": lambda p: _remembered(p),
    "unseen keys": lambda p: ranked(torch.where(p.positions % 2 == 0, 0, NOBODY), torch.zeros_like(p.positions)),
}

TERMS = ("none", "by_distance", "by_query", "by_key", "by_same", "all")

NORMS: dict[str, Norms] = {
    "post": POST_NORM,
    "pre": PRE_NORM,
    "sandwich": Norms("layer", "layer", "layer", "rms", "rms", "rms", eps=1e-6),
    "none": Norms(None, None, None, None, None, None),
    "rms, no bias": replace(PRE_NORM, attention_in="rms", feedforward_in="layer", bias=False),
}

CONFIGS: dict[str, dict] = {
    "narrow, shared": {"embedding_width": 8, "layer_groups": 1},
    "projected at one width": {"embedding_width": 16, "embedding_projected": True},
    "two groups of layers": {"layers": 4, "layer_groups": 2},
    "gated, no biases": {"gated": True, "biases": False, "activation": "silu"},
    "windows": {"windows": (1, None)},
    "windows with angles of their own": {
        "layers": 3,
        "windows": (None, 2, 1),
        "position": Position("rotary", None, local_theta=10.0),
    },
    "no norm before the first attention": {"norms": replace(PRE_NORM, first=False)},
    "looks back": {"visibility": "causal"},
    "no segments": {"segments": 0},
    "wide heads": {"head_width": 12},
    "mixed layers": {"mix": Mix(layers="all")},
    "from characters": {"tied": False, "characters": Characters(((1, 4), (3, 4)), width=4, longest=6)},
}

RECURRENT: dict[str, Any] = {
    "core": "recurrent",
    "heads": 1,
    "position": Position("none", maximum=None),
    "norms": NORMS["none"],
    "segments": 0,
    "output": Output(transform=False),
}
CONFIGS |= {
    "recurrent": RECURRENT,
    "recurrent, no residual": RECURRENT | {"layers": 3, "recurrent": Recurrent(residual=False)},
    "recurrent, from characters": RECURRENT | CONFIGS["from characters"],
    "opposed": {"core": "opposed"},
    "opposed, pre-norm, windows": {"core": "opposed", "norms": PRE_NORM, "windows": (2, None), "layers": 3},
    "opposed, rotary, shared": {"core": "opposed", "position": Position("rotary", None), "layer_groups": 1},
    "opposed, mixed layers": {"core": "opposed", "mix": Mix(layers="all"), "embedding_width": 6},
}

EVERY_CORE: dict[str, dict[str, Any]] = {
    **CONFIGS,
    **{f"norms: {name}": {"norms": norms} for name, norms in NORMS.items()},
    **{f"positions: {entry.name}": {"position": Position(entry.name, maximum=64)} for entry in POSITIONS},
}


def _order(packed: Packed) -> Tensor:
    """A factorization order of each sequence: its rows' places after a fixed shuffle."""
    generator = torch.Generator().manual_seed(5)
    return torch.cat([torch.randperm(n, generator=generator) for n in packed.lengths])


def _streams(p: Packed) -> Visibility:
    """XLNet's: every other row asks for the one before it, is seen by nobody and sees what comes before that one."""
    order, asking = _order(p), p.positions % 2 == 1
    return ranked(torch.where(asking, NOBODY, order), torch.where(asking, order.roll(1) - 1, order))


def _remembered(p: Packed) -> Visibility:
    """The first two rows of each sequence are seen by all others and see nobody; the rest is causal."""
    old = p.positions < 2
    return ranked(torch.where(old, EVERYBODY, p.positions), torch.where(old, EVERYBODY - 1, p.positions))


def tiny(**changes: object) -> ModelConfig:
    """Two layers of width 16, weights drawn wide (0.3), so that a wrong mask shows."""
    plain = ModelConfig(
        vocabulary=40, width=16, layers=2, heads=4, feedforward=24, init_std=0.3, position=Position(maximum=32)
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def pack(lengths: list[int], seed: int = 0) -> Packed:
    """Random tokens and segments of those lengths."""
    draw = torch.Generator().manual_seed(seed)

    def rows(high: int) -> list[list[int]]:
        return [torch.randint(high, (n,), generator=draw).tolist() for n in lengths]

    return Packed.of(rows(40), rows(2))


def distance_terms(name: str, rows: int, heads: int, dtype: torch.dtype = torch.float64) -> DistanceTerms | None:
    """The terms of that name, random, with gradients; reach 3, so that far rows share an index."""
    if name == "none":
        return None
    draw = torch.Generator().manual_seed(7)
    values = 9

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=dtype).requires_grad_()

    index = torch.randint(values, (7,), generator=draw)
    if name == "all":
        own = some(rows, heads, values), some(rows, heads, values), some(rows, heads)
        return DistanceTerms(index, some(heads, values), *own)
    if name == "by_distance":
        return DistanceTerms(index, by_distance=some(heads, values))
    if name == "by_same":
        return DistanceTerms(index, by_same=some(rows, heads))
    return DistanceTerms(index, **{name: some(rows, heads, values)})


def tensors(terms: DistanceTerms | None) -> list[Tensor]:
    """Those of the terms that have gradients."""
    every = () if terms is None else (terms.by_distance, terms.by_query, terms.by_key, terms.by_same)
    return [by for by in every if by is not None]


def knows(kernel: Kernel, rule: str, terms: str) -> bool:
    """Whether the kernel is for such a rule with such terms at all."""
    return kernel.name != "varlen" or (terms == "none" and RULES[rule](pack([2, 3])).kind != "ranked")


def place(kernel: Kernel) -> tuple[torch.device, torch.dtype, float]:
    """Where the kernel can run here, in which dtype, and how near the definition it must be; skips if nowhere."""
    cuda = torch.cuda.is_available()
    if kernel.name == "varlen":
        if not cuda:
            pytest.skip("the varlen kernel needs CUDA")
        return torch.device("cuda"), torch.bfloat16, 3e-2
    if kernel.name == "flex":
        return torch.device("cuda" if cuda else "cpu"), torch.float32, 1e-4 if cuda else 1e-5
    return torch.device("cpu"), torch.float64, 1e-12
