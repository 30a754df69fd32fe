"""Multi-head attention (Vaswani et al., 2017, §3.2) over packed rows: of a pack to itself, with one fused projection
to q, k and v; and of one pack to another.

Shapes: T rows, S rows of the other pack, D width, N heads, H head width, L rows of one sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from didact.nn.distance import DistanceTerms
from didact.nn.kernel import Kernel, cross_probabilities, probabilities
from didact.nn.relation import Relation, Relative
from didact.packed import Packed
from didact.visibility import Visibility


@dataclass(frozen=True)
class Places:
    """Where remembered rows and own rows lie in what attention sees. order (M + T,): of the remembered rows, then the
    own ones, which is the i-th of the pack; own (T,): the places of the own rows there.
    """

    order: Tensor
    own: Tensor


@dataclass(frozen=True)
class Context:
    """What attention needs besides hidden states; made once per forward for each window that layers have.

    rotation: cosines and sines (T, 1, 1, H) of rotary positions; plan: the kernel's own; relative: what the layers'
    own distance terms are made of; places: where there is a memory.
    """

    kernel: Kernel
    plan: Any
    distance: DistanceTerms | None = None
    rotation: tuple[Tensor, Tensor] | None = None
    relative: Relative | None = None
    places: Places | None = None

    def of(self, rows: int) -> Context:
        """For so many rows from the first, without those that are spare."""
        rotation = self.rotation and (self.rotation[0][:rows], self.rotation[1][:rows])
        return replace(self, rotation=rotation)


def rotate(qkv: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn q and k by their positions, halves paired (RoFormer, Su et al., 2021, as GPT-NeoX lays it out); v stays.

    qkv (T, 3, N, H) -> the same shape and dtype; computed in the dtype of `rotation`.
    """
    cosine, sine = rotation
    qk, v = qkv[:, :2], qkv[:, 2:]
    left, right = qk.chunk(2, -1)
    turned = qk * cosine + torch.cat((-right, left), -1) * sine
    return torch.cat((turned.to(qkv.dtype), v), 1)


class Attention(nn.Module):
    """out(attend(qkv(x))). relation: makes distance terms of each layer's own q and k, where the positions do so;
    scale: of q · k, None = 1 / sqrt(H).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_width: int,
        bias: bool,
        dropout: float,
        relation: Relation | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.head_width, self.dropout, self.scale = heads, head_width, dropout, scale
        self.qkv = nn.Linear(width, 3 * heads * head_width, bias=bias)
        self.out = nn.Linear(heads * head_width, width, bias=bias)
        self.relation = relation

    def project(self, x: Tensor, context: Context) -> Tensor:
        """x (T, D) -> qkv (T, 3, N, H), q and k turned where positions are rotary."""
        qkv = self.qkv(x).view(-1, 3, self.heads, self.head_width)
        return qkv if context.rotation is None else rotate(qkv, context.rotation)

    def related(self, x: Tensor, context: Context) -> tuple[Tensor, DistanceTerms | None]:
        """x (T, D) -> q, k and v as the kernel multiplies them (T, 3, N, H), and what is added to their logits."""
        qkv = self.project(x, context)
        if self.relation is None or context.relative is None:
            return qkv, context.distance
        return self.relation(qkv, context.relative, self.qkv)

    def forward(self, x: Tensor, context: Context, memory: Tensor | None = None) -> Tensor:
        """x (T, D), memory (M, D): rows that are looked at and do not look -> (T, D)."""
        dropout = self.dropout if self.training else 0.0
        if memory is not None and context.places is not None:
            x = torch.cat((memory, x)).index_select(0, context.places.order)
        qkv, distance = self.related(x, context)
        attended = context.kernel(qkv, context.plan, distance, dropout, self.scale)
        if memory is not None and context.places is not None:
            attended = attended.index_select(0, context.places.own)
        return self.out(attended.reshape(-1, self.heads * self.head_width))

    def probabilities(self, x: Tensor, context: Context, packed: Packed, visibility: Visibility) -> tuple[Tensor, ...]:
        """Where each row looks, sequence by sequence, (N, L, L) each; whatever kernel attends, by the definition."""
        qkv, distance = self.related(x, context)
        return probabilities(qkv[:, 0], qkv[:, 1], packed, visibility, distance, self.scale)


@dataclass(frozen=True)
class Crossing:
    """What cross-attention needs besides hidden states; made once per forward. plan: the kernel's own."""

    kernel: Kernel
    plan: Any


class CrossAttention(nn.Module):
    """out(attend(q(x), kv(encoded))): each row looks at all rows of the same sequence of another pack (Vaswani et al.,
    2017, §3.2.3). k and v are one projection, which decoding makes once for a source. scale: see `Attention`.
    """

    def __init__(
        self, width: int, heads: int, head_width: int, bias: bool, dropout: float, scale: float | None = None
    ) -> None:
        super().__init__()
        self.heads, self.head_width, self.dropout, self.scale = heads, head_width, dropout, scale
        self.q = nn.Linear(width, heads * head_width, bias=bias)
        self.kv = nn.Linear(width, 2 * heads * head_width, bias=bias)
        self.out = nn.Linear(heads * head_width, width, bias=bias)

    def queries(self, x: Tensor) -> Tensor:
        """x (T, D) -> (T, N, H)."""
        return self.q(x).view(-1, self.heads, self.head_width)

    def keys(self, encoded: Tensor) -> Tensor:
        """encoded (S, D) -> k and v (S, 2, N, H)."""
        return self.kv(encoded).view(-1, 2, self.heads, self.head_width)

    def forward(self, x: Tensor, kv: Tensor, crossing: Crossing) -> Tensor:
        """x (T, D), kv (S, 2, N, H) -> (T, D)."""
        dropout = self.dropout if self.training else 0.0
        attended = crossing.kernel.cross(self.queries(x), kv, crossing.plan, dropout, self.scale)
        return self.out(attended.reshape(-1, self.heads * self.head_width))

    def probabilities(self, x: Tensor, kv: Tensor, queries: Packed, keys: Packed) -> tuple[Tensor, ...]:
        """Where each row looks, sequence by sequence, (N, Q, K) each; by the definition, differentiable."""
        return cross_probabilities(self.queries(x), kv[:, 0], queries, keys, self.scale)
