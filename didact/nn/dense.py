"""The `dense` kernel: attention written out over all T x T pairs of a pack. The definition that all others must equal.

Its memory grows with the square of the whole pack: for tests and small inputs. `probabilities` is the same definition
sequence by sequence, for whoever wants to see where attention goes.

Shapes: T rows, N heads, H head width, L rows of one sequence; S rows that are looked at from another pack.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from didact.nn.distance import DistanceTerms, gather
from didact.packed import Packed, cumulated
from didact.visibility import Visibility


def weights(
    q_TNH: Tensor,
    k_TNH: Tensor,
    seen_TT: Tensor,
    packed: Packed,
    distance: DistanceTerms | None,
    scale: float | None = None,
) -> Tensor:
    """Attention probabilities (N, T, T); a row that sees nothing has all zeros. scale: of q · k, None = 1 / sqrt(H)."""
    logits_NTT = _logits(q_TNH, k_TNH, scale)
    if distance is not None:
        at, segment = packed.positions, packed.segments
        i_TT = distance.relate(at[:, None], at[None, :])
        if distance.by_distance is not None:
            logits_NTT = logits_NTT + distance.by_distance[:, i_TT]
        if distance.by_query is not None:
            logits_NTT = logits_NTT + gather(distance.by_query.transpose(0, 1), i_TT)
        if distance.by_key is not None:
            logits_NTT = logits_NTT + gather(distance.by_key.transpose(0, 1), i_TT.T).transpose(-1, -2)
        if distance.by_same is not None and segment is not None:
            logits_NTT = logits_NTT + distance.by_same.t()[:, :, None] * (segment[:, None] == segment[None, :])
    return _softmax(logits_NTT, seen_TT)


def _logits(q_TNH: Tensor, k_SNH: Tensor, scale: float | None) -> Tensor:
    return torch.einsum("qnh,knh->nqk", q_TNH, k_SNH) * (q_TNH.shape[-1] ** -0.5 if scale is None else scale)


def _softmax(logits_NTS: Tensor, seen_TS: Tensor) -> Tensor:
    # A finite floor and a second mask instead of -inf: a row that sees nothing must give zeros, in gradients too.
    floor = torch.finfo(logits_NTS.dtype).min
    return torch.softmax(logits_NTS.masked_fill(~seen_TS, floor), -1) * seen_TS


def cross_probabilities(
    q_TNH: Tensor, k_SNH: Tensor, queries: Packed, keys: Packed, scale: float | None = None
) -> tuple[Tensor, ...]:
    """Where the rows of each sequence look in the sequence of the same number, (N, Q, K) each, in float32 at least
    whatever autocast says: products as small as these, of many shapes, take several times as long in bfloat16 on a
    CPU. Differentiable.
    """
    with torch.autocast(q_TNH.device.type, enabled=False):
        exact = torch.promote_types(q_TNH.dtype, torch.float32)
        each = zip(q_TNH.to(exact).split(queries.lengths), k_SNH.to(exact).split(keys.lengths), strict=True)
        return tuple(torch.softmax(_logits(q, k, scale), -1) for q, k in each)


def probabilities(
    q_TNH: Tensor,
    k_TNH: Tensor,
    packed: Packed,
    visibility: Visibility,
    distance: DistanceTerms | None = None,
    scale: float | None = None,
) -> tuple[Tensor, ...]:
    """Attention probabilities of each sequence, (N, L, L) each: rows are queries. Differentiable."""
    out = []
    start = 0
    for n in packed.lengths:
        rows = slice(start, start + n)
        start += n
        alone = Packed(
            tokens=packed.tokens[rows],
            positions=packed.positions[rows],
            cu_seqlens=cumulated([n]).to(packed.cu_seqlens.device),
            max_seqlen=n,
            segments=None if packed.segments is None else packed.segments[rows],
        )
        rank, reach = visibility.rank, visibility.reach
        rule = visibility if rank is None or reach is None else replace(visibility, rank=rank[rows], reach=reach[rows])
        terms = distance and replace(
            distance,
            by_query=None if distance.by_query is None else distance.by_query[rows],
            by_key=None if distance.by_key is None else distance.by_key[rows],
            by_same=None if distance.by_same is None else distance.by_same[rows],
        )
        out.append(weights(q_TNH[rows], k_TNH[rows], rule.matrix(alone), alone, terms, scale))
    return tuple(out)


@dataclass(frozen=True)
class Plan:
    """What `Dense` needs of a pack: the pack, and the rule as a matrix."""

    packed: Packed
    seen_TT: Tensor


@dataclass(frozen=True)
class Dense:
    """softmax(q kᵀ / sqrt(H) + distance terms, over what the rule lets each row see) v."""

    name: str = "dense"

    def plan(self, packed: Packed, visibility: Visibility) -> Plan:
        return Plan(packed, visibility.matrix(packed))

    def __call__(
        self,
        qkv: Tensor,
        plan: Plan,
        distance: DistanceTerms | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
    ) -> Tensor:
        """qkv (T, 3, N, H) -> (T, N, H)."""
        q_TNH, k_TNH, v_TNH = qkv.unbind(1)
        p_NTT = weights(q_TNH, k_TNH, plan.seen_TT, plan.packed, distance, scale)
        if dropout > 0:
            p_NTT = F.dropout(p_NTT, dropout)
        return torch.einsum("nqk,knh->qnh", p_NTT, v_TNH)

    def plan_cross(self, queries: Packed, keys: Packed) -> Tensor:
        """(T, S) bool: who is of the same sequence."""
        return queries.sequence_ids()[:, None] == keys.sequence_ids()[None, :]

    def cross(self, q: Tensor, kv: Tensor, plan: Tensor, dropout: float = 0.0, scale: float | None = None) -> Tensor:
        """q (T, N, H), kv (S, 2, N, H) -> (T, N, H)."""
        k_SNH, v_SNH = kv.unbind(1)
        p_NTS = _softmax(_logits(q, k_SNH, scale), plan)
        if dropout > 0:
            p_NTS = F.dropout(p_NTS, dropout)
        return torch.einsum("nqk,knh->qnh", p_NTS, v_SNH)
